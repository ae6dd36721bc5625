"""Curves and predictions kept in one small file, for records that travel without their outputs and logs.

`FOLDER/extras.json` beside the suites' folders. `python -m benchmark report --keep FILE` writes it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmark.records.record import json_digest
from datamodules.common.documents import DocumentError, parse_json
from datamodules.common.kept_files import read_file, replace_file
from datamodules.common.text import one_line

FILE = "extras.json"
SCHEMA = 2


@dataclass(frozen=True)
class Curve:
    """A number over the steps of an unlearning.

    Attributes:
        name: What it is, such as "loss".
        unit: What a step is, such as "epoch".
        steps: Ascending.
        values: One a step.
        every: How many steps lie between two that are kept.
    """

    name: str
    unit: str
    steps: tuple[int, ...]
    values: tuple[float, ...]
    every: int = 1


@dataclass(frozen=True)
class Predictions:
    """The five classes nearest to a few test images.

    Attributes:
        images: Indices of the test split.
        top: For each image five pairs of a class's label and its cosine, the nearest first.
    """

    images: tuple[int, ...]
    top: tuple[tuple[tuple[int, float], ...], ...]


@dataclass(frozen=True)
class Extras:
    """By key of a record, its curves and its predictions."""

    curves: Mapping[str, tuple[Curve, ...]] = field(default_factory=dict)
    predictions: Mapping[str, Predictions] = field(default_factory=dict)

    def joined(self, other: Extras) -> Extras:
        """Both; where both have a key, the other's counts."""
        return Extras({**self.curves, **other.curves}, {**self.predictions, **other.predictions})


def write_extras(path: Path, extras: Extras) -> None:
    """Write the file, whole or not at all.

    Raises:
        CannotWriteError: If the disk is full or refuses it.
    """
    parts: dict[str, dict[str, Any]] = {
        "curves": {key: [asdict(curve) for curve in curves] for key, curves in extras.curves.items()},
        "predictions": {key: asdict(predictions) for key, predictions in extras.predictions.items()},
    }
    lines = []
    for part, of in parts.items():
        records = ",\n".join(f"  {json.dumps(key)}: {_json(of[key])}" for key in sorted(of))
        lines.append(f" {json.dumps(part)}: {{\n{records}\n }}")
    digest = json_digest({"schema": SCHEMA, **json.loads(json.dumps(parts))})
    text = "{\n" + ",\n".join([f' "schema": {SCHEMA}', f' "digest": "{digest}"', *lines]) + "\n}\n"
    replace_file(path, text.encode())


def read_extras(folder: Path) -> tuple[Extras, list[str]]:
    """The extras of a folder of records, and what could not be read of them, one line each."""
    try:
        data = parse_json(read_file(folder / FILE), FILE)
        if data["schema"] != SCHEMA:
            return Extras(), [f"not read: {FILE}: schema {data['schema']!r} instead of {SCHEMA}"]
        if data.pop("digest") != json_digest(data):
            return Extras(), [f"not read: {FILE}: its digest is not that of its content: it was changed or damaged"]
        curves = {str(key): tuple(map(_curve, points)) for key, points in data["curves"].items()}
        return Extras(
            curves, {str(key): _predictions(prediction) for key, prediction in data["predictions"].items()}
        ), []
    except FileNotFoundError:
        return Extras(), []
    except DocumentError as error:
        return Extras(), [f"not read: {error}"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        return Extras(), [f"not read: {FILE}: {type(error).__name__}: {one_line(str(error))}"]


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _curve(data: Mapping[str, Any]) -> Curve:
    steps, values = tuple(map(int, data["steps"])), tuple(map(float, data["values"]))
    if len(steps) != len(values) or not all(map(math.isfinite, values)):
        raise ValueError("a curve needs a finite number for each step")
    return Curve(str(data["name"]), str(data["unit"]), steps, values, int(data["every"]))


def _predictions(data: Mapping[str, Any]) -> Predictions:
    top = tuple(tuple((int(label), float(cosine)) for label, cosine in ranked) for ranked in data["top"])
    images = tuple(map(int, data["images"]))
    if len(images) != len(top):
        raise ValueError("predictions need a list for each image")
    return Predictions(images, top)
