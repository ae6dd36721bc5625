"""Processes of tests that need no import each: they are forked from the server of processes that cells unlearn in.

That server has imported PyTorch and Lightning once for all tests of a worker; a new interpreter takes seconds for it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent


def process(work: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Start a process that does some work, as a shell would start it: it hears signals, in a group of its own.

    Args:
        work: A function of a module's top level.
        arguments: Its arguments; they are pickled.
    """
    from benchmark.execution.process.processes import METHOD, started

    started()
    made = multiprocessing.get_context(METHOD).Process(target=_enter, args=(work, *arguments))  # type: ignore[attr-defined]
    made.start()
    return made  # type: ignore[no-any-return]


def _enter(work: Callable[..., None], *arguments: Any) -> None:
    import torch

    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    torch.set_num_threads(1)
    use_this_server()
    work(*arguments)


ENSURE_RUNNING = forkserver._forkserver.ensure_running


def use_this_server() -> None:
    """In a process that the server forked: what it starts is forked from that server too, and not from a new one."""
    forkserver._forkserver.ensure_running = forkserver.ensure_running = lambda: None


def use_a_new_server() -> None:
    """In a process that the server forked: what it starts is forked from a server of its own."""
    forkserver._forkserver.ensure_running = forkserver.ensure_running = ENSURE_RUNNING


class Server:
    """Runs the command line in processes of their own, one at a time, and sends them signals.

    Args:
        prepare: What a run needs that is not the usual, such as a recipe; called once, before the first.
    """

    def __init__(self, prepare: Callable[[], None] | None = None) -> None:
        self._line, theirs = multiprocessing.Pipe()
        self._process = process(_serve, theirs, prepare)
        theirs.close()

    def run(
        self,
        arguments: Sequence[Any],
        *,
        out: Path | None = None,
        after: float | None = None,
        number: int = signal.SIGKILL,
        die_after: int = 0,
        new_server: bool = False,
    ) -> tuple[int, float]:
        """Run a command on the small world.

        Args:
            arguments: Of the command line.
            out: The file for all that it and the processes of a new server say; by default it is lost.
            after: Seconds after which it gets a signal; by default none.
            number: Which signal.
            die_after: It kills itself when so many files of its records are written but not in their places.
            new_server: Whether its cells unlearn in processes of a server of its own, which takes seconds to start.

        Returns:
            Its exit status (negative if a signal killed it) and its seconds.
        """
        words = [str(argument) for argument in arguments]
        job = {"arguments": words, "out": str(out or os.devnull), "die_after": die_after, "new_server": new_server}
        self._line.send((job, after, int(number)))
        status, seconds = self._line.recv()
        return status, seconds

    def close(self) -> None:
        """End the server."""
        self._line.close()
        self._process.join(timeout=30)


def _serve(line: Connection, prepare: Callable[[], None] | None) -> None:
    """Fork a process for each job: what this one has imported and prepared need not be imported and prepared again."""
    if str(TESTS) not in sys.path:
        sys.path.insert(0, str(TESTS))
    import world  # noqa: F401

    if prepare is not None:
        prepare()
    _plan()
    while True:
        try:
            job, after, number = line.recv()
        except EOFError:
            return
        start = time.monotonic()
        child = os.fork()
        if not child:
            _run(**job)
        ended = 0
        while not ended:
            ended, status = os.waitpid(child, os.WNOHANG)
            if not ended and after is not None and time.monotonic() - start >= after:
                os.kill(child, number)
                ended, status = os.waitpid(child, 0)
            time.sleep(0.002)
        line.send((os.waitstatus_to_exitcode(status), time.monotonic() - start))


def _plan() -> None:
    """Read what each command reads: the files of all methods, the code that stands in the keys, the known records."""
    from world import command, small_world

    with small_world(), tempfile.TemporaryDirectory() as folder:
        where = ("--results", folder, "--cache-dir", folder, "--device", "cpu")
        planned = command("plan", "--suite", "quick", *where)
        if planned.status:
            raise RuntimeError(planned.err)


def _run(arguments: list[str], out: str, die_after: int, new_server: bool) -> None:
    """In the forked process: the command, and the end."""
    status = 70
    try:
        from world import small_world

        from benchmark.__main__ import main

        os.setsid()
        if new_server:
            use_a_new_server()
        said = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(said, 1), os.dup2(said, 2)
        sys.argv = ["benchmark", *arguments]
        if die_after:
            _die_after(die_after, Path(arguments[arguments.index("--results") + 1]))
        with small_world():
            status = main(arguments)
        sys.stdout.flush(), sys.stderr.flush()
    finally:
        os._exit(status)


def _die_after(writes: int, results: Path) -> None:
    """Let this process kill itself when the n-th file of its records is written but not in its place."""
    from datamodules.common import kept_files

    left, sync = [writes], os.fsync

    def fsync(descriptor: int) -> None:
        # What the runner writes for the processes that unlearn is flushed too, and is none of these files.
        sync(descriptor)
        unfinished = results.glob("*/.*.tmp")
        left[0] -= any(os.path.samestat(os.fstat(descriptor), path.stat()) for path in unfinished)
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    kept_files.os.fsync = fsync  # type: ignore[attr-defined]
