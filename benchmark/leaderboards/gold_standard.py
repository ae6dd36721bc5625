"""What the retrained models of a board say: how far they are apart, and how far each row is from them.

A gold standard that is trained has a spread, and a gap without it has no unit: a gap to one retrained model that is not
larger than that between two of them may be the luck of a training.
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
        freedom = sum(len(models[request]) - 1 for request in shared)
        pooled = sum(variance(models[request]) * (len(models[request]) - 1) for request in shared) / freedom
        spread = math.sqrt(pooled)
        value = fmean(fmean(values[request]) for request in shared)
        mean = fmean(fmean(models[request]) for request in shared)
        z = (value - mean) / spread if spread > 1e-12 else None
        gaps.append(Gap(name, value, mean, spread, z, sum(len(models[request]) for request in shared), len(shared)))
    return sorted(gaps, key=lambda gap: (gap.z is None, -abs(gap.z or 0.0), gap.metric))


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
