"""What changes from one board to another, in sentences: how far the orders agree, and which methods move.

Boards differ in data, model and difficulty, so one score says little beside the other: what is compared is the order,
and the moves that are large. It is the order by Q, and by S, as published, where one of the boards has no Q.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from benchmark.evaluation.catalogue import better, describe
from benchmark.evaluation.measures.quality import QUALITY
from benchmark.leaderboards.boards import Board
from benchmark.leaderboards.comparison import LEAST_REQUESTS
from benchmark.leaderboards.findings import competing
from benchmark.leaderboards.grouping import PUBLISHED
from benchmark.utils.statistics import kendalls_tau
from benchmark.utils.words import listed

LEAST_METHODS = 5
"""Methods on both boards that a sentence needs: the order of fewer says nothing; our choice."""
MOVED = 0.10
"""A method moved where its score differs by at least this much; our choice."""


def between_all(boards: Sequence[Board]) -> list[tuple[Board, Board, list[str]]]:
    """The sentences of each two boards of different data that both tell methods apart; only pairs with some."""
    deciding = [board for board in boards if board.ranking_requests >= LEAST_REQUESTS]
    pairs = [(a, b) for a, b in combinations(deciding, 2) if a.key.dataset != b.key.dataset]
    said = [(first, second, between(first, second)) for first, second in pairs]
    return [(first, second, lines) for first, second, lines in said if lines]


def between(first: Board, second: Board) -> list[str]:
    """What changes from the first board to the second, for the methods that have the score on both.

    Args:
        first: A board ranked by Q or by S.
        second: Another one.

    Returns:
        Sentences; none where fewer than `LEAST_METHODS` methods are on both.
    """
    metric = QUALITY if first.ranked_by == second.ranked_by == QUALITY else PUBLISHED
    before, after = _scores(first, metric), _scores(second, metric)
    both = [method for method in before if method in after]
    if len(both) < LEAST_METHODS:
        return []
    data = (first.key.dataset, second.key.dataset)
    return [_orders(both, before, after, data, metric), *_moves(both, before, after, data, metric)]


def _scores(board: Board, metric: str) -> dict[str, float]:
    """The score by method, the best first."""
    known = [(row.method, value) for row in competing(board) if (value := row.mean(metric)) is not None]
    return dict(sorted(known, key=lambda pair: pair[1], reverse=better(metric) == "higher"))


def _orders(
    both: Sequence[str], before: dict[str, float], after: dict[str, float], data: tuple[str, str], metric: str
) -> str:
    tau = kendalls_tau([before[name] for name in both], [after[name] for name in both])
    first, then = both[0], [name for name in after if name in both]
    led = (
        f"`{first}` leads them on both"
        if then[0] == first
        else f"of them `{first}` leads on {data[0]} and is place {then.index(first) + 1} on {data[1]}, "
        f"where `{then[0]}` leads"
    )
    score = describe(metric).head
    by = "" if metric == QUALITY else f" by {score}, as published,"
    return (
        f"{len(both)} methods have {score} on {data[0]} and on {data[1]}; Kendall's tau between the two "
        f"orders{by} is {tau:.2f} (1: the same, 0: unrelated); {led}."
    )


def _moves(
    both: Sequence[str], before: dict[str, float], after: dict[str, float], data: tuple[str, str], metric: str
) -> list[str]:
    said = []
    gain = 1.0 if better(metric) == "higher" else -1.0
    for word, sign in (("better", gain), ("worse", -gain)):
        moved = [name for name in both if sign * (after[name] - before[name]) >= MOVED]
        moved.sort(key=lambda name: -sign * (after[name] - before[name]))
        named = [f"`{name}` ({describe(metric).head} {before[name]:.3f} and {after[name]:.3f})" for name in moved]
        if named:
            said.append(f"Much {word} on {data[1]} than on {data[0]} (by {MOVED:.1f} or more): {listed(named)}.")
    return said
