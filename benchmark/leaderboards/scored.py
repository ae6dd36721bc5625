"""Records with E, D and Q, which are made when records are read.

`score/residual`, `score/damage` and `score/quality` (`benchmark.evaluation.measures.quality`) compare a cell with the
original and with all models that were trained again without its forget set. Those are other records: a number written
into a record would be out of date with the next retraining. So it is derived here from the recorded metrics, and all
that reads records through this package (boards, comparisons, the report) has it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from benchmark.evaluation.families import BASE, NotMeasurableError
from benchmark.evaluation.measures.quality import DAMAGE, INFORMATIVE, QUALITY, RESIDUAL, Reference, damage, quality
from benchmark.evaluation.measures.quality import residual as residual_of
from benchmark.leaderboards.grouping import board_key, pair, request_of
from benchmark.models.registry import PRETRAINING
from benchmark.records.record import Metric, Record
from datamodules.common.image_request import chooses_images

ORIGINAL = "original"
"""The method that does nothing, as its file names it."""
REPORT = "quality"
"""Where a record's report tells what its E, D and Q are made of."""
Group = tuple[Any, ...]


@dataclass
class _Group:
    """The originals and the retrained models of one request, the later of two with one seed."""

    originals: dict[int, Record] = field(default_factory=dict)
    retrained: dict[int, Record] = field(default_factory=dict)


def is_retrained(record: Record) -> bool:
    """Whether a record is of a model that was trained again without the forget set."""
    return record.provenance.get("regime") == PRETRAINING


def with_quality(records: Iterable[Record]) -> list[Record]:
    """The records with E, D and Q among their metrics, and what they are made of in their report.

    Args:
        records: In any order; the originals and retrained models that they are compared with are taken from these.

    Returns:
        New records in the same order. What cannot be said is empty, with the reason in `report["not_measured"]`.
    """
    all_records = list(records)
    groups: dict[Group, _Group] = defaultdict(_Group)
    for record in all_records:
        group = groups[_group(record)]
        if is_retrained(record):
            group.retrained[record.cell["seed"]] = record
        elif record.cell["method"] == ORIGINAL:
            group.originals[record.cell["seed"]] = record
    return [_scored(record, groups[_group(record)]) for record in all_records]


def _group(record: Record) -> Group:
    """What records share that may be compared: all of a board but its tuning, the request, weights and data."""
    revisions = record.cell.get("data_revisions") or {}
    return (
        board_key(record)._replace(tuned=""),
        pair(record)[0],
        str(record.cell.get("weights")),
        tuple(sorted(revisions.items())) if isinstance(revisions, Mapping) else str(revisions),
    )


def _scored(record: Record, group: _Group) -> Record:
    values: dict[str, float | None] = {RESIDUAL: None, DAMAGE: None, QUALITY: None}
    counts: dict[str, int] = {}
    about: dict[str, Any] = {}
    reasons: list[str] = []
    original = next(iter(group.originals.values()), None)
    if original is None:
        reasons.append("there is no record of the original on this request to compare with")
    else:
        reference, of_images = _reference(record, original, group), chooses_images(request_of(record.cell))
        by_class = bool(reference.classes) or (of_images and "retain/acc1" in original.metrics)
        try:
            if of_images:
                raise NotMeasurableError("E: the request chooses images, and its measures need whole classes")
            left = residual_of(record.metrics, reference)
        except NotMeasurableError as error:
            reasons.append(error.reason)
        else:
            values[RESIDUAL], counts[RESIDUAL] = left.value, len(left.by_measure)
            about["residual"] = {"by": _rounded(left.by_measure), "floor": left.floor, "retrained": left.retrained}
            about["families"] = [BASE, *dict.fromkeys(measure.family for measure in INFORMATIVE)]
        try:
            lost = damage(record.metrics, original.metrics, by_class=by_class)
        except NotMeasurableError as error:
            reasons.append(error.reason)
        else:
            values[DAMAGE], counts[DAMAGE] = lost.value, len(lost.by_part)
            about["damage"] = {"by": _rounded(lost.by_part)}
        share_left, share_lost = values[RESIDUAL], values[DAMAGE]
        if share_left is not None and share_lost is not None:
            values[QUALITY] = quality(share_left, share_lost)
    metrics = {**record.metrics, **{name: Metric(value, counts.get(name)) for name, value in values.items()}}
    report = {name: value for name, value in record.report.items() if name != REPORT}
    if about:
        report[REPORT] = about
    earlier = report.get("not_measured")
    told = {name: why for name, why in earlier.items() if name != REPORT} if isinstance(earlier, Mapping) else {}
    if reasons or told:
        report["not_measured"] = {**told, **({REPORT: "; ".join(reasons)} if reasons else {})}
    return replace(record, metrics=metrics, report=report)


def _reference(record: Record, original: Record, group: _Group) -> Reference:
    others = [model for model in group.retrained.values() if model.key != record.key]
    return Reference(
        original.metrics,
        original.report,
        [model.metrics for model in others],
        len(request_of(record.cell).classes),
        bool(group.retrained),
    )


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}


@dataclass(frozen=True)
class Floors:
    """What E of some records is measured from.

    Attributes:
        by_retrained: How many have an E over retrained models.
        by_chance: How many have one over chance.
        fewest: The fewest retrained models of a request among the former; 0 where there is none.
    """

    by_retrained: int
    by_chance: int
    fewest: int


def floors(records: Iterable[Record]) -> Floors:
    """What E is measured from; a retrained model itself, which is compared with the others, does not count."""
    told = [
        residual
        for record in records
        if not is_retrained(record) and (residual := record.report.get(REPORT, {}).get("residual"))
    ]
    models = [residual["retrained"] for residual in told if residual["floor"] == "retrained"]
    return Floors(len(models), len(told) - len(models), min(models, default=0))
