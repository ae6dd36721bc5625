"""What a method told of its steps: lists in the record's report, and the log of its losses beside the record."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmark.records.record import Record
from benchmark.report.extras import Curve

POINTS = 60
"""The most points of a curve; our choice: more are not seen in a small plot."""
_LISTED = re.compile(r"(?P<name>\w+)_by_(?P<unit>step|epoch|iteration)")
_NOT_A_CURVE = ("step", "epoch")


def curves_of(record: Record, folder: Path | None) -> tuple[Curve, ...]:
    """The curves of a record: entries such as `accuracy_by_step` of its report, and the columns of its log.

    Args:
        record: The record.
        folder: The results folder that it is from; logs lie in `logs/SUITE/KEY`, 12 digits of the key. None for the
            record alone.
    """
    if folder is None:
        return tuple(_listed(record))
    log = folder / "logs" / record.cell["suite"] / record.key[:12] / "metrics.csv"
    return (*_listed(record), *_logged(log))


def thinned(name: str, unit: str, points: Sequence[tuple[int, float]]) -> Curve | None:
    """A curve of at most `POINTS` points: every k-th of those that are finite, no averages. None below two points."""
    finite = [(step, value) for step, value in points if math.isfinite(value)]
    if len(finite) < 2:
        return None
    stride = math.ceil(len(finite) / POINTS)
    shown = finite[::stride]
    return Curve(name, unit, tuple(step for step, _ in shown), tuple(float(f"{v:.6g}") for _, v in shown), stride)


def _listed(record: Record) -> Iterable[Curve]:
    for entry, values in sorted(record.report.items()):
        named = _LISTED.fullmatch(entry)
        if named and isinstance(values, list) and all(type(value) in (int, float) for value in values):
            curve = thinned(named["name"], named["unit"], list(enumerate(values, start=1)))
            if curve is not None:
                yield curve


def _logged(path: Path) -> Iterable[Curve]:
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, ValueError, csv.Error):
        return
    names = [name for name in (rows[0] if rows else ()) if name and name not in _NOT_A_CURVE]
    for name in names:
        try:
            points = [(int(row["step"]), float(row[name])) for row in rows if row.get(name)]
        except (KeyError, ValueError, TypeError):
            continue
        curve = thinned(name, "step", points)
        if curve is not None:
            yield curve
