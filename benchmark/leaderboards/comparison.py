"""Rows of a board side by side: the paired difference of two, and the ranks that each may hold.

The unit that varies independently is the request. Seeds of one request share its images and its difficulty, so a
request counts once: its value is the mean over seeds, and Student's t is over the differences of requests. Taking
the (request, seed) cells for independent, three seeds each, claims a difference between equal methods in 18 % of
cases where a request moves a method as much as a seed does, and in 31 % where it moves it twice as much (simulated).
It is t at every number of requests: the percentile bootstrap covers less with few, and no more with 100 (simulated).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate, combinations
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from benchmark.evaluation.catalogue import find
from benchmark.leaderboards.grouping import BoardKey, Pair, by_board, by_row, pair
from benchmark.leaderboards.scored import with_quality
from benchmark.records.record import Record
from benchmark.utils.statistics import CONFIDENCE, LEAST_VALUES, Interval, holm, is_skewed, paired_t
from datamodules.common.errors import BenchmarkError, UnknownNameError

if TYPE_CHECKING:
    import pandas as pd

LEAST_REQUESTS = 10
"""The fewest requests with ranks: below it Student's t with Holm's correction orders next to nothing (5 % of 325 pairs
at three requests, 70 % at ten), and one skewed difference is enough to break it (simulated)."""
Values = Mapping[str, Mapping[int, float]]
"""One metric of a row: by request, by seed."""
ComparisonVerdict = Literal["lower", "higher", "not distinguishable", "nothing to compare"]


@dataclass(frozen=True)
class Difference:
    """A less B in one metric, in the metric's unit.

    Attributes:
        metric: Full name.
        mean_a: Of A, over the requests that both have; None where there is none.
        mean_b: Of B, likewise.
        difference: Mean and 95 % interval of A - B, within what the metric can differ; `n` counts requests. None
            where there is none.
        p: Of a difference of zero, two-sided, not corrected for other pairs and metrics; None below three requests.
        pairs: How many (request, seed) pairs went in; a single seed is paired with each of the other row.
        skewed: Whether the differences are so skewed that t over so few requests may claim too much.
    """

    metric: str
    mean_a: float | None
    mean_b: float | None
    difference: Interval | None
    p: float | None
    pairs: int
    skewed: bool = False

    @property
    def verdict(self) -> ComparisonVerdict:
        """What A is, compared with B; distinguishable where p is below 5 %."""
        if self.difference is None:
            return "nothing to compare"
        if self.p is None or self.p >= 1 - CONFIDENCE:
            return "not distinguishable"
        return "lower" if self.difference.mean < 0 else "higher"


@dataclass(frozen=True)
class Comparison:
    """Two rows of one board.

    Attributes:
        key: The board.
        a: Label of the first row.
        b: Label of the second.
        differences: One a metric.
        notes: What a reader must know, one line each.
    """

    key: BoardKey
    a: str
    b: str
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row a metric, in its own unit; `requests` counts what the interval is over, `pairs` what went in."""
        import numpy as np
        import pandas as pd

        shared = {**self.key._asdict(), "a": self.a, "b": self.b}
        intervals = [compared.difference for compared in self.differences]
        numbers = {name: [getattr(compared, name) for compared in self.differences] for name in ("mean_a", "mean_b")}
        for name, end in (("difference", "mean"), ("difference_low", "low"), ("difference_high", "high")):
            numbers[name] = [getattr(interval, end, None) for interval in intervals]
        numbers["p"] = [compared.p for compared in self.differences]
        columns = {
            "metric": [compared.metric for compared in self.differences],
            **{name: np.array(column, dtype=float) for name, column in numbers.items()},
            "requests": [0 if interval is None else interval.n for interval in intervals],
            "pairs": [compared.pairs for compared in self.differences],
            "skewed": [compared.skewed for compared in self.differences],
            "verdict": [compared.verdict for compared in self.differences],
        }
        return pd.DataFrame({**shared, **columns}, index=range(len(self.differences)))


def cell_values(records: Iterable[Record], metric: str) -> dict[str, dict[int, float]]:
    """One metric of a row's records; a cell without a value or with several records is left out."""
    all_records = list(records)
    counts = Counter(map(pair, all_records))
    values: dict[str, dict[int, float]] = {}
    for record in all_records:
        request, seed = pair(record)
        measured = record.metrics.get(metric)
        if measured is not None and measured.value is not None and counts[request, seed] == 1:
            values.setdefault(request, {})[seed] = measured.value
    return values


