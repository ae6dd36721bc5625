"""One bad input, and whether it is answered as promised: status 2, one line on standard error, within five seconds."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from datamodules.common.text import hidden_sign
from tests.reliability.case import Case
from tests.tiny_model import write_tiny_model
from tests.world import SUITE, command, small_world, write_suite

LIMIT_SECONDS = 5.0
"""Of computing; a wait is ended by the alarm."""
HANG_SECONDS = 120
RAN = "ran"
"""What code in an input would make in its folder, if it were run."""
Arguments = list[object]


@dataclass(frozen=True)
class Bad:
    """A bad input.

    Attributes:
        name: In words, unique.
        make: Writes files into an empty folder, and gives the command line.
    """

    name: str
    make: Callable[[Path], Arguments]

    def case(self) -> Case:
        return Case(self.name, self._answer)

    def _answer(self, folder: Path) -> str:
        with small_world(), _nothing_runs():
            arguments = self.make(folder)
            start = time.process_time()  # of this process: what else runs on the machine does not count
            try:
                with _stopped_when_hanging():
                    answer = command(*arguments)
            except _HangError:
                return f"hangs: {arguments}"
            except Exception as error:  # noqa: BLE001 - whatever comes out of the command line is the finding
                return f"{type(error).__name__} came out of it: {str(error)[:200]}"
            seconds = time.process_time() - start
        if (folder / RAN).exists():
            return "code of the input was run"
        return problem_of(answer.status, answer.err, seconds)


def problem_of(status: int, err: str, seconds: float) -> str:
    """What is wrong with an answer; empty where it is as promised."""
    lines = err.splitlines()
    if status != 2:
        return f"status {status}: {err[-300:]!r}"
    if len(lines) != 1 or not lines[0].startswith("error: ") or "Traceback" in err:
        return f"not one line: {err[:300]!r}"
    if sign := hidden_sign(lines[0]):
        return f"the line holds {sign}: {lines[0]!r}"
    if len(lines[0]) > 1500:
        return f"the line has {len(lines[0])} signs: {lines[0][:200]!r}"
    return f"took {seconds:.1f} s" if seconds > LIMIT_SECONDS else ""


class _HangError(BaseException):
    """Not an `Exception`: nothing on the way may take it for a failure of the input."""


@contextmanager
def _stopped_when_hanging() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise _HangError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(HANG_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _nothing_runs() -> Iterator[None]:
    """No cell is run and no model is trained, so that an input that passes is seen at once."""
    from benchmark.execution.runner import CellRunner

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a cell was run")

    with pytest.MonkeyPatch.context() as patch:
        for name in ("run", "make"):
            patch.setattr(CellRunner, name, never)
        yield


@cache
def tiny() -> Any:
    """The tiny model's file and a cache, made once a process."""
    folder = Path(_KEPT.enter_context(TemporaryDirectory(prefix="tiny-")))
    write_tiny_model(folder / "tiny.safetensors")
    return folder


_KEPT = ExitStack()


def run(folder: Path, *options: object, suite: Path | None = None) -> Arguments:
    """`run` of a tiny suite in a folder, with further options."""
    suite = suite or write_suite(folder, tiny() / "tiny.safetensors")
    where = ("--results", folder / "results", "--cache-dir", tiny() / "cache", "--device", "cpu")
    return ["run", "--suite", suite, *where, *options]


def run_text(folder: Path, text: str | bytes, *options: object, name: str = "bad.yaml") -> Arguments:
    """`run` of a suite with this text; MODEL in it stands for the tiny model."""
    content = text.encode() if isinstance(text, str) else text
    suite = folder / name
    suite.write_bytes(content.replace(b"MODEL", str(tiny() / "tiny.safetensors").encode()))
    return run(folder, *options, suite=suite)


PLAIN = SUITE.format(model="MODEL")
"""The text of a good suite."""
