"""All that a page or a figure shows, as plain data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.leaderboards.grouping import pair
from benchmark.leaderboards.scored import with_quality
from benchmark.records.record import Metric, Record
from benchmark.report.curves import curves_of
from benchmark.report.devices import Devices, asked_of, devices
from benchmark.report.extras import Curve, Extras, Predictions
from benchmark.report.gathering import Gathered
from benchmark.report.views import Boards, beside, plain, views
from datamodules.common.kept_files import is_there
from datamodules.common.registry import dataset_cards
from methods.common.registry import Registry

if TYPE_CHECKING:
    from benchmark.records.kept_outputs import Outputs
    from benchmark.report.predictions import World

DIGITS = 6
"""Significant digits of the numbers of a record's card and of a single request; the boards keep all of them."""


@dataclass(frozen=True)
class Content:
    """What a report shows.

    Attributes:
        gathered: The records and what could not be read.
        boards: Their boards.
        extras: Curves and predictions of these records, by key.
        registry: The methods.
    """

    gathered: Gathered
    boards: Sequence[Boards]
    extras: Extras
    registry: Registry

    @property
    def regimes(self) -> dict[str, str]:
        """The regime of each registered method."""
        return {name: self.registry.declaration(name).card.regime for name in self.registry.names()}

    @property
    def drawn(self) -> frozenset[str]:
        """The data sets that are drawn and not photographed: the embedded worlds."""
        return frozenset(card.name for card in dataset_cards().values() if not card.folder)

    @cached_property
    def devices(self) -> list[Devices]:
        """The chips of every board."""
        return devices([*self.gathered.elsewhere, *self.gathered.records])


def collect(gathered: Gathered, registry: Registry) -> Content:
    """Group the records, with E, D and Q, into boards and read what lies beside them."""
    gathered = replace(gathered, records=tuple(with_quality(gathered.records)))
    references = [name for name in registry.names() if registry.declaration(name).card.paper == "reference row"]
    boards = views(gathered.records, gathered.failures, references)
    keys = {record.key for record in gathered.records}
    curves = {key: key_curves for key, key_curves in gathered.extras.curves.items() if key in keys}
    predictions = {key: shown for key, shown in gathered.extras.predictions.items() if key in keys}
    notes = []
    for record in gathered.records:
        recorded = curves_of(record, gathered.folders[record.key])
        if recorded:
            known = {(c.name, c.unit) for c in recorded}
            further = (c for c in curves.get(record.key, ()) if (c.name, c.unit) not in known)
            curves[record.key] = (*recorded, *further)
        path = gathered.folders[record.key] / record.cell["suite"] / f"{record.key}.npz"
        if not is_there(path) or (of := _world(record)) is None:
            continue
        outputs = _outputs(path)
        if outputs is None:
            notes.append(f"not read: {path.parent.name}/{path.name}: damaged or of another version: no predictions")
        elif (predicted := _predictions(record, outputs, of)) is not None:
            predictions[record.key] = predicted
    gathered = replace(gathered, notes=(*gathered.notes, *notes))
    return Content(gathered, boards, Extras(curves, predictions), registry)


def _world(record: Record) -> World | None:
    from benchmark.report.predictions import shown_world

    return shown_world(record)


def _outputs(path: Path) -> Outputs | None:
    from benchmark.records.kept_outputs import Outputs

    return Outputs.read(path)


def _predictions(record: Record, outputs: Outputs, of: World) -> Predictions | None:
    from benchmark.report.predictions import predictions_of

    return predictions_of(record, outputs, of)


def worth_keeping(content: Content) -> Extras:
    """The curves that are not in the records themselves, and the predictions."""
    listed = {r.key: {(c.name, c.unit) for c in curves_of(r, None)} for r in content.gathered.records}
    unrecorded = {
        key: tuple(curve for curve in curves if (curve.name, curve.unit) not in listed[key])
        for key, curves in content.extras.curves.items()
    }
    return Extras({key: curves for key, curves in unrecorded.items() if curves}, content.extras.predictions)


