"""Boards as text: a table for the terminal, Markdown, HTML and LaTeX for a page, CSV and JSON for other programs.

Tables for people give per cent and costs in handy units; CSV and JSON give fractions, seconds and bytes.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from benchmark.evaluation.catalogue import Column, describe
from benchmark.leaderboard.boards import COSTS, UNRANKED, Board, Row
from benchmark.leaderboard.comparison import Comparison, Difference
from benchmark.leaderboard.grouping import BoardKey
from benchmark.utils.markup import csv_cell, html_section, latex_table
from benchmark.leaderboard.pareto import MARK
from benchmark.utils.statistics import Interval

if TYPE_CHECKING:
    from rich.table import Table

Format = Literal["table", "markdown", "csv", "json", "latex", "html"]
FORMATS: tuple[Format, ...] = ("table", "markdown", "csv", "json", "latex", "html")
_WIDTH = 160
"""Columns of text where no terminal says otherwise; our choice: a class board fits."""
WORDS = (2, 3)
"""The places of the columns that are words: method and regime."""
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
        boards: As `benchmark.leaderboard.boards.build` gives them.
        format: "table", "markdown", "latex" and "html" show the columns of each board; "csv" and "json" hold every
            metric.
    """
    if format == "csv":
        return _csv(boards)
    if format == "json":
        return json.dumps([_plain(board) for board in boards], indent=1, allow_nan=False) + "\n"
    if not boards:
        return f"{'% ' if format == 'latex' else ''}no records yet\n"
    show = {"table": _table, "markdown": _markdown, "latex": _latex, "html": _html}[format]
    return "\n".join(map(show, boards))


def title(board: Board) -> str:
    """The board's key in words, with how many requests and seeds it holds."""
    requests = f"{board.requests} request{'s' if board.requests != 1 else ''}"
    seeds = f"{board.seeds} seed{'s' if board.seeds != 1 else ''}"
    return board.key.title(f"{requests}, {seeds}")


def heads(board: Board) -> list[str]:
    """The heads of a board's table, metrics and costs with the direction that is better."""
    columns = [f"{c.head} {c.direction}".rstrip() for c in map(describe, board.columns)]
    return ["#", "range", "method", "reads", "cells", *columns, *(f"{COST_UNITS[name][0]} ↓" for name in board.costs)]


def texts(board: Board, row: Row) -> list[str]:
    """A row as a table for people shows it, one text a head; empty where a mean is."""
    cells = str(row.cells) if row.cells == row.expected else f"{row.cells}/{row.expected}"
    values = [_value(row.metrics.get(name), describe(name)) for name in board.columns]
    costs = [_cost(row.costs.get(name), COST_UNITS[name][1]) for name in board.costs]
    rank = (f"{MARK} " if row.front else "") + (UNRANKED if row.rank is None else str(row.rank))
    return [rank, _range(row), row.method, row.regime, cells, *values, *costs]


def _range(row: Row) -> str:
    """The ranks that a row may hold, "2\u20135", or one alone."""
    if row.rank_best is None or row.rank_worst is None:
        return ""
    return str(row.rank_best) if row.rank_best == row.rank_worst else f"{row.rank_best}\u2013{row.rank_worst}"


def _value(interval: Interval | None, column: Column) -> str:
    """A mean with its interval: "12.3 ±4.2" where that says it, else "12.3 [8.1, 16.9]"."""
    if interval is None:
        return ""
    scale, digits = unit_of(column)
    text = f"{interval.mean * scale:.{digits}f}"
    if interval.low is None or interval.high is None:
        return text
    below = f"{(interval.mean - interval.low) * scale:.{digits}f}"
    above = f"{(interval.high - interval.mean) * scale:.{digits}f}"
    if below == above:
        return f"{text} ±{above}"
    return f"{text} [{interval.low * scale:.{digits}f}, {interval.high * scale:.{digits}f}]"


