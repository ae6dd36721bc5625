"""The Pareto front: the rows that no other row beats.

Row a dominates row b if a is at least as good in every column and better in one. The front is the set of rows that no
row dominates. It says without any weights which methods are still worth a look; a score (S, H) picks one point of it.
Definition: Pareto, 1906; Miettinen, Nonlinear Multiobjective Optimization, 1999, definition 2.2.1.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from benchmark.utils.statistics import Interval
from benchmark.utils.table import joined

if TYPE_CHECKING:
    import pandas as pd

Direction = Literal["higher", "lower"]
FORGETTING_RETENTION_COST: tuple[Direction, ...] = ("higher", "higher", "lower")
"""1 - forget accuracy and retain accuracy, fractions in [0, 1], and a cost, such as seconds of unlearning."""


def pareto_front(
    rows: Sequence[Sequence[float | None]], *, better: Sequence[Direction] = FORGETTING_RETENTION_COST
) -> list[int]:
    """The indices of the rows that are not dominated, ascending.

    Rows that are equal in every column do not dominate each other: all of them are on the front, or none.

    Args:
        rows: One a method, with as many values as `better`. A row with a None or NaN is left out: it is neither on the
            front nor does it dominate, since what is not known cannot be compared.
        better: Which way is better, by column.

    Raises:
        ValueError: If a row has another length than `better`.
    """
    known = {index: _as_gains(row, better) for index, row in enumerate(rows)}
    complete = {index: gains for index, gains in known.items() if gains is not None}
    return [
        i
        for i, gains in complete.items()
        if not any(_dominates(other_gains, gains) for other_gains in complete.values())
    ]


def _as_gains(row: Sequence[float | None], better: Sequence[Direction]) -> tuple[float, ...] | None:
    """The row with every column turned so that higher is better; None where a value is missing."""
    if len(row) != len(better):
        raise ValueError(f"a row of {len(row)} values, but {len(better)} directions")
    values = [value for value in row if value is not None and not math.isnan(value)]
    if len(values) < len(row):
        return None
    return tuple(value if way == "higher" else -value for value, way in zip(values, better, strict=True))


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))


Axes = tuple[str, str]
_AXES: tuple[Axes, ...] = (("forget/acc1", "retain/acc1"), ("forget/mean_recall", "retain/mean_recall"))
CLOCK_SECONDS, CPU_SECONDS = "unlearn_seconds", "cpu_seconds"
MARK = "◆"
"""Stands beside the rank of a row on the front."""
FRONT_NOTE = (
    f"\u2013 {MARK}: on the Pareto front; no other method forgets at least as much, retains at least as much and takes "
    "no longer, while it beats this one in one of the three"
)
RowMeans = Mapping[str, Interval | None]
Costs = Mapping[str, float | None]


def axes_of(columns: Collection[str]) -> Axes | None:
    """The metrics of forgetting and of retention that a board shows; None where it has neither pair."""
    return next((axes for axes in _AXES if set(axes) <= set(columns)), None)


def point_of(metrics: RowMeans, axes: Axes) -> tuple[float | None, float | None]:
    """Forgetting and retention of a row: 1 less what is left of the forget set, and what is kept. In [0, 1]."""
    left, retained = (metrics.get(name) for name in axes)
    return (None if left is None else 1 - left.mean), (None if retained is None else retained.mean)


def runtime_of(device: str, costs: Iterable[Costs]) -> str:
    """The cost that stands for the time that a method takes.

    On a CPU those are the seconds that its processors worked, which other load does not lengthen, if every row has
    them; else, and on a GPU, the seconds by the clock, which waits for the GPU.

    Args:
        device: The kind of device.
        costs: Of the rows that compete.
    """
    timed = [cost for cost in costs if cost.get(CLOCK_SECONDS) is not None]
    on_cpu = device == "cpu" and bool(timed) and all(cost.get(CPU_SECONDS) is not None for cost in timed)
    return CPU_SECONDS if on_cpu else CLOCK_SECONDS


def front(
    rows: Mapping[str, tuple[RowMeans, Costs]], axes: Axes | None, runtime: str = CLOCK_SECONDS
) -> frozenset[str]:
    """The rows that no other one beats in forgetting, retention and seconds together.

    Args:
        rows: By name the means and the costs of the rows that compete; one without all three is not on the front.
        axes: Of the board.
        runtime: The cost that stands for the time.
    """
    if axes is None:
        return frozenset()
    names = list(rows)
    points = [(*point_of(metrics, axes), costs.get(runtime)) for metrics, costs in rows.values()]
    return frozenset(names[place] for place in pareto_front(points))


_BOARD = ["model", "dataset", "kind", "precision", "device"]
_POINT = ["method", "regime", "forget", "retain", "seconds", "front"]


def pareto_points(leaderboard: pd.DataFrame) -> pd.DataFrame:
    """One point a row that has its numbers: a board's accuracies, or its recalls where it has no accuracies.

    Args:
        leaderboard: As `Leaderboard.to_pandas` gives it; `front` and what counts as `seconds` are taken from there.
    """
    points = []
    for names, board in leaderboard.groupby(_BOARD, sort=False):
        axes = axes_of([*board.columns[board.notna().any()]])
        if axes is not None:
            complete = board.dropna(subset=[*axes]).rename(columns=dict(zip(axes, ("forget", "retain"), strict=True)))
            complete["seconds"] = complete[str(complete["runtime"].iloc[0])] if len(complete) else None
            points.append(complete[_POINT].assign(board=" · ".join(map(str, names))))
    return joined(points)
