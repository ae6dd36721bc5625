"""Boards and comparisons as tables: which columns people see, and how. The numbers are those of their DataFrames.

Tables for people give per cent and costs in handy units; CSV and JSON give fractions, seconds and bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmark.evaluation.catalogue import Column, describe
from benchmark.leaderboards.boards import UNRANKED, Board
from benchmark.leaderboards.comparison import Comparison
from benchmark.leaderboards.pareto import MARK
from benchmark.utils.table import Format, Table, TableColumn, ends_text, number_text, records, values
from benchmark.utils.table import render as render_tables

COST_UNITS = {
    "unlearn_seconds": ("unlearn s", 1.0),
    "peak_memory_bytes": ("peak MB", 1e6),
    "flops": ("GFLOP", 1e9),
    "edited_bytes": ("edit kB", 1e3),
}
"""By cost its head, and what it is divided by for people."""


def render(boards: Sequence[Board], format: Format) -> str:
    """Boards as text, with a newline at the end.

    Args:
        boards: As `benchmark.leaderboards.boards.build` gives them.
        format: "table", "markdown", "latex" and "html" show the columns of each board; "csv" and "json" hold every
            metric.
    """
    return render_tables([board_table(board) for board in boards], format)


def title(board: Board) -> str:
    """The board's key in words, with how many requests and seeds it holds."""
    requests = f"{board.requests} request{'s' if board.requests != 1 else ''}"
    seeds = f"{board.seeds} seed{'s' if board.seeds != 1 else ''}"
    return board.key.title(f"{requests}, {seeds}")


def board_table(board: Board) -> Table:
    """A board as a table: rank, method, what it reads, the board's metrics with intervals, and its costs."""
    frame = board.frame
    rows = records(frame[["method", "regime", "rank", "rank_best", "rank_worst", "front", "cells", "expected"]])
    columns = [
        TableColumn("#", [(f"{MARK} " if row["front"] else "") + str(row["rank"] or UNRANKED) for row in rows]),
        TableColumn("range", [_range(row["rank_best"], row["rank_worst"]) for row in rows]),
        TableColumn("method", [row["method"] for row in rows], words=True),
        TableColumn("reads", [row["regime"] for row in rows], words=True),
        TableColumn("cells", [_share(row["cells"], row["expected"]) for row in rows]),
    ]
    for name in board.columns:
        column = describe(name)
        ends = zip(values(frame[name]), values(frame[f"{name}_low"]), values(frame[f"{name}_high"]), strict=True)
        columns.append(TableColumn(head_of(column), [_interval(*numbers, *unit_of(column)) for numbers in ends]))
    for name in board.costs:
        head, unit = COST_UNITS[name]
        columns.append(TableColumn(f"{head} ↓", [_cost(value, unit) for value in values(frame[name])]))
    about = {"key": board.key._asdict(), "requests": board.requests, "seeds": board.seeds, "columns": board.columns}
    about |= {"costs": board.costs, "chip": board.chip, "chips": board.chips}
    return Table(title(board), columns, frame, notes=board.notes, about=about)


def unit_of(column: Column) -> tuple[float, int]:
    """What a value is multiplied with for people, and how many decimals it then has."""
    return (100.0, 1) if column.percent else (1.0, 3)


def head_of(column: Column) -> str:
    """The name of a metric with the direction that is better."""
    return f"{column.head} {column.direction}".rstrip()


def _range(best: int | None, worst: int | None) -> str:
    """The ranks that a row may hold, "2\u20135", or one alone."""
    if best is None or worst is None:
        return ""
    return str(best) if best == worst else f"{best}\u2013{worst}"


def _share(cells: int, expected: int) -> str:
    return str(cells) if cells == expected else f"{cells}/{expected}"


def _interval(mean: float | None, low: float | None, high: float | None, scale: float, digits: int) -> str:
    """A mean with its interval: "12.3 ±4.2" where that says it, else "12.3 [8.1, 16.9]"."""
    text = number_text(mean, scale, digits)
    if mean is None or low is None or high is None:
        return text
    below, above = number_text(mean - low, scale, digits), number_text(high - mean, scale, digits)
    return f"{text} ±{above}" if below == above else f"{text} {ends_text(low, high, scale, digits)}"


def _cost(value: float | None, unit: float) -> str:
    if value is None:
        return ""
    scaled = value / unit
    return f"{scaled:,.0f}" if scaled >= 100 else f"{scaled:.3g}"


COMPARISON_NOTES = (
    f"{UNRANKED} differences are over requests, each the mean over its seeds, because seeds of one request are not "
    "independent; intervals: Student's t, 95 %",
    f"{UNRANKED} every interval is for one pair and one metric chosen in advance: who looks at many finds "
    "differences by chance",
)


def render_comparisons(comparisons: Sequence[Comparison], format: Format) -> str:
    """Comparisons as text, with a newline at the end.

    Args:
        comparisons: As `benchmark.leaderboards.comparison.compare` gives them.
        format: "csv" and "json" are for programs, the others for people.
    """
    return render_tables([comparison_table(comparison) for comparison in comparisons], format)


def comparison_table(comparison: Comparison) -> Table:
    """Two rows of a board side by side, one line a metric."""
    a, b = comparison.a, comparison.b
    lines = [_comparison_texts(a, row) for row in records(comparison.frame)]
    heads = ["metric", a, b, f"{a} - {b}", "95 % interval", "requests", "verdict"]
    columns = Table.of_texts(heads, lines, words=(0, 6)).columns
    notes = (*(f"{UNRANKED} {note}" for note in comparison.notes), *COMPARISON_NOTES)
    about = {"key": comparison.key._asdict(), "a": a, "b": b}
    return Table(str(comparison.key), columns, comparison.frame, notes=notes, about=about)


def _comparison_texts(a: str, row: dict[str, Any]) -> list[str]:
    column = describe(row["metric"])
    unit = unit_of(column)
    means = [number_text(row[name], *unit) for name in ("mean_a", "mean_b")]
    ends = ends_text(row["difference_low"], row["difference_high"], *unit, signed=True)
    difference = number_text(row["difference"], *unit, signed=True)
    return [head_of(column), *means, difference, ends, str(row["requests"]), _verdict_words(a, row)]


def _verdict_words(a: str, row: dict[str, Any]) -> str:
    """The verdict with who it is about, or why there is none."""
    verdict, requests = row["verdict"], row["requests"]
    if verdict in ("lower", "higher"):
        return f"{a} {verdict}"
    if requests == 1:
        return f"{verdict}: one request"
    if requests and row["difference_low"] is None:
        if row["p"] == 1.0:
            return f"{verdict}: equal on every request"
        return f"{verdict}: {requests} equal differences have no spread to judge by"
    return str(verdict)
