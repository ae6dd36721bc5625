"""The mean score of each method over boards, with what it leaves out: a glance, not a test.

A mean over boards hides that they differ in data, model and difficulty, and so it has no interval here. Only boards
with enough requests to rank take part. Of boards that ask the same of the same model one counts, the one with most
requests: another suite over the same classes would count them twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmark.evaluation.measures.quality import QUALITY
from benchmark.leaderboards.boards import Board
from benchmark.leaderboards.comparison import LEAST_REQUESTS
from benchmark.leaderboards.grouping import PUBLISHED, BoardKey
from benchmark.leaderboards.unscored import requests_with

CAVEAT = (
    f"Boards of {LEAST_REQUESTS} requests or more, each counted once; of boards that ask the same of the same model, "
    "the one with most requests. Boards differ in data, model and difficulty, so a mean over them has no interval and "
    "is no test: read it beside the boards. A method that lacks a board has no mean."
)
LEAST_BOARDS = 2
"""Boards that a mean needs."""


@dataclass(frozen=True)
class AverageRow:
    """A method over some boards.

    Attributes:
        label: Its row.
        regime: What it reads.
        reference: Whether it does not compete.
        mean: Over all of them.
        worst: Its worst score.
    """

    label: str
    regime: str
    reference: bool
    mean: float
    worst: float


@dataclass(frozen=True)
class Average:
    """The methods over the boards of one score.

    Attributes:
        score: "Q" or "S".
        higher: Whether higher is better.
        tuned: Whether the values were searched.
        boards: The boards in words.
        rows: The methods with a score on each of them, the best mean first.
        lacking: The others, in alphabetical order, each with the number of boards on which it has one.
    """

    score: str
    higher: bool
    tuned: bool
    boards: tuple[str, ...]
    rows: tuple[AverageRow, ...]
    lacking: tuple[str, ...] = ()


def averages(boards: Sequence[Board]) -> list[Average]:
    """The means over boards by Q and by S, tuned rows first; none of fewer than `LEAST_BOARDS` boards.

    Args:
        boards: Those with fewer than `LEAST_REQUESTS` requests that have the score take no part.
    """
    made = []
    for tuned in (True, False):
        for metric, score in ((QUALITY, "Q"), (PUBLISHED, "S")):
            chosen = _one_each([b for b in boards if bool(b.key.tuned) == tuned and _ranks(b, metric)])
            average = _average(chosen, metric, score, tuned=tuned)
            if len(chosen) >= LEAST_BOARDS and average.rows:
                made.append(average)
    return made


def _ranks(board: Board, metric: str) -> bool:
    """Whether a row that competes has the metric, over enough requests."""
    enough = requests_with(metric, board.requests, board.unscored) >= LEAST_REQUESTS
    return enough and any(row.metrics.get(metric) is not None for row in board.rows if not row.reference)


def _one_each(boards: Sequence[Board]) -> list[Board]:
    largest: dict[tuple[str, str, str], Board] = {}
    for board in boards:
        place = (board.key.model, board.key.dataset, board.key.kind)
        if place not in largest or board.requests > largest[place].requests:
            largest[place] = board
    return [*largest.values()]


def _title(key: BoardKey) -> str:
    return f"{key.suite}, {key.model}, {key.dataset}, {key.kind}"


def _average(boards: Sequence[Board], metric: str, score: str, *, tuned: bool) -> Average:
    higher = metric == QUALITY
    labels = dict.fromkeys(row.method for board in boards for row in board.rows)
    rows, lacking = [], []
    for label in labels:
        of_label = [row for board in boards for row in board.rows if row.method == label]
        values = [interval.mean for row in of_label if (interval := row.metrics.get(metric)) is not None]
        if values and len(values) < len(boards):
            lacking.append(f"{label} ({len(values)} of {len(boards)})")
        elif values:
            regime = next((row.regime for row in of_label if row.regime), "")
            worst = min(values) if higher else max(values)
            rows.append(AverageRow(label, regime, of_label[0].reference, fmean(values), worst))
    sign = -1.0 if higher else 1.0
    ordered = sorted(rows, key=lambda row: (sign * row.mean, row.label))
    titles = tuple(_title(board.key) for board in boards)
    return Average(score, higher, tuned, titles, tuple(ordered), tuple(sorted(lacking)))
