"""Boards and comparisons as tables: which columns people see, and how. The numbers are those of their DataFrames.

Tables for people give per cent and costs in handy units; CSV and JSON give fractions, seconds and bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmark.evaluation.catalogue import Column, describe
from benchmark.evaluation.measures.quality import QUALITY, RESIDUAL
from benchmark.leaderboards.against import Against
from benchmark.leaderboards.boards import Board
from benchmark.leaderboards.comparison import Comparison
from benchmark.leaderboards.gold_standard import Gap, JointGap
from benchmark.leaderboards.grouping import BoardKey
from benchmark.leaderboards.meta_evaluation import Trust
from benchmark.leaderboards.notes import BY_CHANCE, DASH, WIDE
from benchmark.leaderboards.pareto import MARK
from benchmark.leaderboards.steps import Steps
from benchmark.utils.statistics import LEAST_VALUES
from benchmark.utils.table import Format, Table, TableColumn, ends_text, number_text, records, values
from benchmark.utils.table import render as render_tables

COST_UNITS = {
    "unlearn_seconds": ("unlearn s", 1.0),
    "cpu_seconds": ("CPU s", 1.0),
    "peak_memory_bytes": ("peak MB", 1e6),
    "flops": ("GFLOP", 1e9),
    "edited_bytes": ("edit kB", 1e3),
}
"""By cost its head, and what it is divided by for people."""
FOUND = "found by"
"""The head of the column with the questions that still find the forget set."""


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
    """A board as a table: rank, tier where there are any, method, what it reads, metrics with intervals, and costs."""
    frame = board.frame
    rows = records(frame[["method", "regime", "rank", "tier", "wide", "front", "found_by", "cells", "expected"]])
    tiers = [f"{row['tier'] or ''}{WIDE * row['wide']}" for row in rows]
    columns = [
        TableColumn("#", [f"{MARK} " * row["front"] + str(row["rank"] or DASH) for row in rows], folds=False),
        *([TableColumn("tier", tiers)] if any(tiers) else []),
        TableColumn("method", [row["method"] for row in rows], words=True),
        TableColumn("reads", [row["regime"] for row in rows], words=True),
        TableColumn("cells", [_share(row["cells"], row["expected"]) for row in rows]),
        *([TableColumn(FOUND, found, words=True)] if any(found := [row["found_by"] for row in rows]) else []),
    ]
    for name in board.columns:
        column = describe(name)
        ends = zip(values(frame[name]), values(frame[f"{name}_low"]), values(frame[f"{name}_high"]), strict=True)
        mark = BY_CHANCE if board.by_chance and name in (QUALITY, RESIDUAL) else ""
        columns.append(
            TableColumn(f"{mark}{head_of(column)}", [_interval(*numbers, *unit_of(column)) for numbers in ends])
        )
    for name in board.costs:
        head, unit = COST_UNITS[name]
        columns.append(TableColumn(f"{head} ↓", [_cost(value, unit) for value in values(frame[name])]))
    about = {"key": board.key._asdict(), "requests": board.requests, "seeds": board.seeds, "columns": board.columns}
    about |= {"ranked_by": board.ranked_by, "by_chance": board.by_chance}
    about |= {"costs": board.costs, "runtime": board.runtime, "chip": board.chip, "chips": board.chips}
    return Table(title(board), columns, frame, notes=board.notes, about=about)


def unit_of(column: Column) -> tuple[float, int]:
    """What a value is multiplied with for people, and how many decimals it then has."""
    return (100.0, 1) if column.percent else (1.0, 3)


def head_of(column: Column) -> str:
    """The name of a metric with the direction that is better."""
    return f"{column.head} {column.direction}".rstrip()


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
    f"{DASH} differences are over requests, each the mean over its seeds, because seeds of one request are not "
    "independent; intervals: Student's t, 95 %",
    f"{DASH} every interval is for one pair and one metric chosen in advance: who looks at many finds "
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
    notes = (*(f"{DASH} {note}" for note in comparison.notes), *COMPARISON_NOTES)
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
        return f"{a} {verdict}{', but skewed' if row['skewed'] else ''}"
    if 0 < requests < LEAST_VALUES:
        return f"{verdict}: {'one request' if requests == 1 else 'two requests'}"
    if requests and row["difference_low"] is None:
        if row["p"] == 1.0:
            return f"{verdict}: equal on every request"
        return f"{verdict}: {requests} equal differences have no spread to judge by"
    return str(verdict)


def render_against(comparisons: Sequence[Against], format: Format) -> str:
    """One row against all others as text, with a newline at the end.

    Args:
        comparisons: As `benchmark.leaderboards.against.against` gives them.
        format: "csv" and "json" are for programs, the others for people.
    """
    return render_tables([against_table(comparison) for comparison in comparisons], format)


def against_table(comparison: Against) -> Table:
    """All other rows beside one, one line each, in the board's order."""
    column = describe(comparison.metric)
    unit = unit_of(column)
    lines = [
        [
            row["method"],
            number_text(row["difference"], *unit, signed=True),
            ends_text(row["difference_low"], row["difference_high"], *unit, signed=True),
            p_text(row["p"]),
            str(row["requests"]),
            f"{row['verdict']}{', but skewed' if row['skewed'] and row['verdict'] != 'not distinguishable' else ''}",
        ]
        for row in records(comparison.frame)
    ]
    heads = ["method", f"{head_of(column)} less that of {comparison.method}", "95 % interval"]
    columns = Table.of_texts([*heads, "p (Holm)", "requests", "verdict"], lines, words=(0, 5)).columns
    notes = tuple(f"{DASH} {note}" for note in comparison.notes)
    about = {"key": comparison.key._asdict(), "metric": comparison.metric, "against": comparison.method}
    return Table(f"{comparison.key} · against {comparison.method}", columns, comparison.frame, notes=notes, about=about)


