"""Starting the ranks, hearing what rank 0 tells, and ending them all when one fails or the user stops the run."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from benchmark.distributed.rank import Failure, Rank, RankError, Work, enter

GRACE_SECONDS = 2.0
"""How long the others may take to show that they failed before the one that was seen to fail."""

Listener = Callable[..., None]


def on_ranks(work: Work, *arguments: Any, count: int, listener: Listener | None = None) -> list[Any]:
    """Do the same work in several new processes.

    Args:
        work: A function of a module's top level; called with a `Rank` and the arguments.
        arguments: Sent to every rank.
        count: How many ranks.
        listener: Called with what rank 0 tells.

    Returns:
        What each rank's work gives.

    Raises:
        Exception: What the first rank that failed raised; the others are ended.
        RankError: If a process ended without a word.
    """
    context = multiprocessing.get_context("spawn")  # the only start that CUDA bears
    with tempfile.TemporaryDirectory(prefix="clip-unlearning-") as name:
        receiver, sender = context.Pipe(duplex=False)
        ranks = [Rank(index, count, Path(name), sender if index == 0 else None) for index in range(count)]
        ranks[0].work.write_bytes(pickle.dumps((work, arguments)))  # as a process's arguments, tensors would be shared
        processes: list[SpawnProcess] = []
        try:
            with _interrupts_for_this_process_alone():
                for rank in ranks:
                    process = context.Process(target=enter, args=(rank,), daemon=True)
                    process.start()
                    processes.append(process)
            sender.close()
            _wait(processes, ranks, receiver, listener or (lambda *_: None))
            return [pickle.loads(rank.result.read_bytes()) for rank in ranks]
        finally:
            for process in processes:
                process.kill()
            for process in processes:
                process.join()
            receiver.close()
            sender.close()


def _wait(processes: Sequence[SpawnProcess], ranks: Sequence[Rank], receiver: Connection, listener: Listener) -> None:
    """Until all have ended well, and rank 0 has nothing more to tell."""
    waiting = {process.sentinel: (process, rank) for process, rank in zip(processes, ranks, strict=True)}
    sources: list[Any] = [receiver, *waiting]
    while sources:
        for ready in wait(sources):
            if ready is receiver:
                try:
                    message = receiver.recv()
                except EOFError:
                    sources.remove(receiver)
                else:
                    listener(*message)
                continue
            sources.remove(ready)
            process, rank = waiting[ready]  # type: ignore[index]
            process.join()
            if process.exitcode or not rank.result.exists():
                raise _first_failure(processes, ranks)


def _first_failure(processes: Sequence[SpawnProcess], ranks: Sequence[Rank]) -> Exception:
    """What went wrong first: a rank that fails makes the others fail that wait for it."""
    wait([process.sentinel for process in processes if process.is_alive()], GRACE_SECONDS)
    for process, rank in zip(processes, ranks, strict=True):
        if process.exitcode is not None and process.exitcode < 0 and not rank.failure.exists():
            number = -process.exitcode
            cause = f"signal {number} ({signal.strsignal(number) or 'unknown'})"
            memory = "; perhaps the memory was not enough" if number == signal.SIGKILL else ""
            return RankError(f"the process of device {rank.index} was ended by {cause}{memory}")
    found = [_read(rank.failure) for rank in ranks if rank.failure.exists()]
    if found:
        return min(found, key=lambda failure: failure.at).error()
    codes = ", ".join(str(process.exitcode) for process in processes)
    return RankError(f"a process of a device ended without a result (exit codes {codes})")


def _read(path: Path) -> Failure:
    failure: Failure = pickle.loads(path.read_bytes())
    return failure


@contextmanager
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
