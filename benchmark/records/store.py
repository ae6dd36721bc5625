"""The folder of records: one JSON file a cell, the only thing that the leaderboard reads.

A record is written whole or not at all, and says by a digest and by its key that it is what was written. A file that is
not a record all the same (a damaged disk, a hand's edit) is never believed and never stops the others: commands that
make records set it aside under another name and make it again, commands that only read leave it where it is and say so.
Records of another version of the project are left alone and counted.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.records.record import FIRST_SCHEMA, KEY, SCHEMA, OtherSchemaError, Record, RecordError
from datamodules.common.errors import BenchmarkError
from datamodules.common.kept_files import (
    CannotWriteError,
    DiskFullError,
    cannot_write,
    is_there,
    move_aside,
    read_file,
    replace_file,
    replace_sealed,
    temporary_name,
)

if TYPE_CHECKING:
    from benchmark.records.kept_outputs import Outputs

OTHER_VERSION = ".other-version"
_PROBE_BYTES = 16_384
"""About the size of a record: a disk that has no room for one is found full before the work."""


REFERENCE = Path(__file__).resolve().parents[2] / "results" / "reference"
"""The records that come with the project."""


class RecordStore:
    """The folder of records: `folder/<suite>/<key>.json`.

    Several processes, on several machines, may write to one folder at once.

    Args:
        folder: The folder; it need not exist yet.
        read_only: Leave files that are no records where they are; False for the commands that make records.
        older: Read records of the first version too, which had no digest: those that the project itself ships.

    Attributes:
        folder: The folder.
        set_aside: One line for each file that was no record, or not what was kept beside one.
        damaged: Each such file with what is wrong with it.
        left_alone: Records of another version of the project.
    """

    def __init__(self, folder: Path, *, read_only: bool = True, older: bool = False) -> None:
        self.folder = folder
        self.read_only = read_only
        self.older = older
        self.set_aside: list[str] = []
        self.damaged: list[tuple[Path, str]] = []
        self.left_alone: set[Path] = set()

    @property
    def notes(self) -> list[str]:
        """What the command line shows of files that were not read, one line each."""
        count = len(self.left_alone)
        what = "1 record of another version is" if count == 1 else f"{count} records of another version are"
        lines = list(dict.fromkeys(self.set_aside))
        return [*lines, f"{what} left alone in {self.folder}: not read"] if count else lines

    def path(self, suite: str, key: str) -> Path:
        """Where a record lies or would lie."""
        return self.folder / suite / f"{key}.json"

    def write(self, record: Record, outputs: Outputs | None = None) -> Path:
        """Write a record, whole or not at all, in place of one of the same suite and key.

        Args:
            record: What one cell found.
            outputs: What the model gave for each test image; written before the record.

        Raises:
            RecordError: If it does not have the shape of a record.
            CannotWriteError: If the disk is full or refuses it.
        """
        data = record.to_dict()
        if record.schema != SCHEMA:
            raise RecordError(f"record {record.key[:12]}: schema {record.schema} instead of {SCHEMA}")
        Record.from_dict(data, f"record {record.key[:12]}")
        try:
            text = json.dumps(data, sort_keys=True, indent=1, allow_nan=False) + "\n"
        except ValueError as error:
            raise RecordError(f"record {record.key[:12]} cannot be written as JSON: {error}") from error
        path = self.path(record.cell["suite"], record.key)
        self._make_room(path)
        if outputs is not None:
            replace_sealed(path.with_suffix(".npz"), outputs.to_bytes())
        replace_file(path, text.encode())
        return path

    def read(self, key: str, suite: str | None = None) -> Record | None:
        """The record of a key, in one suite or the first of any; None where there is none that is whole."""
        paths = sorted(self.folder.glob(f"*/{key}.json")) if suite is None else [self.path(suite, key)]
        return next((record for path in paths if (record := self._load(path)) is not None), None)

    def outputs(self, suite: str, key: str) -> Outputs | None:
        """The outputs kept beside a record; None where there are none that are whole."""
        from benchmark.records.kept_outputs import Outputs

        path = self.path(suite, key).with_suffix(".npz")
        outputs = Outputs.read(path)
        if outputs is None and is_there(path):
            self._set_aside(path, "they are not those that were kept", "outputs")
        return outputs

    def has(self, suite: str, key: str) -> bool:
        """Whether a whole record is there; it is read, so a damaged file does not count."""
        return self.read(key, suite) is not None

    def all(self, suite: str | None = None) -> list[Record]:
        """All records, of one suite or of every suite, in the order of their paths."""
        paths = sorted(self.folder.glob(f"{suite or '*'}/*.json"))
        loaded = (self._load(path) for path in paths if KEY.fullmatch(path.stem))
        return [record for record in loaded if record is not None]

    def own(self) -> None:
        """Take charge of the folder before any work starts: from now on, what is no record is set aside.

        Raises:
            BenchmarkError: If records cannot be written.
        """
        self.check_writable()
        self.read_only = False

    def check_writable(self) -> None:
        """Find out before any work starts whether records can be written.

        Raises:
            BenchmarkError: If they cannot.
        """
        probe = temporary_name(self.folder / "probe")
        try:
            replace_file(probe, bytes(_PROBE_BYTES))
            probe.unlink()
        except DiskFullError:
            raise
        except (OSError, CannotWriteError) as error:
            cause = error.__cause__ if isinstance(error, CannotWriteError) else error
            reason = cause.strerror if isinstance(cause, OSError) else None
            raise BenchmarkError(
                f"results cannot be written to {self.folder} ({reason or cause}); name another folder"
            ) from error

    def _load(self, path: Path) -> Record | None:
        if not is_there(path):
            return None
        try:
            record = Record.from_dict(json.loads(read_file(path), parse_constant=_no_constant), path.name)
            if record.key != path.stem:
                raise RecordError(f"{path.name}: holds the record of another key, {record.key[:12]}...")
            if record.schema == FIRST_SCHEMA and not self.older:
                raise OtherSchemaError(path.name)
        except FileNotFoundError:
            return None
        except OtherSchemaError:
            self.left_alone.add(path)
            return None
        except OSError as error:
            self._set_aside(path, f"it cannot be read: {error.strerror or error}")
            return None
        except (ValueError, RecursionError, RecordError) as error:
            self._set_aside(path, " ".join(str(error).split()).removeprefix(f"{path.name}: "))
            return None
        return record

    def _make_room(self, path: Path) -> None:
        """Set aside what lies at a record's place and is none of this version, so that nothing of it is lost."""
        if self._load(path) is not None or not is_there(path):
            return
        try:
            move_aside(path, OTHER_VERSION if path in self.left_alone else ".corrupt")
        except OSError as error:
            raise cannot_write(path, error) from error
        self.left_alone.discard(path)

    def _set_aside(self, path: Path, reason: str, what: str = "record") -> None:
        self.damaged.append((path, reason))
        wrong = f"{path} is not a whole record ({reason})" if what == "record" else f"{path}: damaged {what} ({reason})"
        if self.read_only:
            self.set_aside.append(f"{wrong}: not read")
            return
        try:
            done = f"kept as {move_aside(path).name}"
        except OSError as error:
            done = f"left where it is ({error.strerror or error})"
        then = "its cell will run again" if what == "record" else "they will be made again"
        self.set_aside.append(f"{wrong}: {done}; {then}")


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")