def unit_of(column: Column) -> tuple[float, int]:
    """What a value is multiplied with for people, and how many decimals it then has."""
    return (100.0, 1) if column.percent else (1.0, 3)


def _cost(value: float | None, unit: float) -> str:
    if value is None:
        return ""
    scaled = value / unit
    return f"{scaled:,.0f}" if scaled >= 100 else f"{scaled:.3g}"


def _rows(board: Board) -> list[list[str]]:
    return [texts(board, row) for row in board.rows]


def _table(board: Board) -> str:
    table = text_table(heads(board), _rows(board), left=WORDS)
    return "\n".join([title(board), table, *board.notes, ""])


def text_table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, left: Collection[int]) -> str:
    """A table for the terminal; the columns named in `left` are words, the others numbers."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    columns = list(zip(heads, *rows, strict=True))
    natural = [max(map(len, texts)) for texts in columns]
    narrow = sum(natural) + 3 * len(natural) > shutil.get_terminal_size((_WIDTH, 24)).columns
    # Break between words where the terminal is too narrow, never inside one: a number cut in two is worse
    # than a line that the terminal wraps. Rich would cut, so the widths are ours.
    words = [max(len(word) for text in texts for word in text.split() or [""]) for texts in columns]
    for place, texts in enumerate(columns):
        width = words[place] if narrow else natural[place]
        table.add_column(texts[0], justify="left" if place in left else "right", width=width)
    for row in rows:
        table.add_row(*row)
    return drawn(table)


def drawn(table: Table) -> str:
    """A rich table as plain text, as wide as it needs to be."""
    from rich.console import Console

    out = Console(file=io.StringIO(), width=10_000, color_system=None, markup=False, highlight=False)
    with out.capture() as captured:
        out.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, left: Collection[int]) -> list[str]:
    """The lines of a Markdown table; the columns named in `left` are words, the others numbers."""
    rule = "|" + "|".join("---" if place in left else "--:" for place in range(len(heads))) + "|"
    return [_markdown_line(heads), rule, *map(_markdown_line, rows)]


def _markdown_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _markdown(board: Board) -> str:
    notes = [f"\n{note}" for note in board.notes]
    return "\n".join([f"## {title(board)}\n", *markdown_table(heads(board), _rows(board), left=WORDS), *notes, ""])


def _latex(board: Board) -> str:
    return "\n".join([*latex_table(heads(board), _rows(board), left=WORDS, above=(title(board), *board.notes)), ""])


def _html(board: Board) -> str:
    return "\n".join([*html_section(title(board), heads(board), _rows(board), left=WORDS, notes=board.notes), ""])


def _csv(boards: Sequence[Board]) -> str:
    metrics = sorted({name for board in boards for row in board.rows for name in row.metrics})
    names = [*BoardKey._fields, "rank", "method", "regime", "reference", "cells", "expected"]
    names += [f"{name}{end}" for name in metrics for end in ("", "_low", "_high")]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*names, *COSTS, "rank_best", "rank_worst", "front", "chip", "chip_cells", "brought"])
    for board in boards:
        for row in board.rows:
            values: list[Any] = [
                row.rank,
                row.method,
                row.regime,
                int(row.reference),
                row.cells,
                row.expected,
            ]
            for name in metrics:
                mean = row.metrics.get(name)
                values += [None] * 3 if mean is None else [mean.mean, mean.low, mean.high]
            values += [*(row.costs.get(name) for name in COSTS), row.rank_best, row.rank_worst, int(row.front)]
            values += [board.chip, row.chip_cells, int(row.brought)]
            writer.writerow([csv_cell(value) for value in (*board.key, *values)])
    return out.getvalue()


def _plain(board: Board) -> dict[str, Any]:
    return {**asdict(board), "key": board.key._asdict()}


COMPARISON_NOTES = (
    f"{UNRANKED} differences are over requests, each the mean over its seeds, because seeds of one request are not "
    "independent; intervals: Student's t, 95 %",
    f"{UNRANKED} every interval is for one pair and one metric chosen in advance: who looks at many finds "
    "differences by chance",
)
_WORDS = (0, 6)
"""The places of the columns that are words: metric and verdict."""


def render_comparisons(comparisons: Sequence[Comparison], format: Format) -> str:
    """Comparisons as text, with a newline at the end.

    Args:
        comparisons: As `benchmark.leaderboard.comparison.compare` gives them.
        format: "csv" and "json" are for programs, the others for people.
    """
    if format == "csv":
        return _comparisons_csv(comparisons)
    if format == "json":
        return json.dumps([_plain_comparison(each) for each in comparisons], indent=1, allow_nan=False) + "\n"
    blocks = []
    for each in comparisons:
        heads = ["metric", each.a, each.b, f"{each.a} - {each.b}", "95 % interval", "requests", "verdict"]
        rows = [_comparison_texts(each, difference) for difference in each.differences]
        notes = [*(f"{UNRANKED} {note}" for note in each.notes), *COMPARISON_NOTES]
        if format == "table":
            blocks.append("\n".join([str(each.key), text_table(heads, rows, left=_WORDS), *notes, ""]))
        elif format == "latex":
            blocks.append("\n".join([*latex_table(heads, rows, left=_WORDS, above=(str(each.key), *notes)), ""]))
        elif format == "html":
            blocks.append("\n".join([*html_section(str(each.key), heads, rows, left=_WORDS, notes=notes), ""]))
        else:
            table = markdown_table(heads, rows, left=_WORDS)
            blocks.append("\n".join([f"## {each.key}\n", *table, *(f"\n{note}" for note in notes), ""]))
    return "\n".join(blocks)


def _comparison_texts(comparison: Comparison, each: Difference) -> list[str]:
    column = describe(each.metric)
    scale, digits = unit_of(column)
    head = f"{column.head} {column.direction}".rstrip()
    found = each.difference
    if found is None or each.mean_a is None or each.mean_b is None:
        return [head, "", "", "", "", "0", each.verdict]
    ends = (
        ""
        if found.low is None or found.high is None
        else (f"[{found.low * scale:+.{digits}f}, {found.high * scale:+.{digits}f}]")
    )
    means = [f"{mean * scale:.{digits}f}" for mean in (each.mean_a, each.mean_b)]
    difference = f"{found.mean * scale:+.{digits}f}"
    return [head, *means, difference, ends, str(found.n), _verdict_words(comparison, each, found)]


def _verdict_words(comparison: Comparison, each: Difference, found: Interval) -> str:
    """The verdict with who it is about, or why there is none."""
    if each.verdict != "not distinguishable":
        return f"{comparison.a} {each.verdict}"
    if found.n == 1:
        return f"{each.verdict}: one request"
    if each.p == 1.0 and found.low is None:
        return f"{each.verdict}: equal on every request"
    if found.low is None:
        return f"{each.verdict}: {found.n} equal differences have no spread to judge by"
    return each.verdict


def _comparisons_csv(comparisons: Sequence[Comparison]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    heads = ["a", "b", "metric", "mean_a", "mean_b", "difference", "difference_low", "difference_high"]
    writer.writerow([*BoardKey._fields, *heads, "p", "requests", "pairs", "verdict"])
    for comparison in comparisons:
        for each in comparison.differences:
            found = each.difference
            ends = [None] * 3 if found is None else [found.mean, found.low, found.high]
            names = [*comparison.key, comparison.a, comparison.b, each.metric]
            counts = [0 if found is None else found.n, each.pairs]
            values = [*names, each.mean_a, each.mean_b, *ends, each.p, *counts, each.verdict]
            writer.writerow([csv_cell(value) for value in values])
    return out.getvalue()


def _plain_comparison(comparison: Comparison) -> dict[str, Any]:
    differences = [{**asdict(each), "verdict": each.verdict} for each in comparison.differences]
    return {**asdict(comparison), "key": comparison.key._asdict(), "differences": differences}
