"""What the retrained models of a board say: how far they are apart, and how far each row is from them.

A gold standard that is trained has a spread, and a gap without it has no unit: a gap to one retrained model that is not
larger than that between two of them may be the luck of a training.

One model trained without several classes at once (joint) may stand for one model a class (single) where the two differ
by less than single models of different seeds do: `joint_gaps`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, variance

from benchmark.evaluation.catalogue import find
from benchmark.evaluation.measures.retrain_gap import retrain_gap
from benchmark.leaderboards.grouping import BoardKey, by_board, by_request, by_row, pair
from benchmark.leaderboards.scored import is_retrained, with_quality
from benchmark.records.cell import JOINT, SINGLE
from benchmark.records.record import Record
from benchmark.utils.statistics import Interval, t_interval
from datamodules.common.errors import BenchmarkError

LEAST_SEEDS = 2


@dataclass(frozen=True)
class Gap:
    """One measure of one row beside that of the retrained models, means over requests.

    Attributes:
        metric: Full name.
        value: Of the row, in the metric's unit.
        retrained: Of the retrained models.
        spread: Standard deviation of retrained models of one request, pooled over requests.
        z: (value - retrained) / spread: how many such deviations lie between; None where the models do not differ.
        models: How many retrained models the spread is from.
        requests: Over how many requests.
    """

    metric: str
    value: float
    retrained: float
    spread: float
    z: float | None
    models: int
    requests: int


def gaps(records: Iterable[Record], method: str) -> dict[BoardKey, list[Gap]]:
    """The gap of one row to the mean of the retrained models, measure by measure, on every board that has both.

    Args:
        records: In any order.
        method: The label of a row.

    Returns:
        By board the measures of which at least two retrained models of a request have a value; the largest |z| first.

    Raises:
        BenchmarkError: If no board has that row and two retrained models of a request.
    """
    boards = {}
    for key, board_records in by_board(with_quality(records)).items():
        row = by_row(board_records).get(method)
        golden = [record for record in board_records if is_retrained(record)]
        if row and (board_gaps := _gaps(row, golden)):
            boards[key] = board_gaps
    if not boards:
        raise BenchmarkError(
            f"no board has {method!r} and two models trained again without the same data: gaps have no unit there; "
            "`leaderboard` shows the rows, and a suite with `seeds_of: {retrain: [0, 1, 2]}` trains three"
        )
    return boards


def _gaps(row: Sequence[Record], golden: Sequence[Record]) -> list[Gap]:
    gaps = []
    for name in sorted({name for record in row for name in record.metrics if find(name) is not None}):
        models, values = _by_request(golden, name), _by_request(row, name)
        shared = [request for request in values if len(models.get(request, ())) >= LEAST_SEEDS]
        if not shared:
            continue
        spread = _pooled_spread([models[request] for request in shared])
        value = fmean(fmean(values[request]) for request in shared)
        mean = fmean(fmean(models[request]) for request in shared)
        z = (value - mean) / spread if spread > 1e-12 else None
        gaps.append(Gap(name, value, mean, spread, z, sum(len(models[request]) for request in shared), len(shared)))
    return sorted(gaps, key=lambda gap: (gap.z is None, -abs(gap.z or 0.0), gap.metric))


@dataclass(frozen=True)
class JointGap:
    """One measure of models trained without several classes at once, beside models trained without one each.

    Attributes:
        metric: Full name.
        single: Mean over requests of the mean over models trained without the request alone.
        joint: The same of models trained without all requests.
        difference: joint - single, mean over requests, with its 95 % t interval.
        spread: Standard deviation between single models of one request, pooled over requests.
    """

    metric: str
    single: float
    joint: float
    difference: Interval
    spread: float

    @property
    def verdict(self) -> str:
        """Whether the joint model may stand for the single ones: the interval within one spread, or beyond it."""
        low, high = self.difference.low, self.difference.high
        if low is None or high is None:
            return "too few requests"
        if -self.spread <= low and high <= self.spread:
            return "stands for them"
        return "differs" if low > self.spread or high < -self.spread else "not settled"


def joint_gaps(records: Iterable[Record]) -> dict[BoardKey, list[JointGap]]:
    """Joint beside single retraining, measure by measure, on every pair of boards that has both.

    Args:
        records: In any order; those of suite `joint`, say.

    Returns:
        By board: the measures of the forget set that both have; the largest difference in units of the spread first.

    Raises:
        BenchmarkError: If no request has a joint model and two single ones.
    """
    golden: dict[BoardKey, dict[str, list[Record]]] = defaultdict(dict)
    for key, on_board in by_board(filter(is_retrained, records)).items():
        kind, _, way = key.kind.rpartition(", retrained ")
        if way in (JOINT, SINGLE):
            golden[key._replace(kind=kind)][way] = on_board
    boards = {}
    for key, models in golden.items():
        if gaps := _joint_gaps(models.get(JOINT, []), models.get(SINGLE, [])):
            boards[key] = gaps
    if not boards:
        raise BenchmarkError(
            "no request has a model that was retrained jointly and two that were retrained for it alone: run them with "
            "`python -m benchmark run --suite joint`"
        )
    return boards


def _joint_gaps(joint: Sequence[Record], single: Sequence[Record]) -> list[JointGap]:
    gaps = []
    names = {name for record in joint for name in record.metrics if find(name) is not None}
    for name in sorted(name for name in names if name.startswith("forget/")):
        models, alone = _by_request(joint, name), _by_request(single, name)
        shared = [request for request in models if len(alone.get(request, ())) >= LEAST_SEEDS]
        if not shared:
            continue
        spread = _pooled_spread([alone[request] for request in shared])
        means = [(fmean(models[request]), fmean(alone[request])) for request in shared]
        difference = t_interval([together - apart for together, apart in means])
        gaps.append(
            JointGap(name, fmean(apart for _, apart in means), fmean(both for both, _ in means), difference, spread)
        )
    return sorted(gaps, key=lambda gap: -abs(gap.difference.mean) / max(gap.spread, 1e-12))


def _pooled_spread(groups: Sequence[Sequence[float]]) -> float:
    """The standard deviation within groups of two values or more, pooled over the groups."""
    freedom = sum(len(values) - 1 for values in groups)
    return math.sqrt(sum(variance(values) * (len(values) - 1) for values in groups) / freedom)


def _by_request(records: Iterable[Record], name: str) -> dict[str, list[float]]:
    values: dict[str, list[float]] = defaultdict(list)
    for record in records:
        metric = record.metrics.get(name)
        if metric is not None and metric.value is not None:
            values[pair(record)[0]].append(metric.value)
    return values


def gold_spread(records: Iterable[Record]) -> Interval | None:
    """The gap between retrained models of different seeds, in [0, 1]: mean over requests of the mean over pairs.

    Args:
        records: Of one board.

    Returns:
        The mean and its t interval over requests; None where no request has two seeds.
    """
    means = []
    for models in by_request(filter(is_retrained, records)).values():
        pair_gaps = [retrain_gap(first.metrics, second.metrics).gap for first, second in combinations(models, 2)]
        if pair_gaps:
            means.append(sum(pair_gaps) / len(pair_gaps))
    return t_interval(means) if means else None


def spread_note(records: Iterable[Record]) -> list[str]:
    """The note below a board; none where the spread is not known."""
    spread = gold_spread(records)
    if spread is None:
        return []
    return [
        f"\u2013 gap: two models trained again without the same data, from different seeds, are "
        f"{100 * spread.mean:.1f} points apart: so much of a gap may be chance"
    ]
