"""Starting processes for one piece of work, hearing what they tell, and ending them all when one fails.

On Linux they are forked from a server that has imported what is heavy and nothing else: no data, no model, no method,
no thread, no GPU. A process is there within some hundredths of a second and knows nothing. Elsewhere each begins anew.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, cast

from benchmark.execution.process.child import LARGEST_MESSAGE, ProcessFailure, Rank, RankWork, enter
from benchmark.utils.waiting import THREADS

GRACE_SECONDS = 2.0
"""How long the others may take to show that they failed before the one that was seen to fail."""
PRELOADED = (
    "torch",
    "lightning",
    "benchmark.execution.process.unlearning_child",
    "benchmark.execution.process.warm",
)
"""What the server imports: nothing that can draw or open an image of a data set."""
METHOD = "forkserver" if sys.platform == "linux" else "spawn"

Listener = Callable[..., Any]
"""Called with what rank 0 tells and what any rank asks; what it returns answers a question."""


class ProcessError(Exception):
    """A process failed in a way that has no exception of its own."""


class StoppedError(ProcessError):
    """Processes were ended because the run is being stopped."""


class Stop:
    """Ends processes that other threads wait for."""

    def __init__(self) -> None:
        self.heard, self._asked = multiprocessing.Pipe(duplex=False)

    def ask(self) -> None:
        """Let every `run_processes` that was given this end its processes and raise `StoppedError`."""
        self._asked.close()

    def check(self) -> None:
        """Raise if it was asked.

        Raises:
            StoppedError: If it was.
        """
        if self.heard.poll():
            raise StoppedError("the run is being stopped")


class RankTracebackError(Exception):
    """Where in a process an exception was raised: the cause of that exception in the parent.

    Attributes:
        failure: The whole.
    """

    def __init__(self, failure: ProcessFailure) -> None:
        super().__init__(failure.traceback)
        self.failure = failure

    def __str__(self) -> str:
        return f"in rank {self.failure.rank} of the processes that unlearned:\n{self.failure.traceback}"


def run_processes(
    work: RankWork,
    folder: Path,
    *,
    count: int = 1,
    listener: Listener | None = None,
    stop: Stop | None = None,
    started: Callable[[Sequence[int]], None] | None = None,
) -> None:
    """Do the same work in new processes, and wait for their end. Several threads may do so at once.

    Args:
        work: A function of a module's top level; called with a `Rank`.
        folder: Where the work finds what it needs and leaves what it made.
        count: How many ranks.
        listener: Called with what rank 0 tells and any rank asks.
        stop: Ends them when it is asked.
        started: Called with the numbers of the processes before anything is heard.

    Raises:
        Exception: What the first rank that failed raised, its class by name; the others are ended.
        StoppedError: If `stop` was asked.
        ProcessError: If a process ended without a word.
    """
    context = _context()
    lines: list[Connection] = []
    processes: list[BaseProcess] = []
    ranks: list[Rank] = []
    try:
        with _ONE_THREAD, _interrupts_for_this_process_alone(), _without_main_module():
            for index in range(count):
                parent_end, child_end = context.Pipe(duplex=True)
                rank = Rank(index, count, folder, child_end)
                process = context.Process(target=enter, args=(work, rank), daemon=False)  # type: ignore[attr-defined]
                process.start()
                child_end.close()
                lines.append(parent_end)
                processes.append(process)
                ranks.append(rank)
        if started is not None:
            started([process.pid or 0 for process in processes])
        _wait(processes, ranks, lines, listener or (lambda *_: None), stop)
    finally:
        for process in processes:
            _end(process)
        for line in lines:
            line.close()


_ONE_THREAD = threading.RLock()
"""Held where a process is started or its end is read: `multiprocessing` reads the ends of all of them then, and of two
threads that read one end, one finds nothing."""


def _context() -> BaseContext:
    context = multiprocessing.get_context(METHOD)
    if METHOD == "forkserver":
        with _ONE_THREAD:
            context.set_forkserver_preload(list(PRELOADED))
            _start_server()
    return context


def _start_server() -> None:
    """Start the server, if it does not run, where it finds the packages that this process has."""
    from multiprocessing.forkserver import ensure_running

    environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PYTHONSAFEPATH": "1"}
    environment |= {name: os.environ.get(name, value) for name, value in THREADS.items()}
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        with _without_main_module(), _interrupts_for_this_process_alone():
            ensure_running()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _end(process: BaseProcess) -> None:
    """End a process and all that it started."""
    if process.pid is not None and hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # it leads a group of its own
    with _ONE_THREAD:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.join()


def _wait(
    processes: Sequence[BaseProcess],
    ranks: Sequence[Rank],
    lines: Sequence[Connection],
    hear: Listener,
    stop: Stop | None,
) -> None:
    """Until all have ended well, and have nothing more to tell."""
    waiting = {process.sentinel: number for number, process in enumerate(processes)}
    talking = {id(line): rank for line, rank in zip(lines, ranks, strict=True)}
    sources: list[Any] = [*lines, *waiting]
    asked = [] if stop is None else [stop.heard]
    while sources:
        for ready in wait([*sources, *asked]):
            if stop is not None and ready is stop.heard:
                stop.check()
            if isinstance(ready, Connection):
                if ready in sources and not _heard(ready, talking[id(ready)], hear):
                    sources.remove(ready)
                continue
            sources.remove(ready)
            number = waiting[ready]  # type: ignore[index]
            process, rank, line = processes[number], ranks[number], lines[number]
            with _ONE_THREAD:
                process.join()
            if line in sources:  # what it has said; a child that it left may hold the line open for ever
                while line.poll() and _heard(line, rank, hear):
                    pass
                sources.remove(line)
            if process.exitcode or not rank.done.exists():
                raise _first_failure(processes, ranks)


def _heard(line: Connection, rank: Rank, hear: Listener) -> bool:
    """Hear one message and answer it, if it is a question; False where there will be no more.

    Raises:
        ProcessError: If it is no message.
    """
    try:
        content = line.recv_bytes(LARGEST_MESSAGE)
    except (EOFError, ConnectionResetError):
        return False
    except OSError as error:
        raise ProcessError(f"the process of device {rank.index} sent something else than messages") from error
    try:
        way, *message = json.loads(content)
        if way not in ("tell", "ask") or not message or not isinstance(message[0], str):
            raise ValueError("no message")
    except (ValueError, TypeError, RecursionError) as error:
        raise ProcessError(f"the process of device {rank.index} sent something else than messages") from error
    if way == "tell":
        hear(*message)
        return True
    try:
        answer: dict[str, Any] = {"answer": hear(*message)}
    except Exception as error:  # noqa: BLE001 - raised again where it was asked for, which then fails
        answer = {"failure": {"error": type(error).__name__, "message": str(error)}}
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        line.send_bytes(json.dumps(answer).encode())
    return True


def _first_failure(processes: Sequence[BaseProcess], ranks: Sequence[Rank]) -> Exception:
    """What went wrong first: a rank that fails makes the others fail that wait for it."""
    alive = [process.sentinel for process in processes if process.is_alive()]
    if alive:
        wait(alive, GRACE_SECONDS)
    which = "" if len(ranks) == 1 else " of device {}"
    for process, rank in zip(processes, ranks, strict=True):
        code = process.exitcode
        if code is not None and code < 0 and not rank.failure.exists():
            cause = f"signal {-code} ({signal.strsignal(-code) or 'unknown'})"
            memory = "; perhaps the memory was not enough" if -code == signal.SIGKILL else ""
            return ProcessError(f"the process{which.format(rank.index)} was ended by {cause}{memory}")
    failures = [failure for rank in ranks if (failure := _read(rank.failure)) is not None]
    if failures:
        return raised(min(failures, key=lambda failure: failure.at))
    codes = ", ".join(str(process.exitcode) for process in processes if process.exitcode is not None)
    return ProcessError(f"a process ended without a result (exit status {codes})")


def _read(path: Path) -> ProcessFailure | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        frames = tuple((str(f), int(n), str(w), str(t)) for f, n, w, t in content["frames"])
        texts = {name: str(content[name]) for name in ("error", "message", "traceback")}
        return ProcessFailure(at=float(content["at"]), rank=int(content["rank"]), frames=frames, **texts)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def raised(failure: ProcessFailure) -> Exception:
    """The exception of a failure: of the same class where it is one of Python's or ours, else of one of that name."""
    name = failure.error if failure.error.isidentifier() else "ProcessError"
    kind = _known_errors().get(name) or type(name, (ProcessError,), {"__module__": "method"})
    error: Exception = cast(Any, kind).__new__(kind)  # not __init__, which may want other arguments
    error.args = (failure.message,)
    error.__cause__ = RankTracebackError(failure)
    return error