def paired_difference(metric: str, a: Values, b: Values) -> Difference:
    """A less B over the requests that both have.

    Two rows of several seeds are compared at the seeds that both have, which cancels what a seed shares. A row of
    one seed (a method without chance) is compared with the mean over the other's seeds.

    Args:
        metric: Full name.
        a: The values of A.
        b: The values of B.
    """
    several = all(len({seed for seeds in row.values() for seed in seeds}) > 1 for row in (a, b))
    means_a, means_b, pairs = [], [], 0
    for request in a.keys() & b.keys():
        common = a[request].keys() & b[request].keys()
        seeds_a, seeds_b = (common, common) if several else (a[request].keys(), b[request].keys())
        if seeds_a and seeds_b:
            means_a.append(fmean(a[request][seed] for seed in seeds_a))
            means_b.append(fmean(b[request][seed] for seed in seeds_b))
            pairs += max(len(seeds_a), len(seeds_b))
    if not means_a:
        return Difference(metric, None, None, None, None, 0)
    differences = [x - y for x, y in zip(means_a, means_b, strict=True)]
    interval, p = paired_t(differences)
    measure = find(metric)
    if measure is not None and interval.low is not None and interval.high is not None:
        span = measure.high - measure.low
        interval = replace(interval, low=max(interval.low, -span), high=min(interval.high, span))
    known = p if interval.n >= LEAST_VALUES else None
    return Difference(metric, fmean(means_a), fmean(means_b), interval, known, pairs, is_skewed(differences))


@dataclass(frozen=True)
class Standings:
    """What is known of the ranks of a board.

    Attributes:
        ranges: By label the best and the worst rank that a row may hold, from 1.
        tiers: By label the tier, from 1: a row cannot be told from the first row of its tier, and can be told from the
            first rows of all tiers before it.
        wide: The labels whose tier says only that their scores vary much from request to request: rows of two tiers
            below lie before them (our choice of what is much).
        apart: The pairs that are told apart, the better label first.
        skewed: How many of those have differences so skewed that Student's t may claim too much.
    """

    ranges: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    tiers: Mapping[str, int] = field(default_factory=dict)
    wide: frozenset[str] = frozenset()
    apart: frozenset[tuple[str, str]] = frozenset()
    skewed: int = 0


def p_values(differences: Iterable[Difference]) -> list[float]:
    """The p value of each difference; 1 where there are too few requests for one."""
    return [1.0 if difference.p is None else difference.p for difference in differences]


def standings(rows: Mapping[str, Values], better: Literal["lower", "higher"] = "lower") -> Standings:
    """The ranks that each row may hold, and the tiers.

    A row is at best behind those that are distinguishably better, at worst before those that are distinguishably
    worse (Mogstad, Romano, Shaikh & Wilhelm, Review of Economic Studies 2024: ranks from paired differences).
    A board is read as a whole, so Holm's correction is over all its pairs: all ranges hold together with 95 %.
    Without it something is told apart on seven of ten boards of nine equal methods (36 pairs; simulated).

    Args:
        rows: The ranking metric of the rows that compete, by label, every cell measured.
        better: Which way is better.
    """
    sign = 1.0 if better == "lower" else -1.0
    means = {label: sign * fmean(map(fmean, (v.values() for v in values.values()))) for label, values in rows.items()}
    pairs = list(combinations(rows, 2))
    differences = [paired_difference("", rows[a], rows[b]) for a, b in pairs]
    rejected: list[bool] = holm(p_values(differences)).tolist()
    apart, skewed = set(), 0
    for (a, b), compared, told in zip(pairs, differences, rejected, strict=True):
        # Where rows have different seeds, the pairs and the means can disagree on the order: then it is not known.
        if told and compared.difference is not None and sign * compared.difference.mean * (means[a] - means[b]) > 0:
            apart.add((a, b) if means[a] < means[b] else (b, a))
            skewed += compared.skewed
    ranges = {
        label: (1 + sum(worse == label for _, worse in apart), len(rows) - sum(best == label for best, _ in apart))
        for label in rows
    }
    order = sorted(rows, key=lambda label: means[label])
    tiers = _tiers(order, apart)
    return Standings(ranges, tiers, _wide(order, tiers), frozenset(apart), skewed)


def _tiers(order: Sequence[str], apart: Collection[tuple[str, str]]) -> dict[str, int]:
    """The tier of each label, the best first in `order`."""
    tiers: dict[str, int] = {}
    rest, tier = list(order), 0
    while rest:
        first, tier = rest[0], tier + 1
        tiers |= {label: tier for label in rest if (first, label) not in apart}
        rest = [label for label in rest if label not in tiers]
    return tiers


def _wide(order: Sequence[str], tiers: Mapping[str, int]) -> frozenset[str]:
    """The labels after a row of two tiers below their own, the best first in `order`."""
    before = accumulate((tiers[label] for label in order), max, initial=0)
    return frozenset(label for label, lowest in zip(order, before, strict=False) if lowest >= tiers[label] + 2)


