"""How far two retrained models of one request are apart by their seeds alone: what of a gap is chance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import combinations

from benchmark.evaluation.measures.retrain_gap import retrain_gap
from benchmark.leaderboard.grouping import pair
from benchmark.models.registry import PRETRAINING
from benchmark.records.record import Record
from benchmark.utils.statistics import Interval, t_interval


def gold_spread(records: Iterable[Record]) -> Interval | None:
    """The gap between retrained models of different seeds, in [0, 1]: mean over requests of the mean over pairs.

    A gap to one of them that is not larger may be the luck of a training. Our choice, because a gold standard that is
    trained has a spread, and a gap without it has no unit.

    Args:
        records: Of one board.

    Returns:
        The mean and its t interval over requests; None where no request has two seeds.
    """
    seeds: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.provenance.get("regime") == PRETRAINING:
            seeds[pair(record)[0]].append(record)
    means = []
    for models in seeds.values():
        gaps = [retrain_gap(one.metrics, other.metrics).gap for one, other in combinations(models, 2)]
        if gaps:
            means.append(sum(gaps) / len(gaps))
    return t_interval(means) if means else None


def spread_note(records: Iterable[Record]) -> list[str]:
    """The note below a board; none where the spread is not known."""
    found = gold_spread(records)
    if found is None:
        return []
    return [
        f"\u2013 gap: two models trained again without the same data, from different seeds, are {100 * found.mean:.1f} "
        "points apart: so much of a gap may be chance"
    ]
