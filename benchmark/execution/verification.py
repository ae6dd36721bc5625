"""Comparing a record with the same cell run again: what `verify`, `export` and kept weights agree on.

Two runs on one machine agree to the last digit. On another processor or with another PyTorch, sums are rounded
otherwise, and a method that takes many gradient steps makes another model of it, as another seed would. So a number of
a record counts as

- equal: to the last digit;
- within rounding: by at most `TOLERANCE`, or one test item where that is more. Numbers without items of their own
  (scores, probes, neighbours) may move by two items of what they are made from, since they add up several, and measures
  that themselves learn from training data by `LEARNED_ITEMS`;
- within the spread of seeds, for a method with chance: by no more than two runs of different seeds differ in 95 % of
  cases (Student's t), by at least `FEWEST_SEEDS` seeds of the same cell: the run now, and the records of other seeds.
  The record in question does not tell how far it may be off;
- different: by more, or where only one of the two could be measured.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from benchmark.evaluation.families import FAMILIES
from benchmark.records.record import Metric, Record

if TYPE_CHECKING:
    from benchmark.records.cell import Cell

TOLERANCE = 0.005
"""Largest difference of a metric (a fraction) that rounding explains in any case, our choice: other processors round
otherwise, and one of two hundred test images may change sides."""
LEARNED_ITEMS = 5
"""Test items by which a measure that learns (a probe, a prompt, relearning) may move by rounding; our choice, because
its training amplifies what the features differ by."""
FEWEST_SEEDS = 3
"""Seeds whose records tell how far seeds are apart; of two, t is so wide that anything would pass."""

Verdict = Literal["equal", "rounding", "spread", "different"]
VERDICTS: tuple[Verdict, ...] = ("equal", "rounding", "spread", "different")
WORDS: Mapping[Verdict, str] = {
    "equal": "equal",
    "rounding": "within rounding",
    "spread": "within the spread of seeds",
    "different": "different",
}


@dataclass(frozen=True)
class Gap:
    """One metric of a record, and what it is now.

    Attributes:
        metric: Its name.
        recorded: The record's value; None where it could not be measured.
        now: The value of the second run.
        rounding: The largest difference that rounding explains.
        spread: The largest that the spread of seeds explains; None where that is not known.
    """

    metric: str
    recorded: float | None
    now: float | None
    rounding: float = TOLERANCE
    spread: float | None = None

    @property
    def size(self) -> float:
        """The absolute difference; infinite where only one of the two could be measured."""
        if self.recorded is None or self.now is None:
            return 0.0 if self.recorded == self.now else math.inf
        return abs(self.recorded - self.now)

    @property
    def verdict(self) -> Verdict:
        """What the difference counts as."""
        if self.size == 0.0:
            return "equal"
        # 0.29 - 0.28 is 0.01 and a little more
        if self.size <= self.rounding + 1e-9:
            return "rounding"
        return "spread" if self.spread is not None and self.size <= self.spread else "different"


def gaps(
    recorded: Record, again: Record, *, siblings: Sequence[Record] = (), tolerance: float = TOLERANCE
) -> list[Gap]:
    """Every metric of a record beside that of a second run of its cell.

    Args:
        recorded: The record.
        again: The second run.
        siblings: Records of the same cell with other seeds (`siblings_of`); none where the method has no chance.
        tolerance: What rounding explains in any case.
    """
    seeds = [again, *siblings]
    return [
        Gap(
            name,
            metric.value,
            again.metrics[name].value if name in again.metrics else None,
            rounding_of(name, recorded.metrics, tolerance),
            spread_of([run.metrics.get(name) for run in seeds]),
        )
        for name, metric in recorded.metrics.items()
    ]


def rounding_of(name: str, metrics: Mapping[str, Metric], tolerance: float = TOLERANCE) -> float:
    """The largest difference of a metric that rounding explains; the module says how.

    Args:
        name: The metric's.
        metrics: Of its record: they tell how many test items there are.
        tolerance: What it explains in any case.
    """
    items = metrics[name].n
    if items:
        return max(tolerance, 1 / items)
    part = "retain" if name.startswith("retain/") else "forget"
    counts = [m.n for measure in ("acc1", "mean_recall") if (m := metrics.get(f"{part}/{measure}")) is not None and m.n]
    if not counts:
        return tolerance
    return max(tolerance, (LEARNED_ITEMS if _learns(name) else 2) / counts[0])


def _learns(name: str) -> bool:
    return name == "score/robust" or any(
        name in family.metrics and {"train", "model"} <= set(family.needs) for family in FAMILIES.values()
    )


def spread_of(values: Sequence[Metric | None]) -> float | None:
    """By how much two runs of different seeds differ at most in 95 % of cases; None where too few seeds tell it."""
    from benchmark.utils.statistics import t_interval

    known = [metric.value for metric in values if metric is not None and metric.value is not None]
    if len(known) < FEWEST_SEEDS:
        return None
    interval = t_interval(known)
    half = 0.0 if interval.high is None else interval.high - interval.mean  # t s / sqrt(n)
    return half * math.sqrt(2 * len(known))  # t s sqrt(2)


def worst_of(differences: Iterable[Gap]) -> Verdict:
    """The verdict of a whole record: that of its worst number."""
    return max((gap.verdict for gap in differences), key=VERDICTS.index, default="equal")


def largest(differences: list[Gap]) -> Gap:
    """The gap of the metric that differs most."""
    return max(differences, key=lambda gap: gap.size, default=Gap("", 0.0, 0.0))


def siblings_of(record: Record, records: Iterable[Record]) -> list[Record]:
    """The records of the same cell with other seeds, one a seed.

    Args:
        record: The one.
        records: Those that there are, in any order.
    """
    identity = _but_seed(record)
    by_seed = {candidate.cell["seed"]: candidate for candidate in records if _but_seed(candidate) == identity}
    return [by_seed[seed] for seed in sorted(by_seed) if seed != record.cell["seed"]]


def _but_seed(record: Record) -> dict[str, object]:
    return {name: value for name, value in record.cell.items() if name != "seed"}


def families_of(record: Record) -> tuple[str, ...]:
    """The families of further measures that a record has: its cell's, and those that `measure` added.

    A record names the families that were measured. Of an older one they are told by their metrics, of which two
    families may share one.
    """
    measures = tuple(record.cell.get("measures", ()))
    added = [
        name
        for name, family in FAMILIES.items()
        if (name in record.measures if record.measures else any(metric in record.metrics for metric in family.metrics))
    ]
    return tuple(dict.fromkeys((*measures, *added)))


def as_recorded(cell: Cell, record: Record) -> Cell:
    """A record's cell with the record's own families, to be run again; the random numbers stay those of the cell.

    Args:
        cell: The cell that the record is of, or with another seed.
        record: The record.
    """
    return replace(cell, measures=families_of(record))


def threads_of(record: Record) -> int | None:
    """Threads of the process that unlearned for a record, to be given as many again: other sums round otherwise.

    None where the record does not say, or this machine has fewer cores.
    """
    threads = record.provenance.get("cpu_threads")
    return threads if isinstance(threads, int) and 0 < threads <= (os.cpu_count() or 1) else None
