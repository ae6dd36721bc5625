"""The mean score of each method over boards, with what it leaves out: a glance, not a test.

A mean over boards hides that they differ in data, model and difficulty, and so it has no interval here. Of boards that
ask the same of the same model one counts, the one with most requests: another suite over the same classes would count
them twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmark.evaluation.measures.quality import QUALITY
from benchmark.leaderboards.boards import Board
from benchmark.leaderboards.grouping import PUBLISHED, BoardKey

CAVEAT = (
    "Each board counts once, however many requests it holds; of boards that ask the same of the same model, the one "
    "with most requests. Boards differ in data, model and difficulty, so a mean over them has no interval and is no "
    "test: read it beside the boards. A method that lacks a board has no mean."
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
        boards: On how many of them it has a score.
        mean: Over all of them; None where it lacks one.
        worst: Its worst score; None likewise.
    """

    label: str
    regime: str
    reference: bool
    boards: int
    mean: float | None
    worst: float | None


@dataclass(frozen=True)
class Average:
    """The methods over the boards of one score.

    Attributes:
        score: "Q" or "S".
        higher: Whether higher is better.
        tuned: Whether the values were searched.
        boards: The boards in words.
        rows: Best mean first, then those without one.
    """

    score: str
    higher: bool
    tuned: bool
    boards: tuple[str, ...]
    rows: tuple[AverageRow, ...]


def averages(boards: Sequence[Board]) -> list[Average]:
    """The means over boards by Q and by S, of untuned and of tuned rows; none of fewer than `LEAST_BOARDS` boards."""
    made = []
    for tuned in (False, True):
        for metric, score in ((QUALITY, "Q"), (PUBLISHED, "S")):
            chosen = _one_each([b for b in boards if bool(b.key.tuned) == tuned and _has(b, metric)])
            if len(chosen) >= LEAST_BOARDS:
                titles = tuple(_title(board.key) for board in chosen)
                made.append(Average(score, metric == QUALITY, tuned, titles, _rows(chosen, metric, metric == QUALITY)))
    return made


def _has(board: Board, metric: str) -> bool:
    """Whether a row that competes has the metric."""
    return any(row.metrics.get(metric) is not None for row in board.rows if not row.reference)


def _one_each(boards: Sequence[Board]) -> list[Board]:
    largest: dict[tuple[str, str, str], Board] = {}
    for board in boards:
        place = (board.key.model, board.key.dataset, board.key.kind)
        if place not in largest or board.requests > largest[place].requests:
            largest[place] = board
    return [*largest.values()]


def _title(key: BoardKey) -> str:
    return f"{key.suite}, {key.model}, {key.dataset}, {key.kind}"


def _rows(boards: Sequence[Board], metric: str, higher: bool) -> tuple[AverageRow, ...]:
    labels = dict.fromkeys(row.method for board in boards for row in board.rows)
    rows = []
    for label in labels:
        of_label = [row for board in boards for row in board.rows if row.method == label]
        values = [interval.mean for row in of_label if (interval := row.metrics.get(metric)) is not None]
        if not values:
            continue
        complete = len(values) == len(boards)
        mean, worst = (fmean(values), (min if higher else max)(values)) if complete else (None, None)
        regime = next((row.regime for row in of_label if row.regime), "")
        rows.append(AverageRow(label, regime, of_label[0].reference, len(values), mean, worst))
    sign = -1.0 if higher else 1.0
    return tuple(sorted(rows, key=lambda row: (row.mean is None, sign * (row.mean or 0.0), row.label)))
