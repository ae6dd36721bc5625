"""Boards as the page needs them: every number from the leaderboard, with its text, its reason, and its mark."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from benchmark.evaluation.catalogue import describe, find
from benchmark.evaluation.families import SHOTS
from benchmark.evaluation.measures.quality import DAMAGE, QUALITY, RESIDUAL
from benchmark.leaderboards.against import board_against, leader_of, row_values
from benchmark.leaderboards.boards import Board, Row, build_scored
from benchmark.leaderboards.grouping import BoardKey, Pair, by_board, by_request, by_row, kind_of, pair
from benchmark.leaderboards.pareto import axes_of, pareto_front
from benchmark.leaderboards.tables import COST_UNITS, FOUND, against_table, board_table, unit_of
from benchmark.records.failures import Failure
from benchmark.records.record import Record
from benchmark.report.overview import overview
from benchmark.report.reasons import empty_cost, empty_metric, missing_cells, pair_of
from benchmark.utils.markup import latex_row
from benchmark.utils.statistics import LEAST_VALUES, Interval
from datamodules.common.errors import RequestError

LANDMARKS = ("original", "retrain")
"""The rows between which all others lie: nothing forgotten, and never seen; named as in `suites.expansion`."""
DEEP = (
    *("forget/probe_acc1", "forget/relearn_acc1@16", "forget/soft_prompt_acc1", "forget/worst_prompt_acc1"),
    *("forget/quantised_acc1@4", "forget/pruned_acc1", "forget/noised_acc1", "retain/relearn_acc1@16"),
)
RELEARNING = tuple(f"forget/relearn_acc1@{shots}" for shots in SHOTS)
_FIXED = ("method", "reads", "cells")
_FOUND = "found_by"


@dataclass(frozen=True)
class View:
    """One board, or one request of it.

    Attributes:
        board: The rows.
        rows: By label, the records that went into a row.
        why: By label and column, why a cell is empty.
        axes: The metrics of what is left and of what is lost, both better lower: E and D; without E the accuracy or
            recall on the forget set; None where the board has neither.
    """

    board: Board
    rows: Mapping[str, Sequence[Record]]
    why: Mapping[str, Mapping[str, str]]
    axes: tuple[str, str] | None

    @cached_property
    def edge(self) -> frozenset[str]:
        """The competing rows of which none leaves less and loses less than another (Pareto)."""
        if self.axes is None:
            return frozenset()
        rows = [row for row in self.board.rows if not row.reference]
        points = [[row.mean(name) for name in self.axes] for row in rows]
        return frozenset(rows[place].method for place in pareto_front(points, better=("lower", "lower")))

    @property
    def requests(self) -> list[str]:
        """What is forgotten, in alphabetical order."""
        return sorted({pair(record)[0] for records in self.rows.values() for record in records})


@dataclass(frozen=True)
class Boards:
    """A board with its requests.

    Attributes:
        key: What its rows share.
        records: All of them.
        whole: The view of all requests.
        single: By request, where there are several.
    """

    key: BoardKey
    records: Sequence[Record]
    whole: View
    single: Mapping[str, View]


def views(records: Sequence[Record], failures: Sequence[Failure], references: Collection[str]) -> list[Boards]:
    """The boards of some records, each as a whole and request by request.

    Args:
        records: In any order, with E, D and Q.
        failures: Cells without a record; a method that failed everywhere is a row without numbers.
        references: Names of the methods that do not compete.
    """
    boards = []
    for key, board_records in by_board(records).items():
        failed = [failure for failure in failures if _is_of(failure, key)]
        requests = by_request(board_records)
        single = {
            request: _view(
                requests[request],
                [failure for failure in failed if (cell := pair_of(failure)) is not None and cell[0] == request],
                references,
            )
            for request in (sorted(requests) if len(requests) > 1 else ())
        }
        boards.append(Boards(key, board_records, _view(board_records, failed, references), single))
    return boards


def _is_of(failure: Failure, key: BoardKey) -> bool:
    cell = failure.cell
    try:
        kind = kind_of(cell)
    except RequestError:
        return False
    named = (cell["suite"], cell["model"], cell["dataset"], kind, str(cell.get("precision", key.precision)))
    same = named == tuple(key)[:5] and str(cell.get("tuned") or "") == key.tuned
    return same and pair_of(failure) is not None


def _view(records: Sequence[Record], failures: Sequence[Failure], references: Collection[str]) -> View:
    ((key, board_records),) = by_board(records).items()
    present = {record.cell["method"] for record in board_records}
    expected: dict[tuple[BoardKey, str], set[Pair]] = {}
    for failure in failures:
        cell = pair_of(failure)
        if failure.cell["method"] not in present and cell is not None:
            expected.setdefault((key, failure.cell["method"]), set()).add(cell)
    (board,) = build_scored(board_records, expected, references=references)
    rows: dict[str, list[Record]] = by_row(board_records)
    requests = {pair(record)[0] for record in board_records}
    why = {}
    for row in board.rows:
        row_records = rows.setdefault(row.method, [])
        seeds = {record.cell["seed"] for record in row_records}
        cells = expected.get((key, row.method), {(request, seed) for request in requests for seed in seeds})
        method = row_records[0].cell["method"] if row_records else row.method
        failed = [failure for failure in failures if failure.cell["method"] == method]
        why[row.method] = _reasons(board, row, row_records, missing_cells(row, row_records, cells, failed))
    return View(board, rows, why, _trade_off(board))


def _trade_off(board: Board) -> tuple[str, str] | None:
    """What the trade-off plot has on its axes."""
    if not any(row.metrics.get(DAMAGE) for row in board.rows):
        return None
    if any(row.metrics.get(RESIDUAL) for row in board.rows if not row.reference):
        return RESIDUAL, DAMAGE
    by_name = axes_of(board.columns)
    return None if by_name is None else (by_name[0], DAMAGE)


def inline(board: Board) -> list[str]:
    """The labels of a board's rows by its score, baselines where theirs puts them; rows without a score last."""
    sign = -1.0 if board.ranked_by == QUALITY else 1.0

    def place(row: Row) -> tuple[bool, float, bool, str]:
        score = row.mean(board.ranked_by)
        return score is None, sign * (score or 0.0), row.reference, row.method

    return [row.method for row in sorted(board.rows, key=place)]


