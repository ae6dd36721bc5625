"""What a record holds, and what is one: the shape of a cell's JSON file is checked entry by entry."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import PurePath
from typing import Any

from datamodules.common.errors import BenchmarkError, RequestError
from datamodules.common.request import ForgetRequest

SCHEMA = 2
FIRST_SCHEMA = 1
"""Of the records before there were digests: readable where they are asked for."""
KEY = re.compile(r"[0-9a-f]{64}")
_SUITE = re.compile(r"[\w+-][\w.+-]*")
_CELL: dict[str, type] = dict.fromkeys(("suite", "method", "dataset", "model"), str)
_CELL |= {"request": dict, "seed": int, "hparams": dict}
_REQUIRED = ("schema", "key", "cell", "metrics", "references", "cost", "provenance")
_SINCE_SECOND = ("report", "measures", "digest")


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
        measures: By family of measures, the digest of the code that measured it; see `benchmark.suites.digests`.
            Empty in records of schema 1 that are older than these digests.
    """

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
            return _read(data)
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
    """A model's name without the folder of its file: "ViT-B-16:weights/a.pt" as "ViT-B-16:a.pt"; others as they are."""
    architecture, colon, path = model.partition(":")
    if colon:
        return f"{architecture}:{PurePath(path).name}"
    return PurePath(model).name if model.endswith(".safetensors") else model


def json_digest(data: Mapping[str, Any]) -> str:
    """sha256 of an object's canonical JSON: 64 hexadecimal digits.

    Raises:
        TypeError: If it holds something that JSON has not.
    """
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _read(data: dict[str, Any]) -> Record:
    first = data.get("schema") == FIRST_SCHEMA
    required = _REQUIRED if first else (*_REQUIRED, *_SINCE_SECOND)
    missing = [name for name in required if name not in data]
    unknown = sorted(set(data) - {*required, "report"})
    if missing or unknown:
        raise ValueError(f"no {missing[0]!r}" if missing else f"unknown entry {unknown[0]!r}")
    if type(data["schema"]) is not int:
        raise ValueError(f"schema {data['schema']!r} instead of {SCHEMA}")
    if not isinstance(data["key"], str) or not KEY.fullmatch(data["key"]):
        raise ValueError("the key is not 64 hexadecimal digits")
    parts = {name: data.get(name, {}) for name in (*_REQUIRED[2:], "report", "measures")}
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
    for name, value in parts["measures"].items():
        if not isinstance(value, str):
            raise ValueError(f"measures.{name} is not a digest")
    if not first:
        if data["digest"] != json_digest({name: value for name, value in data.items() if name != "digest"}):
            raise ValueError("its digest is not that of its content: it was changed or damaged")
        if data["key"] != key_of(data["cell"]):
            raise ValueError("its key is not that of its cell")
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