def _known_errors() -> dict[str, type[Exception]]:
    import builtins

    import torch

    import methods.common.card  # noqa: F401 - its errors are among ours
    from datamodules.common.errors import BenchmarkError
    from datamodules.common.kept_files import CannotWriteError

    def below(kind: type[Exception]) -> Iterator[type[Exception]]:
        yield kind
        for further in kind.__subclasses__():
            yield from below(further)

    plain = {n: k for n, k in vars(builtins).items() if isinstance(k, type) and issubclass(k, Exception)}
    project_errors = {kind.__name__: kind for kind in below(BenchmarkError) if not issubclass(kind, CannotWriteError)}
    return {**plain, **project_errors, "OutOfMemoryError": torch.OutOfMemoryError, **_UNLEARNING_ERRORS}


_UNLEARNING_ERRORS: dict[str, type[Exception]] = {}


def register_error(kind: type[Exception]) -> type[Exception]:
    """Let an exception's class be raised in the parent as it was in the child."""
    _UNLEARNING_ERRORS[kind.__name__] = kind
    return kind


@contextlib.contextmanager
def _without_main_module() -> Iterator[None]:
    """A new process does not run this one's main script again, which may lack the usual guard."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextlib.contextmanager
def _interrupts_for_this_process_alone() -> Iterator[None]:
    """Processes that start here do not hear Ctrl-C, which a terminal sends to all: this one ends them.

    Blocked signals stay blocked in a new process, and wait here until the block ends.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # its start would unblock them again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def started() -> None:
    """Start the server of processes ahead of the first work; it imports what is heavy while this process goes on."""
    _context()
