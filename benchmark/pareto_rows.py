"""What forgetting costs, as points: forget against retain of every row of a leaderboard, and which are unbeaten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.evaluation.pareto import pareto_front

COLUMNS = ("board", "method", "regime", "forget", "retain", "unlearn_seconds", "front")
_BOARD = ("model", "dataset", "kind", "precision", "device")
_PAIRS = (("forget/acc1", "retain/acc1"), ("forget/mean_recall", "retain/mean_recall"))


def pareto_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One point a row that has its numbers: a board's accuracies, or its recalls where it has no accuracies.

    `front` says that no other row of the board forgets more, retains more and is as fast, all at once.

    Args:
        rows: The flat rows of a leaderboard, see `flat_rows`.
    """
    points: list[dict[str, Any]] = []
    boards: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        boards.setdefault(" · ".join(str(row[name]) for name in _BOARD), []).append(row)
    for board, members in boards.items():
        pair = next((pair for pair in _PAIRS if any(row.get(pair[0]) is not None for row in members)), None)
        if pair is None:
            continue
        whole = [row for row in members if row.get(pair[0]) is not None and row.get(pair[1]) is not None]
        gains = [(1.0 - row[pair[0]], row[pair[1]], row.get("unlearn_seconds")) for row in whole]
        front = set(pareto_front(gains))
        for number, row in enumerate(whole):
            points.append(
                {
                    "board": board,
                    "method": row["method"],
                    "regime": row["regime"],
                    "forget": row[pair[0]],
                    "retain": row[pair[1]],
                    "unlearn_seconds": row.get("unlearn_seconds"),
                    "front": number in front,
                }
            )
    return points