def p_text(p: float | None) -> str:
    """A p value for people; empty where there is none."""
    if p is None:
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def render_trust(tables: Mapping[BoardKey, Sequence[Trust]], format: Format) -> str:
    """The meta-evaluation as text, with a newline at the end: which measures tell what was removed."""
    return render_tables([_trust_table(key, trusts) for key, trusts in tables.items()], format)


TRUST_NOTES = (
    f"{DASH} AUC: how well a measure tells models trained again without the forget set from models that surely kept it "
    "(original, output filter, noise, a turned text encoder, training on the rest); 1: always, 0.5: a coin",
    f"{DASH} reach: by how much the retrained models lie below the original where they are nearest to it",
    f"{DASH} E is made of those marked ✓, a frozen list; ○ would pass both rules (AUC of .95, reach) as well",
)


def _trust_table(key: BoardKey, trusts: Sequence[Trust]) -> Table:
    import pandas as pd

    lines = []
    for trust in trusts:
        column = describe(trust.metric)
        reach = number_text(trust.reach, *unit_of(column), signed=True)
        mark = "✓" if trust.listed else "○" if trust.informative else ""
        ends = f"[{trust.low:.2f}, {trust.high:.2f}]"
        lines.append([column.head, f"{trust.auc:.2f}", ends, reach, str(trust.retrained), str(trust.kept), mark])
    heads = ["measure", "AUC ↑", "95 % interval", "reach ↑", "retrained", "kept it", "in E"]
    frame = pd.DataFrame(
        [{**key._asdict(), **asdict(trust), "informative": trust.informative} for trust in trusts],
        index=range(len(trusts)),
    )
    columns = Table.of_texts(heads, lines, words=(0, 6)).columns
    return Table(str(key), columns, frame, notes=TRUST_NOTES, about={"key": key._asdict()})


GAP_NOTES = (
    f"{DASH} spread: standard deviation between models trained again from different seeds, pooled over requests",
    f"{DASH} z: how many such spreads the row is from their mean; a large z in a measure with little spread may be a "
    "small difference",
)


def render_gaps(method: str, tables: Mapping[BoardKey, Sequence[Gap]], format: Format) -> str:
    """The gaps of one row to the retrained models, measure by measure, as text with a newline at the end."""
    return render_tables([_gap_table(method, key, gaps) for key, gaps in tables.items()], format)


