"""What runs first in a process that was started for one piece of work: it ends with its parent and tells how it ended.

Parent and child talk in JSON alone, and results are files without code: whatever a method has done to its process, its
answers are only read, never run. Light to import: what the work needs, it imports.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmark.utils.stopping import end_with_parent

LARGEST_MESSAGE = 16 * 2**20
"""Bytes of one message, either way: a step, a few metrics, a question; results are files."""


@dataclass(frozen=True)
class Rank:
    """One of the processes that work together; alone, rank 0 of 1.

    Attributes:
        index: From 0.
        count: How many there are.
        folder: Where they find their work and leave what they made; on this machine.
        parent: The line to the parent.
    """

    index: int
    count: int
    folder: Path
    parent: Connection = field(repr=False)

    def tell(self, *message: Any) -> None:
        """Send a message to the parent, from rank 0; the others say the same and are not listened to.

        Args:
            message: Values that JSON can hold; the first is its kind.
        """
        if self.index == 0:
            self.parent.send_bytes(json.dumps(["tell", *message]).encode())

    def ask(self, *message: Any) -> Any:
        """Ask the parent and wait for its answer, from any rank.

        Args:
            message: As for `tell`.

        Raises:
            AskedError: If the parent could not do what was asked.
        """
        self.parent.send_bytes(json.dumps(["ask", *message]).encode())
        answer = json.loads(self.parent.recv_bytes(LARGEST_MESSAGE))
        if "failure" in answer:
            raise AskedError(answer["failure"]["error"], answer["failure"]["message"])
        return answer["answer"]

    @property
    def done(self) -> Path:
        """The file that says that this rank's work is done: written last."""
        return self.folder / f"{self.index}.done"

    @property
    def failure(self) -> Path:
        """The file of this rank's failure."""
        return self.folder / f"{self.index}.failure"


class AskedError(Exception):
    """What the parent was asked for failed there.

    Attributes:
        kind: The name of the exception's class.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


RankWork = Callable[[Rank], None]
"""What a process does: a function of a module's top level. What it makes it leaves in the rank's folder."""


def enter(work: RankWork, rank: Rank) -> None:
    """Do a rank's work, and write that it is done or how it failed."""
    if hasattr(os, "setsid"):
        os.setsid()  # what it starts ends with it, and Ctrl-C is for the parent alone
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.dup2(2, 1)  # what a method prints is none of the command's answers
    end_with_parent()
    try:
        work(rank)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - the parent raises it again; sys.exit too is a failure
        _leave(rank.failure, ProcessFailure.of(rank, error))
        os._exit(1)  # at once: threads of a broken process group may wait for the other ranks
    with suppress(FileNotFoundError):
        rank.done.touch()
    os._exit(0)  # nor does a thread that a method left behind hold the result up


def _leave(path: Path, failure: ProcessFailure) -> None:
    temporary = path.with_suffix(".tmp")
    with suppress(FileNotFoundError):  # the parent was stopped and has cleared the folder away: nobody reads it
        temporary.write_text(json.dumps(asdict(failure)), encoding="utf-8", errors="backslashreplace")
        temporary.replace(path)


@dataclass(frozen=True)
class ProcessFailure:
    """How a rank failed.

    Attributes:
        at: When, seconds since the epoch: tells what came first from what followed from it.
        rank: Its index.
        error: The name of the exception's class.
        message: Its message.
        traceback: The whole, as text.
        frames: File, line number, function and source line of each frame, the outermost first.
    """

    at: float
    rank: int
    error: str
    message: str
    traceback: str
    frames: tuple[tuple[str, int, str, str], ...] = ()

    @classmethod
    def of(cls, rank: Rank, error: BaseException) -> ProcessFailure:
        """The failure of a rank, now."""
        kind = error.kind if isinstance(error, AskedError) else type(error).__name__
        frames = tuple(
            (frame.filename, frame.lineno or 0, frame.name, frame.line or "")
            for frame in traceback.extract_tb(error.__traceback__)
        )
        text = "".join(traceback.format_exception(error))
        message = str(error)
        if not isinstance(error, Exception):  # sys.exit, KeyboardInterrupt: what they say is for a shell
            message = f"the method raised {kind}({message})"
        return cls(time.time(), rank.index, kind, message, text, frames)