def compare(records: Iterable[Record], a: str, b: str, columns: Mapping[BoardKey, Sequence[str]]) -> list[Comparison]:
    """Compare two methods on every board that has both.

    Args:
        records: In any order.
        a: A method, or the label of a row where a board holds several of one method.
        b: Another.
        columns: The metrics to compare on each board; one that neither row has there is left out.

    Raises:
        UnknownNameError: If no board has a row of that name, or no record of them a metric of `columns`.
        BenchmarkError: If the two are one, a name means several rows of a board, or nothing is in common.
    """
    if a == b:
        raise BenchmarkError(f"a comparison needs two different methods, not {a!r} twice; see `leaderboard`")
    shared = _shared(with_quality(records), a, b)
    rows = {key: (_row(a, key, board_rows), _row(b, key, board_rows)) for key, board_rows in shared.items()}
    comparisons = [_comparison(key, *both, columns.get(key, ())) for key, both in rows.items()]
    comparisons = [comparison for comparison in comparisons if comparison.differences]
    if not comparisons:
        wanted = sorted({name for names in columns.values() for name in names})
        known = _measured(record for both in rows.values() for _, row_records in both for record in row_records)
        raise UnknownNameError("metric of these records", ", ".join(wanted), sorted(known))
    if not any(compared.difference for comparison in comparisons for compared in comparison.differences):
        cells = [[pair(record) for both in rows.values() for record in both[place][1]] for place in (0, 1)]
        cells_by_name = "; ".join(
            f"{name} has {_cells(row_cells)}" for name, row_cells in zip((a, b), cells, strict=True)
        )
        raise BenchmarkError(f"{a} and {b} have no measured request and seed in common: {cells_by_name}")
    return comparisons


def _shared(records: Iterable[Record], a: str, b: str) -> dict[BoardKey, dict[str, list[Record]]]:
    """The rows of each board that has both."""
    boards = {key: by_row(board_records) for key, board_records in by_board(records).items()}
    for name in (a, b):
        if not any(_labels(name, rows) for rows in boards.values()):
            known = sorted({label for rows in boards.values() for label in rows})
            raise UnknownNameError("method of these records", name, known)
    shared = {key: rows for key, rows in boards.items() if _labels(a, rows) and _labels(b, rows)}
    if not shared:
        on = {name: ", ".join(str(key) for key, rows in boards.items() if _labels(name, rows)) for name in (a, b)}
        raise BenchmarkError(f"{a} and {b} share no board: {a} is on {on[a]}; {b} is on {on[b]}")
    return shared


def _labels(name: str, rows: Mapping[str, list[Record]]) -> list[str]:
    """The rows that a name means: the one of this label, else all of this method."""
    if name in rows:
        return [name]
    return [label for label, row_records in rows.items() if row_records[0].cell["method"] == name]


def _row(name: str, key: BoardKey, rows: Mapping[str, list[Record]]) -> tuple[str, list[Record]]:
    labels = _labels(name, rows)
    if len(labels) > 1:
        raise BenchmarkError(f"{name!r} has several rows on {key}: name one of {', '.join(map(repr, labels))}")
    return labels[0], rows[labels[0]]


def _cells(cells: Iterable[Pair]) -> str:
    """Such as "apple, tiger at seed 0, 1"."""
    requests, seeds = (dict.fromkeys(part) for part in zip(*sorted(cells), strict=True))
    return f"{', '.join(requests)} at seed {', '.join(map(str, sorted(seeds)))}"


def _measured(records: Iterable[Record]) -> set[str]:
    return {name for record in records for name in record.metrics}


def _comparison(
    key: BoardKey, a: tuple[str, list[Record]], b: tuple[str, list[Record]], columns: Sequence[str]
) -> Comparison:
    measured = _measured([*a[1], *b[1]])
    differences = [
        paired_difference(name, cell_values(a[1], name), cell_values(b[1], name))
        for name in columns
        if name in measured
    ]
    requests = [{pair(record)[0] for record in row_records} for _, row_records in (a, b)]
    notes = []
    if requests[0] != requests[1]:
        both, either = len(requests[0] & requests[1]), len(requests[0] | requests[1])
        notes.append(f"only the {both} of {either} requests that both have count")
    for label, row_records in (a, b):
        twice = sum(count > 1 for count in Counter(map(pair, row_records)).values())
        if twice:
            notes.append(
                f"{label}: {twice} cells have several records and are left out until the stale ones are removed"
            )
    return Comparison(key, a[0], b[0], tuple(differences), tuple(notes))
