"""What forgetting costs, as points: forget against retain of every row of a leaderboard, and which are unbeaten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.leaderboard.fronts import axes_of

COLUMNS = ("board", "method", "regime", "forget", "retain", "unlearn_seconds", "front")
_BOARD = ("model", "dataset", "kind", "precision", "device")


def pareto_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One point a row that has its numbers: a board's accuracies, or its recalls where it has no accuracies.

    `front` is the leaderboard's (`benchmark.leaderboard.fronts`).

    Args:
        rows: The flat rows of a leaderboard, see `flat_rows`.
    """
    points: list[dict[str, Any]] = []
    boards: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        boards.setdefault(" · ".join(str(row[name]) for name in _BOARD), []).append(row)
    for board, members in boards.items():
        pair = axes_of({name for row in members for name, value in row.items() if value is not None})
        if pair is None:
            continue
        whole = [row for row in members if row.get(pair[0]) is not None and row.get(pair[1]) is not None]
        for row in whole:
            points.append(
                {
                    "board": board,
                    "method": row["method"],
                    "regime": row["regime"],
                    "forget": row[pair[0]],
                    "retain": row[pair[1]],
                    "unlearn_seconds": row.get("unlearn_seconds"),
                    "front": row["front"],
                }
            )
    return points
