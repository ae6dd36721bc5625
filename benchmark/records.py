"""Records: one JSON file a cell, the only thing that the leaderboard reads.

A record is written to a temporary name and moved into place, so a file under its final name is always whole.
A file that is not a record all the same (a full disk, a hand's edit) is set aside, never deleted; its cell
runs again.
"""

from __future__ import annotations

import json
import math
import os
import re
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datamodules.errors import BenchmarkError, RequestError
from datamodules.request import ForgetRequest

if TYPE_CHECKING:
    from benchmark.outputs import Outputs

SCHEMA = 1
_KEY = re.compile(r"[0-9a-f]{64}")
_SUITE = re.compile(r"[\w+-][\w.+-]*")
_CELL: dict[str, type] = dict.fromkeys(("suite", "method", "dataset", "model"), str)
_CELL |= {"request": dict, "seed": int, "hparams": dict}
_REQUIRED = ("schema", "key", "cell", "metrics", "references", "cost", "provenance")


class RecordError(BenchmarkError):
    """A record that does not have the shape of one, or cannot be written."""


@dataclass(frozen=True)
class Metric:
    """One measured number.

    Attributes:
        value: In the measure's unit (fractions in [0, 1]); None where it could not be measured.
        n: How many test items it is over; None where that has no meaning.
        ci95: Ends of the 95 % interval over those items.
    """

    value: float | None
    n: int | None = None
    ci95: tuple[float, float] | None = None


@dataclass(frozen=True)
class Record:
    """What one cell found.

    Attributes:
        schema: Version of this shape.
        key: sha256 of everything that can change the numbers, 64 hexadecimal digits.
        cell: suite, method, dataset, request, model, seed, hparams.
        metrics: By full name, such as "forget/acc1".
        references: Keys of the records that this one is compared with; None where there is none.
        cost: Of the unlearning alone: unlearn_seconds, peak_memory_bytes, flops, edited_bytes.
        provenance: Versions, hashes, device, precision, regime, and the command that repeats the cell.
        report: What else the method or a measure wants to tell; no table reads it.
    """

    schema: int
    key: str
    cell: dict[str, Any]
    metrics: dict[str, Metric]
    references: dict[str, str | None]
    cost: dict[str, float | int | None]
    provenance: dict[str, Any]
    report: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON holds it."""
        data = asdict(self)
        for metric in data["metrics"].values():
            metric["ci95"] = None if metric["ci95"] is None else list(metric["ci95"])
        return data

    @classmethod
    def from_dict(cls, data: object, source: str = "record") -> Record:
        """Read and check a record.

        Args:
            data: What the JSON held.
            source: The file's name, for the message.

        Raises:
            RecordError: If it does not have the shape of a record.
        """
        if not isinstance(data, dict):
            raise RecordError(f"{source}: not a JSON object")
        try:
            return _read(data)
        except (ValueError, RequestError) as error:
            raise RecordError(f"{source}: {error}") from error


def _read(data: dict[str, Any]) -> Record:
    missing = [name for name in _REQUIRED if name not in data]
    unknown = sorted(set(data) - {*_REQUIRED, "report"})
    if missing or unknown:
        raise ValueError(f"no {missing[0]!r}" if missing else f"unknown entry {unknown[0]!r}")
    if type(data["schema"]) is not int or data["schema"] != SCHEMA:
        raise ValueError(f"schema {data['schema']!r} instead of {SCHEMA}")
    if not isinstance(data["key"], str) or not _KEY.fullmatch(data["key"]):
        raise ValueError("the key is not 64 hexadecimal digits")
    parts = {name: data.get(name, {}) for name in (*_REQUIRED[2:], "report")}
    for name, part in parts.items():
        if not isinstance(part, dict):
            raise ValueError(f"{name!r} is not an object")
    for name, kind in _CELL.items():
        if type(parts["cell"].get(name)) is not kind:
            raise ValueError(f"cell.{name} is missing or not {kind.__name__}")
    if not _SUITE.fullmatch(parts["cell"]["suite"]):
        raise ValueError(f"suite {parts['cell']['suite']!r} cannot name a folder")
    ForgetRequest.from_dict(parts["cell"]["request"])
    for name, value in parts["references"].items():
        if value is not None and not isinstance(value, str):
            raise ValueError(f"references.{name} is not a key or null")
    for name, value in parts["cost"].items():
        if value is not None:
            _number(value, f"cost.{name}")
    parts["metrics"] = {name: _metric(value, f"metrics.{name}") for name, value in parts["metrics"].items()}
    return Record(data["schema"], data["key"], **parts)


def _metric(data: object, name: str) -> Metric:
    if not isinstance(data, dict) or "value" not in data or set(data) - {"value", "n", "ci95"}:
        raise ValueError(f"{name} is not {{value, n, ci95}}")
    value, n, ci95 = data["value"], data.get("n"), data.get("ci95")
    if n is not None and (type(n) is not int or n < 0):
        raise ValueError(f"{name}.n is not a count or null")
    if ci95 is not None:
        if not isinstance(ci95, list | tuple) or len(ci95) != 2:
            raise ValueError(f"{name}.ci95 is not two numbers or null")
        ci95 = (_number(ci95[0], f"{name}.ci95"), _number(ci95[1], f"{name}.ci95"))
    return Metric(None if value is None else _number(value, f"{name}.value"), n, ci95)


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} is {value!r}, not a finite number or null")
    return float(value)


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


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
        loaded = (self._load(path) for path in paths if _KEY.fullmatch(path.stem))
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


def replace_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, in place of one of that name; its folder must exist.

    Raises:
        OSError: If the disk refuses it; what was there is left as it was.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


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
