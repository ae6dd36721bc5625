"""The folder of records, the only thing that the leaderboard reads: one JSON file a cell, or one file a suite.

`SUITE/KEY.json` is what a run writes. `SUITE.jsonl.gz` holds many records, one a line (`benchmark.records.compact`);
the records that come with the project are kept so. Both are read in the same way, and of a record in both the single
file counts. Commands write single files only, but for `pack`, which makes the other form.

A record is written whole or not at all, and says by a digest and by its key that it is what was written. A file that is
not a record all the same (a damaged disk, a hand's edit) is never believed and never stops the others: commands that
make records set it aside under another name and make it again, commands that only read leave it where it is and say so.
A compact file is never renamed, whatever is wrong with some of its lines.
Records of another version of the project are left alone and counted.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.records.compact import SUFFIX, CompactRecords, read_compact, write_compact
from benchmark.records.record import FIRST_SCHEMA, KEY, SCHEMA, OtherSchemaError, Record, RecordError, parse_record
from benchmark.utils.project import project_results
from datamodules.common.errors import BenchmarkError
from datamodules.common.garbage import nothing_collected
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

REFERENCE = project_results() / "reference"
"""The records that come with the project."""


class RecordStore:
    """The folder of records: `folder/<suite>/<key>.json`, and `folder/<suite>.jsonl.gz` with many of them.

    Several processes, on several machines, may write to one folder at once.

    Args:
        folder: The folder; it need not exist yet.
        read_only: Leave files that are no records where they are; False for the commands that make records.
        older: Read records of the first version too, which had no digest: those that the project itself ships.

    Attributes:
        folder: The folder.
        set_aside: One line for each file that was no record, or not what was kept beside one.
        damaged: Each such file with what is wrong with it.
        left_alone: Records of another version of the project, by file and line.
    """

    def __init__(self, folder: Path, *, read_only: bool = True, older: bool = False) -> None:
        self.folder = folder
        self.read_only = read_only
        self.older = older
        self.set_aside: list[str] = []
        self.damaged: list[tuple[Path, str]] = []
        self.left_alone: set[str] = set()
        self._compact: dict[Path, tuple[tuple[int, int, int], CompactRecords]] = {}

    @property
    def notes(self) -> list[str]:
        """What the command line shows of files that were not read, one line each."""
        count = len(self.left_alone)
        what = "1 record of another version is" if count == 1 else f"{count} records of another version are"
        lines = list(dict.fromkeys(self.set_aside))
        return [*lines, f"{what} left alone in {self.folder}: not read"] if count else lines

    def path(self, suite: str, key: str) -> Path:
        """Where a record lies or would lie as a file of its own."""
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
        single = (record for path in paths if (record := self._load(path)) is not None)
        packed = (content.records[key] for content in self._compact_records(suite) if key in content.records)
        return next(single, None) or next(packed, None)

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
        """All records, of one suite or of every suite, sorted by suite and key."""
        records: dict[tuple[str, str], Record] = {}
        with nothing_collected():
            for content in self._compact_records(suite):
                records |= {(record.cell["suite"], key): record for key, record in content.records.items()}
            for path in self.folder.glob(f"{suite or '*'}/*.json"):
                if KEY.fullmatch(path.stem) and (record := self._load(path)) is not None:
                    records[path.parent.name, path.stem] = record
        shared: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
        return [_sharing(records[place], shared) for place in sorted(records)]

    def pack(self, suite: str, folder: Path, *, add: bool = False, replace: bool = False) -> tuple[Path, int]:
        """Write all records of a suite into one compact file; the single files stay where they are.

        Args:
            suite: Names the file: `SUITE.jsonl.gz`.
            folder: Where it is written.
            add: Keep the records that the file already holds, but for those of the same keys.
            replace: Drop them.

        Returns:
            The file, and how many records it holds now.

        Raises:
            BenchmarkError: If there are no records, some are damaged or of another version, or the file holds others
                and neither `add` nor `replace` is given. Nothing is written then.
        """
        records = {record.key: record for record in self.all(suite)}
        if self.notes:
            raise BenchmarkError(f"{self.notes[0]}; run suite {suite!r} again before its records are packed")
        if not records:
            raise BenchmarkError(f"no records of suite {suite!r} in {self.folder}; see `plan --suite {suite}`")
        path = folder / f"{suite}{SUFFIX}"
        before = read_compact(path, older=True) if is_there(path) else CompactRecords()
        further = before.records.keys() - records.keys()
        if (before.damaged or before.other_versions) and not replace:
            wrong = (*before.damaged, "it holds records of another version")[0]
            raise BenchmarkError(f"{path}: {wrong}; restore it, or overwrite it with --replace")
        if further and not add and not replace:
            raise BenchmarkError(
                f"{path} holds {len(further)} records that {self.folder} does not: keep them with --add, or drop them "
                "with --replace"
            )
        older = {} if replace else before.records
        write_compact(path, {**older, **records}.values())
        return path, len({**older, **records})

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
            record = parse_record(read_file(path), path.name)
            if record.key != path.stem:
                raise RecordError(f"{path.name}: holds the record of another key, {record.key[:12]}...")
            if record.schema == FIRST_SCHEMA and not self.older:
                raise OtherSchemaError(path.name)
        except FileNotFoundError:
            return None
        except OtherSchemaError:
            self.left_alone.add(str(path))
            return None
        except OSError as error:
            self._set_aside(path, f"it cannot be read: {error.strerror or error}")
            return None
        except RecordError as error:
            self._set_aside(path, " ".join(str(error).split()).removeprefix(f"{path.name}: "))
            return None
        return record

    def _compact_records(self, suite: str | None) -> Iterator[CompactRecords]:
        """The compact files of one suite or of all; each is read once, and again when it has changed."""
        paths = sorted(self.folder.glob(f"*{SUFFIX}")) if suite is None else [self.folder / f"{suite}{SUFFIX}"]
        for path in paths:
            try:
                status = path.stat()
            except OSError:  # there is none, which is the usual case
                continue
            shown = (status.st_size, status.st_mtime_ns, status.st_ino)
            if self._compact.get(path, ((), None))[0] != shown:
                content = read_compact(path, older=self.older)
                self._compact[path] = (shown, content)
                self.damaged += [(path, reason) for reason in content.damaged]
                self.set_aside += [f"{path} is damaged ({reason}): not read" for reason in content.damaged]
                self.left_alone |= {f"{path}, line {number}" for number in content.other_versions}
            yield self._compact[path][1]

    def _make_room(self, path: Path) -> None:
        """Set aside what lies at a record's place and is none of this version, so that nothing of it is lost."""
        if self._load(path) is not None or not is_there(path):
            return
        try:
            move_aside(path, OTHER_VERSION if str(path) in self.left_alone else ".corrupt")
        except OSError as error:
            raise cannot_write(path, error) from error
        self.left_alone.discard(str(path))

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


def _sharing(record: Record, shared: dict[tuple[tuple[str, str], ...], dict[str, str]]) -> Record:
    """The record, in which what thousands of records have alike (versions and digests) is there once."""
    packages = record.provenance.get("packages")
    if isinstance(packages, dict) and all(isinstance(version, str) for version in packages.values()):
        record.provenance["packages"] = shared.setdefault(tuple(packages.items()), packages)
    return dataclasses.replace(record, measures=shared.setdefault(tuple(record.measures.items()), record.measures))
