"""What a record holds, and what is one: the shape of a cell's JSON file is checked entry by entry."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import PurePath
from typing import Annotated, Any, ClassVar

from annotated_types import Ge
from typing_extensions import TypedDict

from datamodules.common.documents import Document, DocumentError
from datamodules.common.errors import BenchmarkError, RequestError
from datamodules.common.image_request import read_request
from datamodules.common.validation import STRICT, filled

SCHEMA = 2
FIRST_SCHEMA = 1
"""Of the records before there were digests: readable where they are asked for."""
KEY = re.compile(r"[0-9a-f]{64}")
_SUITE = re.compile(r"[\w+-][\w.+-]*")
_SINCE_SECOND = ("report", "measures", "digest")
"""Entries that records of schema 1 may lack."""


class RecordError(BenchmarkError):
    """A record that does not have the shape of one, or cannot be written."""


class OtherSchemaError(RecordError):
    """A record of another version of the project."""


@dataclass(frozen=True)
class Metric:
    """One measured number.

    Attributes:
        value: In the measure's unit (fractions in [0, 1]); None where it could not be measured.
        n: How many test items it is over; None where that has no meaning.
        ci95: Ends of the 95 % interval over those items.
    """

    __pydantic_config__: ClassVar = STRICT

    value: float | None
    n: Annotated[int, Ge(0)] | None = None
    ci95: tuple[float, float] | None = None


class _Cell(TypedDict):
    """What the cell of every record has; some have more."""

    suite: str
    method: str
    dataset: str
    model: str
    request: dict[str, Any]
    seed: int
    hparams: dict[str, Any]


_Cell.__pydantic_config__ = STRICT | {"extra": "allow"}  # type: ignore[attr-defined]


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
        measures: By family of measures, the digest of the code that measured it; see `benchmark.suites.digests`.
            Empty in records of schema 1 that are older than these digests.
    """

    __pydantic_config__: ClassVar = STRICT

    schema: int
    key: str
    cell: dict[str, Any]
    metrics: dict[str, Metric]
    references: dict[str, str | None]
    cost: dict[str, float | int | None]
    provenance: dict[str, Any]
    report: dict[str, Any] = field(default_factory=dict)
    measures: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON holds it, with the digest of all the rest.

        Raises:
            RecordError: If it holds what JSON cannot.
        """
        data = asdict(self)
        for metric in data["metrics"].values():
            metric["ci95"] = None if metric["ci95"] is None else list(metric["ci95"])
        if self.schema == FIRST_SCHEMA:
            del data["measures"]
            return data
        try:
            return {**data, "digest": json_digest(data)}
        except (TypeError, ValueError) as error:
            raise RecordError(f"record {self.key[:12]} cannot be written as JSON: {error}") from error

    @classmethod
    def from_dict(cls, data: object, source: str = "record") -> Record:
        """Read and check a record.

        Args:
            data: What the JSON held.
            source: The file's name, for the message.

        Raises:
            OtherSchemaError: If it is of another version of the project.
            RecordError: If it does not have the shape of a record, its digest is not that of its content, or its key
                is not that of its cell.
        """
        if not isinstance(data, dict):
            raise RecordError(f"{source}: not a JSON object")
        schema = data.get("schema")
        if type(schema) is int and schema not in (FIRST_SCHEMA, SCHEMA):
            raise OtherSchemaError(f"{source}: schema {schema} instead of {SCHEMA}")
        try:
            return _read(data, source)
        except DocumentError as error:
            raise RecordError(str(error)) from error
        except (ValueError, TypeError, RecursionError, RequestError) as error:
            raise RecordError(f"{source}: {error}") from error


def parse_record(content: bytes, source: str) -> Record:
    """Read a record from its JSON text.

    Args:
        content: The text, UTF-8.
        source: The file's name, for the message.

    Raises:
        OtherSchemaError: If it is of another version of the project.
        RecordError: If it is not JSON or not a whole record.
    """
    try:
        data = json.loads(content, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{source}: {error}") from error
    return Record.from_dict(data, source)


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def key_of(cell: Mapping[str, Any]) -> str:
    """The key of a cell as a record holds it: sha256 of its canonical JSON, 64 hexadecimal digits.

    In which folder a model's file lies is no part of it: what the weights are is, and the file's name.
    """
    return json_digest({**cell, "model": without_folder(str(cell["model"]))})


def without_folder(model: str) -> str:
    """A model's name without the folder of its file: "ViT-B-16:weights/a.pt" as "ViT-B-16:a.pt"; others as they are.

    Likewise of the folder of its tokenizer: what is in it is in what identifies the weights.
    """
    model, option, tokenizer = model.partition("?tokenizer=")
    if option:
        return f"{without_folder(model)}{option}{PurePath(tokenizer).name}"
    architecture, colon, path = model.partition(":")
    if colon:
        return f"{architecture}:{PurePath(path).name}"
    return PurePath(model).name if model.endswith(".safetensors") or model.startswith(("/", ".", "~")) else model


def json_digest(data: Mapping[str, Any]) -> str:
    """sha256 of an object's canonical JSON: 64 hexadecimal digits.

    Raises:
        TypeError: If it holds something that JSON has not.
    """
    return hashlib.sha256(_canonical(data).encode()).hexdigest()


def _canonical(data: Mapping[str, Any]) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _read(data: dict[str, Any], source: str) -> Record:
    first = data.get("schema") == FIRST_SCHEMA
    content = {name: value for name, value in data.items() if first or name != "digest"}
    canonical = _canonical(content)
    record = filled(Record, Document(content, None, source), canonical)
    filled(_Cell, Document(record.cell, None, f"{source}, cell"))
    if not KEY.fullmatch(record.key):
        raise ValueError("the key is not 64 hexadecimal digits")
    if not _SUITE.fullmatch(record.cell["suite"]):
        raise ValueError(f"suite {record.cell['suite']!r} cannot name a folder")
    read_request(record.cell["request"])
    if first:
        return record
    if missing := [name for name in _SINCE_SECOND if name not in data]:
        raise ValueError(f"the key {missing[0]!r} is missing")
    if data["digest"] != hashlib.sha256(canonical.encode()).hexdigest():
        raise ValueError("its digest is not that of its content: it was changed or damaged")
    if record.key != key_of(record.cell):
        raise ValueError("its key is not that of its cell")
    return record
