"""What runs first in the process of a rank: it ends with its parent, and leaves a result or a failure in a file.

Light to import: what the work needs, it imports.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmark.files import replace_file


class RankError(Exception):
    """A rank of a cell's unlearning failed in a way that has no exception of its own."""


class RankTracebackError(Exception):
    """Where in a rank an exception was raised: the cause of that exception in the parent."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


@dataclass(frozen=True)
class Rank:
    """One of the processes of a cell's unlearning.

    Attributes:
        index: From 0.
        count: How many there are.
        folder: Where they meet, and leave results; on this machine.
        messages: Where rank 0 tells how far it is; None in the others.
    """

    index: int
    count: int
    folder: Path
    messages: Connection | None = None

    def tell(self, *message: Any) -> None:
        """Send a message to the parent, from rank 0; the others say the same and are not listened to."""
        if self.messages is not None:
            self.messages.send(message)

    @property
    def work(self) -> Path:
        """The file that says what to do, and with what: the same for all ranks."""
        return self.folder / "work"

    @property
    def result(self) -> Path:
        """The file of this rank's result."""
        return self.folder / f"{self.index}.result"

    @property
    def failure(self) -> Path:
        """The file of this rank's failure."""
        return self.folder / f"{self.index}.failure"


Work = Callable[..., Any]
"""What a rank does: a function of a module's top level that takes the rank and further arguments."""


def enter(rank: Rank) -> None:
    """Do a rank's work, and write what it gives or how it failed."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        work, arguments = pickle.loads(rank.work.read_bytes())
        replace_file(rank.result, pickle.dumps(work(rank, *arguments)))
    except BaseException as error:  # noqa: BLE001 - the parent raises it again
        replace_file(rank.failure, pickle.dumps(Failure.of(rank, error)))
        os._exit(1)  # at once: threads of a broken process group may wait for the other ranks


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@dataclass(frozen=True)
class Failure:
    """How a rank failed.

    Attributes:
        at: When, to tell what came first from what followed from it.
        rank: Its index.
        summary: Class and message.
        traceback: The whole, as text.
        pickled: Class, arguments and attributes; empty where they cannot be sent.
    """

    at: float
    rank: int
    summary: str
    traceback: str
    pickled: bytes

    @classmethod
    def of(cls, rank: Rank, error: BaseException) -> Failure:
        """The failure of a rank, now."""
        at, text = time.time(), "".join(traceback.format_exception(error))
        try:
            pickled = pickle.dumps((type(error), error.args, error.__dict__))
        except Exception:  # noqa: BLE001 - whatever an exception carries, its text arrives
            pickled = b""
        return cls(at, rank.index, f"{type(error).__name__}: {error}", text, pickled)

    def error(self) -> Exception:
        """The exception again, or a `RankError` of its text where its class cannot be had here."""
        error: Exception = RankError(self.summary)
        try:
            kind, arguments, attributes = pickle.loads(self.pickled)
            if issubclass(kind, Exception):  # another one would end this process
                again = kind.__new__(kind, *arguments)  # not __init__, which may want other arguments
                again.args = arguments
                again.__dict__.update(attributes)
                error = again
        except Exception:  # noqa: BLE001 - of a class that is not here, or made otherwise
            error = RankError(self.summary)
        error.__cause__ = RankTracebackError(f"in rank {self.rank}:\n{self.traceback}")
        return error
