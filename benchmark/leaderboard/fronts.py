"""The Pareto front of a board: forgetting, retention and seconds, without any weights between them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from benchmark.leaderboard.pareto import pareto_front
from benchmark.utils.statistics import Interval

Axes = tuple[str, str]
_AXES: tuple[Axes, ...] = (("forget/acc1", "retain/acc1"), ("forget/mean_recall", "retain/mean_recall"))
COST = "unlearn_seconds"
MARK = "◆"
"""Stands beside the rank of a row on the front."""
FRONT_NOTE = (
    f"\u2013 {MARK}: on the Pareto front; no other method forgets at least as much, retains at least as much and takes "
    "no longer, while it beats this one in one of the three"
)
Metrics = Mapping[str, Interval | None]
Costs = Mapping[str, float | None]


def axes_of(columns: Collection[str]) -> Axes | None:
    """The metrics of forgetting and of retention that a board shows; None where it has neither pair."""
    return next((axes for axes in _AXES if set(axes) <= set(columns)), None)


def point_of(metrics: Metrics, axes: Axes) -> tuple[float | None, float | None]:
    """Forgetting and retention of a row: 1 less what is left of the forget set, and what is kept. In [0, 1]."""
    left, kept = (metrics.get(name) for name in axes)
    return (None if left is None else 1 - left.mean), (None if kept is None else kept.mean)


def front(rows: Mapping[str, tuple[Metrics, Costs]], axes: Axes | None) -> frozenset[str]:
    """The rows that no other one beats in forgetting, retention and seconds together.

    Args:
        rows: By name the means and the costs of the rows that compete; one without all three is not on the front.
        axes: Of the board.
    """
    if axes is None:
        return frozenset()
    names = list(rows)
    points = [(*point_of(metrics, axes), costs.get(COST)) for metrics, costs in rows.values()]
    return frozenset(names[place] for place in pareto_front(points))
