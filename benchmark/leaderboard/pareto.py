"""The Pareto front: the rows that no other row beats.

Row a dominates row b if a is at least as good in every column and better in one. The front is the set of rows that no
row dominates. It says without any weights which methods are still worth a look; a score (S, H) picks one point of it.
Definition: Pareto, 1906; Miettinen, Nonlinear Multiobjective Optimization, 1999, definition 2.2.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

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
    whole = {index: gains for index, gains in known.items() if gains is not None}
    return [i for i, mine in whole.items() if not any(_dominates(other, mine) for other in whole.values())]


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