def _reasons(board: Board, row: Row, records: Sequence[Record], missing: str) -> dict[str, str]:
    metrics = [name for name in board.columns if row.metrics.get(name) is None]
    costs = [name for name in board.costs if row.costs.get(name) is None]
    reasons = {name: missing or empty_metric(name, records) for name in metrics}
    return reasons | {name: missing or empty_cost(records) for name in costs}


def plain(view: View, regimes: Mapping[str, str], own: Collection[str] = ()) -> dict[str, Any]:
    """A view as JSON for the page.

    Args:
        view: The view.
        regimes: By method, for rows without records.
        own: Keys of the records that are marked as the user's.
    """
    board = replace(
        view.board,
        rows=tuple(row if row.regime else replace(row, regime=regimes.get(row.method, "")) for row in view.board.rows),
    )
    table = board_table(board)
    deep = [name for name in DEEP if any(row.metrics.get(name) for row in board.rows)]
    relearning = [name for name in RELEARNING if any(row.metrics.get(name) for row in board.rows)]
    scores = [name for name in (QUALITY, RESIDUAL, DAMAGE) if any(row.metrics.get(name) for row in board.rows)]
    wanted = list(dict.fromkeys((board.ranked_by, *board.columns, *scores, *(view.axes or ()), *deep, *relearning)))
    found = [_FOUND] if FOUND in table.heads else []
    return {
        "title": table.title,
        "heads": table.heads,
        "names": ["rank", *(["tier"] if "tier" in table.heads else []), *_FIXED, *found, *board.columns, *board.costs],
        "ranked_by": board.ranked_by,
        "metrics": {name: _described(name) for name in wanted},
        "costs": {name: {"head": COST_UNITS[name][0], "unit": COST_UNITS[name][1]} for name in board.costs},
        "axes": view.axes,
        "overview": overview(board, view.requests),
        "order": inline(board),
        "deep": deep,
        "relearning": relearning,
        "notes": list(board.notes),
        "latex": table.latex_frame(),
        "rows": [
            _row(view, row, texts, wanted) | {"own": any(record.key in own for record in view.rows[row.method])}
            for row, texts in zip(board.rows, table.rows, strict=True)
        ],
    }


def beside(boards: Boards) -> dict[str, Any]:
    """Each row of a board beside all others, as JSON for the page: the leader first; empty where requests are too few.

    Args:
        boards: The board.
    """
    board = boards.whole.board
    if board.requests < LEAST_VALUES:
        return {}
    values = row_values(board, boards.records, board.ranked_by)
    leader = leader_of(board)
    tables = [
        against_table(board_against(board, values, label, board.ranked_by, is_leader=label == leader))
        for label in sorted(values, key=lambda label: label != leader)
    ]
    return {
        str(table.about["against"]): {
            "heads": list(table.heads),
            "rows": [list(row) for row in table.rows],
            "notes": list(table.notes),
        }
        for table in tables
    }


def _described(name: str) -> dict[str, Any]:
    column, measure = describe(name), find(name)
    scale, digits = unit_of(column)
    words = {"head": column.head, "direction": column.direction, "scale": scale, "digits": digits}
    return {**words, "title": "" if measure is None else measure.title}


def _row(view: View, row: Row, texts: Sequence[str], wanted: Sequence[str]) -> dict[str, Any]:
    return {
        "label": row.method,
        "method": view.rows[row.method][0].cell["method"] if view.rows[row.method] else row.method,
        "regime": row.regime,
        "reference": row.reference,
        "landmark": row.method in LANDMARKS,
        "rank": row.rank,
        "best": row.rank_best,
        "worst": row.rank_worst,
        "tier": row.tier,
        "first": row.in_first_tier,
        "front": row.front,
        "edge": row.method in view.edge,
        "brought": row.brought,
        "texts": texts,
        "numbers": {name: _ends(row.metrics.get(name)) for name in wanted},
        "costs": dict(row.costs),
        "why": dict(view.why[row.method]),
        "latex": latex_row(texts),
    }


def _ends(interval: Interval | None) -> list[float | None] | None:
    return None if interval is None else [interval.mean, interval.low, interval.high]
