"""The ledger of failures: append-only, one JSON a line, with the whole traceback. Never among the records."""

from __future__ import annotations

import errno
import json
import logging
import os
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmark.records import json_digest
from datamodules.errors import BenchmarkError
from datamodules.kept_files import cannot_write, is_there, move_aside, read_file

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
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(now, key, dict(cell), type(error).__name__, str(error), text)


class Ledger:
    """`failures.jsonl` in a folder; several processes may append at once."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "failures.jsonl"

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
        plain = json.loads(json.dumps(asdict(failure), default=str))
        line = json.dumps({**plain, DIGEST: json_digest(plain)}, sort_keys=True).encode() + b"\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if is_there(self.path) and not self.path.is_file():
                move_aside(self.path)
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
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
            raise cannot_write(self.path, error) from error
        return failure

    def failures(self) -> dict[str, Failure]:
        """The latest failure of each key; a line that is torn, damaged or of another version is passed over."""
        try:
            lines = read_file(self.path).splitlines()
        except FileNotFoundError:
            return {}
        except (NotADirectoryError, PermissionError) as error:
            raise BenchmarkError(f"cannot read {self.path}: {error.strerror or error}") from error
        except OSError as error:
            _log.warning("note: no failures are known, for %s cannot be read: %s", self.path, error.strerror or error)
            return {}
        found: dict[str, Failure] = {}
        for line in lines:
            try:
                content = json.loads(line)
                if content.pop(DIGEST) != json_digest(content):
                    continue
                failure = Failure(**content)
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                continue
            found[failure.key] = failure
        return found


def _ends_with_newline(descriptor: int) -> bool:
    size = os.lseek(descriptor, 0, os.SEEK_END)
    if size == 0:
        return True
    os.lseek(descriptor, size - 1, os.SEEK_SET)
    return os.read(descriptor, 1) == b"\n"