def board_data(content: Content) -> list[dict[str, Any]]:
    """The boards with their requests, as JSON for the page."""
    regimes = content.regimes
    asked = [group.asked for group in content.devices]
    origins = content.gathered.origins
    both = set(origins.values()) == {"own", "reference"}
    own = {key for key, origin in origins.items() if origin == "own"} if both else set()
    return [
        {
            "key": board.key._asdict(),
            "drawn": board.key.dataset in content.drawn,
            "devices": asked.index(asked_of(board.key)),
            "requests": list(board.single) or sorted({pair(record)[0] for record in board.records}),
            "whole": plain(board.whole, regimes, own),
            "beside": beside(board),
            "single": {request: _short(plain(view, regimes, own)) for request, view in board.single.items()},
        }
        for board in content.boards
    ]


def _short(view: dict[str, Any]) -> dict[str, Any]:
    """A view with `DIGITS` digits of each number."""
    for row in view["rows"]:
        row["numbers"] = {name: ends and [_rounded(end) for end in ends] for name, ends in row["numbers"].items()}
        row["costs"] = {name: _rounded(value) for name, value in row["costs"].items()}
    return view


def device_data(content: Content) -> list[dict[str, Any]]:
    """The chips of every board, as JSON for the page."""
    return [
        {"chips": group.chips, "cells": group.cells, "rows": [vars(row) for row in group.rows]}
        for group in content.devices
    ]


def record_data(content: Content) -> Iterator[dict[str, Any]]:
    """The card of each record, as JSON for the page, by board."""
    origins = content.gathered.origins
    for place, board in enumerate(content.boards):
        for label, records in board.whole.rows.items():
            for record in records:
                yield _record(record, place, label, origins[record.key])


def _record(record: Record, board: int, label: str, origin: str) -> dict[str, Any]:
    request, seed = pair(record)
    known = {name: value for name, value in record.cost.items() if value is not None}
    about = {name: value for name, value in record.provenance.items() if name not in ("command", "regime", "paper")}
    return {
        "key": record.key,
        "board": board,
        "label": label,
        "method": record.cell["method"],
        "request": request,
        "seed": seed,
        "origin": origin,
        "command": str(record.provenance.get("command", "")),
        "hparams": record.cell["hparams"],
        "metrics": {name: _metric(metric) for name, metric in sorted(record.metrics.items())},
        "cost": {name: _rounded(value) for name, value in known.items()},
        "provenance": about,
        "references": record.references,
    }


def _metric(metric: Metric) -> list[float | int | None]:
    low, high = metric.ci95 or (None, None)
    return [_rounded(metric.value), _rounded(low), _rounded(high), metric.n]


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{DIGITS}g}")


def curve_data(curves: Sequence[Curve]) -> list[dict[str, Any]]:
    """Curves as JSON for the page."""
    return [
        {"name": c.name, "unit": c.unit, "every": c.every, "points": [*zip(c.steps, c.values, strict=True)]}
        for c in curves
    ]


def prediction_data(content: Content) -> dict[str, Any]:
    """The predictions by key, and the images and names of their data sets."""
    from benchmark.report.predictions import shown_world

    by_key = {record.key: record for record in content.gathered.records}
    worlds: dict[str, dict[str, Any]] = {}
    keys: dict[str, Any] = {}
    for key, predictions in content.extras.predictions.items():
        of = shown_world(by_key[key])
        if of is None or any(not 0 <= index < of.drawn for index in predictions.images):
            continue
        shown = worlds.setdefault(of.name, {"names": list(of.class_names), "labels": {}, "images": {}})
        for index in predictions.images:
            shown["labels"][str(index)] = int(of.labels[index])
            if str(index) not in shown["images"]:
                shown["images"][str(index)] = of.png(index)
        if all(0 <= label < len(of.class_names) for ranked in predictions.top for label, _ in ranked):
            keys[key] = {"images": predictions.images, "top": predictions.top}
    return {"worlds": worlds, "by_key": keys}