def _gap_table(method: str, key: BoardKey, gaps: Sequence[Gap]) -> Table:
    import pandas as pd

    lines = []
    for gap in gaps:
        column = describe(gap.metric)
        unit = unit_of(column)
        numbers = [number_text(value, *unit) for value in (gap.value, gap.retrained, gap.spread)]
        lines.append([column.head, *numbers, "" if gap.z is None else f"{gap.z:+.1f}", str(gap.models)])
    columns = Table.of_texts(["measure", method, "retrained", "spread", "z", "models"], lines, words=(0,)).columns
    shared = {**key._asdict(), "method": method}
    frame = pd.DataFrame([{**shared, **asdict(gap)} for gap in gaps], index=range(len(gaps)))
    about = {"key": key._asdict(), "method": method}
    return Table(f"{key} · {method} against the retrained models", columns, frame, notes=GAP_NOTES, about=about)


def render_joint(tables: Mapping[BoardKey, Sequence[JointGap]], format: Format) -> str:
    """Joint beside single retraining, measure by measure, as text with a newline at the end."""
    return render_tables([_joint_table(key, gaps) for key, gaps in tables.items()], format)


JOINT_NOTES = (
    f"{DASH} joint: one model trained without all these classes at once; single: one for each; means over requests",
    f"{DASH} spread: standard deviation between single models of one request, of different seeds",
    f"{DASH} a joint model stands for single ones where the 95 % interval of the difference lies within one spread",
)


def _joint_table(key: BoardKey, gaps: Sequence[JointGap]) -> Table:
    import pandas as pd

    lines, rows = [], []
    for gap in gaps:
        column, difference = describe(gap.metric), gap.difference
        unit = unit_of(column)
        numbers = [number_text(value, *unit) for value in (gap.single, gap.joint)]
        ends = [number_text(end, *unit, signed=True) for end in (difference.low, difference.high) if end is not None]
        between = f"[{', '.join(ends)}]" if ends else ""
        signed = number_text(difference.mean, *unit, signed=True)
        lines.append([column.head, *numbers, signed, between, number_text(gap.spread, *unit), gap.verdict])
        values = {"difference": difference.mean, "low": difference.low, "high": difference.high}
        about = {"metric": gap.metric, "single": gap.single, "joint": gap.joint, "spread": gap.spread}
        rows.append({**key._asdict(), **about, **values, "requests": difference.n, "verdict": gap.verdict})
    heads = ["measure", "single", "joint", "difference", "95 % interval", "spread", "verdict"]
    frame = pd.DataFrame(rows, index=range(len(rows)))
    columns = Table.of_texts(heads, lines, words=(0, 6)).columns
    title = f"{key} · joint against single retraining"
    return Table(title, columns, frame, notes=JOINT_NOTES, about={"key": key._asdict()})


def render_steps(tables: Mapping[BoardKey, Sequence[Steps]], format: Format) -> str:
    """Sequences step by step, as text with a newline at the end."""
    return render_tables([_steps_table(key, rows) for key, rows in tables.items()], format)


STEP_NOTES = (
    f"{DASH} accuracies in per cent after each step; first: of the first request, latest: of the step's own",
    f"{DASH} retain: of the classes that no request of the sequence names, the same images at every step",
    f"{DASH} other: of the other data sets",
)


def _steps_table(key: BoardKey, rows: Sequence[Steps]) -> Table:
    import pandas as pd

    parts = {"first": "first", "latest": "latest", "retained": "retain", "others": "other"}
    numbers = [[value for part in parts for value in getattr(row, part)] for row in rows]
    steps = range(1, len(rows[0].first) + 1)
    heads = ["method", *(f"{head} {step}" for head in parts.values() for step in steps)]
    lines = [
        [row.method, *(number_text(value, 100, 1) for value in line)] for row, line in zip(rows, numbers, strict=True)
    ]
    names = ["method", *(f"{part}/{step}" for part in parts for step in steps)]
    frame = pd.DataFrame([[row.method, *line] for row, line in zip(rows, numbers, strict=True)], columns=names)
    columns = Table.of_texts(heads, lines, words=(0,)).columns
    return Table(str(key), columns, frame, notes=STEP_NOTES, about={"key": key._asdict()})
