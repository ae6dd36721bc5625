"""The folder of records: one JSON file a cell, the only thing that the leaderboard reads.

A record is written to a temporary name and moved into place, so a file under its final name is always whole.
A file that is not a record all the same (a full disk, a hand's edit) is set aside, never deleted; its cell
runs again.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.files import replace_file
from benchmark.records import KEY, Record, RecordError
from datamodules.errors import BenchmarkError

if TYPE_CHECKING:
    from benchmark.outputs import Outputs


REFERENCE = Path(__file__).resolve().parent.parent / "results" / "reference"
"""The records that come with the project."""


class RecordStore:
    """The folder of records: `folder/<suite>/<key>.json`.

    Several processes, on several machines, may write to one folder at once.

    Args:
        folder: The folder; it need not exist yet.
        read_only: Leave files that are no records where they are.

    Attributes:
        folder: The folder.
        set_aside: One line for each file that was no record; the command line shows them.
        damaged: Each such file with what is wrong with it.
    """

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self.folder = folder
        self.read_only = read_only
        self.set_aside: list[str] = []
        self.damaged: list[tuple[Path, str]] = []

    def path(self, suite: str, key: str) -> Path:
        """Where a record lies or would lie."""
        return self.folder / suite / f"{key}.json"

    def write(self, record: Record, outputs: Outputs | None = None) -> Path:
        """Write a record, whole or not at all, in place of one of the same suite and key.

        Args:
            record: What one cell found.
            outputs: What the model gave for each test image; written before the record.

        Raises:
            RecordError: If it does not have the shape of a record, or the disk refuses it.
        """
        data = record.to_dict()
        Record.from_dict(data, f"record {record.key[:12]}")
        try:
            text = json.dumps(data, sort_keys=True, indent=1, allow_nan=False) + "\n"
        except (TypeError, ValueError) as error:
            raise RecordError(f"record {record.key[:12]} cannot be written as JSON: {error}") from error
        path = self.path(record.cell["suite"], record.key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if outputs is not None:
                replace_file(path.with_suffix(".npz"), outputs.to_bytes())
            replace_file(path, text.encode())
        except OSError as error:
            raise RecordError(f"cannot write {path}: {error.strerror or error}") from error
        return path

    def read(self, key: str, suite: str | None = None) -> Record | None:
        """The record of a key, in one suite or the first of any; None where there is none that is whole."""
        paths = sorted(self.folder.glob(f"*/{key}.json")) if suite is None else [self.path(suite, key)]
        return next((record for path in paths if (record := self._load(path)) is not None), None)

    def outputs(self, suite: str, key: str) -> Outputs | None:
        """The outputs kept beside a record; None where there are none that are whole."""
        from benchmark.outputs import Outputs

        return Outputs.read(self.path(suite, key).with_suffix(".npz"))

    def has(self, suite: str, key: str) -> bool:
        """Whether a whole record is there; it is read, so a damaged file does not count."""
        return self.read(key, suite) is not None

    def all(self, suite: str | None = None) -> list[Record]:
        """All records, of one suite or of every suite, in the order of their paths."""
        paths = sorted(self.folder.glob(f"{suite or '*'}/*.json"))
        loaded = (self._load(path) for path in paths if KEY.fullmatch(path.stem))
        return [record for record in loaded if record is not None]

    def check_writable(self) -> None:
        """Find out before any work starts whether records can be written.

        Raises:
            BenchmarkError: If they cannot.
        """
        probe = self.folder / f".probe.{uuid.uuid4().hex}.tmp"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe.touch(exist_ok=False)
            probe.unlink()
        except OSError as error:
            raise BenchmarkError(
                f"results cannot be written to {self.folder} ({error.strerror or error}); name another folder"
            ) from error

    def _load(self, path: Path) -> Record | None:
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RecordError(f"cannot read {path}: {error.strerror or error}") from error
        try:
            record = Record.from_dict(json.loads(text, parse_constant=_no_constant), path.name)
            if record.key != path.stem:
                raise RecordError(f"{path.name}: holds the record of another key, {record.key[:12]}...")
        except (ValueError, RecursionError, RecordError) as error:
            self._set_aside(path, " ".join(str(error).split()).removeprefix(f"{path.name}: "))
            return None
        return record

    def _set_aside(self, path: Path, reason: str) -> None:
        self.damaged.append((path, reason))
        if self.read_only:
            self.set_aside.append(f"{path} is not a whole record ({reason}): not read")
            return
        try:
            kept = f"kept as {_move_aside(path).name}"
        except OSError as error:
            kept = f"left where it is ({error.strerror or error})"
        self.set_aside.append(f"{path} is not a whole record ({reason}): {kept}; its cell will run again")


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def _move_aside(path: Path) -> Path:
    number = 0
    while True:
        target = path.with_name(f"{path.name}.corrupt{number or ''}")
        try:
            # Claim the name first, so that two readers never take the same one.
            target.touch(exist_ok=False)
        except FileExistsError:
            number += 1
            continue
        try:
            return path.replace(target)
        except OSError:
            target.unlink()
            raise
