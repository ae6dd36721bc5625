"""One row against all others of its board: the questions that a board of few requests can still answer.

A board of 26 methods asks 325 questions at once, and pays for it; one method against the 25 others asks 25. Holm's
correction is over the rows that it is compared with. Against the leader it is over all pairs of the board: who leads
was chosen by the same requests, and the best of many is best partly by luck.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Literal

from benchmark.evaluation.catalogue import better
from benchmark.leaderboards.comparison import (
    LEAST_REQUESTS,
    Difference,
    Values,
    cell_values,
    p_values,
    paired_difference,
)
from benchmark.leaderboards.grouping import BoardKey, by_board, by_row
from benchmark.leaderboards.scored import with_quality
from benchmark.leaderboards.unscored import requests_with
from benchmark.records.record import Record
from benchmark.utils.statistics import CONFIDENCE, LEAST_VALUES, holm_adjusted
from datamodules.common.errors import UnknownNameError

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.leaderboards.boards import Board

LEADER = "leader"
"""In the place of a method: the first row of each board."""
Verdict = Literal["better", "worse", "not distinguishable"]


@dataclass(frozen=True)
class AgainstRow:
    """One other row.

    Attributes:
        label: Of the row.
        reference: Whether it does not compete.
        difference: The row less the one that it is compared with.
        p: Adjusted for all questions that were asked with this one; None below three requests.
        verdict: What the row is, beside the one that it is compared with.
    """

    label: str
    reference: bool
    difference: Difference
    p: float | None
    verdict: Verdict


@dataclass(frozen=True)
class Against:
    """One row of a board against the others.

    Attributes:
        key: The board.
        metric: What is compared.
        method: The label of the row.
        is_leader: Whether it was chosen for its rank: the correction is then over all pairs.
        questions: How many questions the correction is over.
        requests: How many requests of the board have the metric.
        rows: The others, in the board's order.
    """

    key: BoardKey
    metric: str
    method: str
    is_leader: bool
    questions: int
    requests: int
    rows: tuple[AgainstRow, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know, one line each."""
        over = "all pairs of rows that compete, and these" if self.is_leader else "these rows"
        lines = [
            "differences are over requests, each the mean over its seeds; intervals: Student's t, 95 %, one by one",
            f"verdict and p: Holm's correction over {over} ({self.questions} questions), 95 % together",
        ]
        if self.is_leader:
            lines.append("the leader was chosen by the same requests: its lead is partly luck")
        skewed = [row.label for row in self.rows if row.difference.skewed and row.verdict != "not distinguishable"]
        if skewed:
            lines.append(f"skewed differences, where t may claim too much: {', '.join(skewed)}")
        if self.requests < LEAST_VALUES:
            lines.append("fewer than three requests: nothing can be told apart")
        elif self.requests < LEAST_REQUESTS:
            lines.append(
                f"{self.requests} requests: t is right only if differences are spread evenly about their mean, "
                "which so few cannot show"
            )
        return tuple(lines)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row for each other method, in the metric's unit."""
        import numpy as np
        import pandas as pd

        intervals = [row.difference.difference for row in self.rows]
        columns = {
            "method": [row.label for row in self.rows],
            "reference": [row.reference for row in self.rows],
            **{
                name: np.array([getattr(interval, end, None) for interval in intervals], dtype=float)
                for name, end in (("difference", "mean"), ("difference_low", "low"), ("difference_high", "high"))
            },
            "p": np.array([row.p for row in self.rows], dtype=float),
            "requests": [0 if interval is None else interval.n for interval in intervals],
            "skewed": [row.difference.skewed for row in self.rows],
            "verdict": [row.verdict for row in self.rows],
        }
        shared = {**self.key._asdict(), "metric": self.metric, "against": self.method}
        return pd.DataFrame({**shared, **columns}, index=range(len(self.rows)))


def against(
    records: Iterable[Record], boards: Sequence[Board], method: str, *, metric: str | None = None
) -> list[Against]:
    """One method against all other rows, on every board that has it.

    Args:
        records: Those that the boards were made from.
        boards: The boards.
        method: The label of a row, or `LEADER`.
        metric: What is compared; by default what each board ranks by.

    Raises:
        UnknownNameError: If no board has a row of that name.
    """
    by_key = by_board(with_quality(records))
    comparisons = []
    for board in boards:
        label = leader_of(board) if method == LEADER else method
        name = metric or board.ranked_by
        values = row_values(board, by_key[board.key], name)
        if label in values:
            comparisons.append(board_against(board, values, label, name, is_leader=method == LEADER))
    if not comparisons:
        known = sorted({row.method for board in boards for row in board.rows})
        raise UnknownNameError("method of these boards", method, [*known, LEADER])
    return comparisons


def board_against(
    board: Board, values: Mapping[str, Values], label: str, metric: str, *, is_leader: bool = False
) -> Against:
    """One row of a board against the others.

    Args:
        board: The board.
        values: The metric by row, as `row_values` gives it.
        label: Of the row.
        metric: Full name.
        is_leader: Whether the row was chosen for its rank.
    """
    others = [row for row in board.rows if row.method in values and row.method != label]
    differences = [paired_difference(metric, values[row.method], values[label]) for row in others]
    others_among_themselves: list[Difference] = []
    if is_leader:
        rivals = [row.method for row in board.rows if row.rank is not None and row.method in values]
        pairs = [pair for pair in combinations(rivals, 2) if label not in pair]
        others_among_themselves = [paired_difference(metric, values[a], values[b]) for a, b in pairs]
    raw = p_values([*differences, *others_among_themselves])
    adjusted = holm_adjusted(raw)[: len(others)]
    rows = tuple(
        AgainstRow(row.method, row.reference, d, None if d.p is None else p, _verdict(metric, d, p))
        for row, d, p in zip(others, differences, adjusted, strict=True)
    )
    requests = requests_with(metric, board.requests, board.unscored)
    return Against(board.key, metric, label, is_leader, len(raw), requests, rows)


def row_values(board: Board, records: Iterable[Record], metric: str) -> dict[str, Values]:
    """A metric of the rows of a board that have it in every cell.

    Args:
        board: The board.
        records: Its records, with E, D and Q.
        metric: Full name.
    """
    rows = by_row(records)
    return {
        row.method: cell_values(rows[row.method], metric)
        for row in board.rows
        if row.metrics.get(metric) is not None and row.method in rows
    }


def leader_of(board: Board) -> str:
    """The label of a board's first row; empty where nothing is ranked."""
    return next((row.method for row in board.rows if row.rank == 1), "")


def _verdict(metric: str, difference: Difference, p: float) -> Verdict:
    if difference.difference is None or difference.p is None or p >= 1 - CONFIDENCE:
        return "not distinguishable"
    return "better" if (difference.difference.mean > 0) == (better(metric) == "higher") else "worse"
