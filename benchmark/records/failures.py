"""The ledger of a results folder: what failed, with the whole traceback, and which cells began. No records.

Both are append-only, one JSON a line. A cell that began and never ended took its process with it: a segmentation fault,
a kill for memory, a power cut. No traceback can be written then, but the next run can name it.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmark.records.record import json_digest
from datamodules.common.errors import BenchmarkError
from datamodules.common.kept_files import cannot_write, is_there, move_aside, read_file

DIGEST = "digest"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """One cell that raised.

    Attributes:
        time: When, ISO 8601 in UTC.
        key: Of the cell.
        cell: As in its record.
        error: The exception's class name.
        message: The exception's message.
        traceback: The whole traceback, causes included.
    """

    time: str
    key: str
    cell: dict[str, Any]
    error: str
    message: str
    traceback: str

    @classmethod
    def of(cls, key: str, cell: Mapping[str, Any], error: BaseException) -> Failure:
        """The failure of a cell, now."""
        text = "".join(traceback.format_exception(error))
        return cls(_now(), key, dict(cell), type(error).__name__, str(error), text)


class Ledger:
    """`failures.jsonl` and `begun.jsonl` in a folder; several processes may append at once."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "failures.jsonl"
        self.begun_path = folder / "begun.jsonl"

    def append(self, key: str, cell: Mapping[str, Any], error: BaseException) -> Failure:
        """Write down that a cell raised.

        Args:
            key: Of the cell.
            cell: As in its record.
            error: With its traceback.

        Raises:
            CannotWriteError: If the disk is full or refuses the line.
        """
        return self.append_failure(Failure.of(key, cell, error))

    def append_failure(self, failure: Failure) -> Failure:
        """Write down a failure that another process caught.

        Raises:
            CannotWriteError: If the disk is full or refuses the line.
        """
        _append(self.path, asdict(failure))
        return failure

    def failures(self) -> dict[str, Failure]:
        """The latest failure of each key; a line that is torn, damaged or of another version is passed over."""
        failures: dict[str, Failure] = {}
        for content in _lines(self.path):
            try:
                failure = Failure(**content)
            except TypeError:
                continue
            failures[failure.key] = failure
        return failures

    @contextmanager
    def running(self, key: str) -> Iterator[None]:
        """Write down that a cell begins, and however this block ends, that the cell has ended.

        Raises:
            CannotWriteError: If the disk is full or refuses the first line.
        """
        _append(self.begun_path, {"time": _now(), "key": key, "event": "began"})
        try:
            yield
        finally:
            with suppress(BenchmarkError):  # what ended the block matters more
                _append(self.begun_path, {"time": _now(), "key": key, "event": "ended"})

    def unended(self) -> dict[str, str]:
        """When each cell began that has not ended since, by key: it took its process with it, or it still runs."""
        beginnings: dict[str, str] = {}
        for content in _lines(self.begun_path):
            key, time, event = (content.get(name) for name in ("key", "time", "event"))
            if event == "began" and isinstance(key, str):
                beginnings[key] = str(time)
            elif event == "ended":
                beginnings.pop(str(key), None)
        return beginnings


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _append(path: Path, content: Mapping[str, Any]) -> None:
    """Add a line with its digest to a file.

    Raises:
        CannotWriteError: If the disk is full or refuses it.
    """
    plain = json.loads(json.dumps(content, default=str))
    line = json.dumps({**plain, DIGEST: json_digest(plain)}, sort_keys=True).encode() + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if is_there(path) and not path.is_file():
            move_aside(path)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            if not _ends_with_newline(descriptor):
                # A writer died in the middle of its line: do not glue ours to it.
                line = b"\n" + line
            if os.write(descriptor, line) != len(line):
                raise OSError(errno.ENOSPC, "the disk took only a part of the line")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise cannot_write(path, error) from error


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file, one a line; a line that is torn, damaged or of another version is passed over.

    Raises:
        BenchmarkError: If the file cannot be read.
    """
    try:
        lines = read_file(path).splitlines()
    except FileNotFoundError:
        return
    except (NotADirectoryError, PermissionError) as error:
        raise BenchmarkError(f"cannot read {path}: {error.strerror or error}") from error
    except OSError as error:
        _log.warning("note: nothing is known from %s, it cannot be read: %s", path, error.strerror or error)
        return
    for line in lines:
        try:
            content = json.loads(line)
            if content.pop(DIGEST) == json_digest(content):
                yield content
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            continue


def _ends_with_newline(descriptor: int) -> bool:
    size = os.lseek(descriptor, 0, os.SEEK_END)
    if size == 0:
        return True
    os.lseek(descriptor, size - 1, os.SEEK_SET)
    return os.read(descriptor, 1) == b"\n"
