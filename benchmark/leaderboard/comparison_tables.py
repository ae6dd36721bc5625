"""Comparisons as text: a table for the terminal, Markdown, HTML, LaTeX, CSV and JSON.

Tables for people give per cent, and differences in points; CSV and JSON give fractions.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from benchmark.evaluation.catalogue import describe
from benchmark.leaderboard.boards import UNRANKED
from benchmark.leaderboard.comparison import Comparison, Difference
from benchmark.leaderboard.grouping import BoardKey
from benchmark.leaderboard.markup import csv_cell, html_section, latex_table
from benchmark.leaderboard.tables import Format, markdown_table, text_table, unit_of
from benchmark.utils.statistics import Interval

NOTES = (
    f"{UNRANKED} differences are over requests, each the mean over its seeds, because seeds of one request are not "
    "independent; intervals: Student's t, 95 %",
    f"{UNRANKED} every interval is for one pair and one metric chosen in advance: who looks at many finds "
    "differences by chance",
)
_WORDS = (0, 6)
"""The places of the columns that are words: metric and verdict."""


def render(comparisons: Sequence[Comparison], format: Format) -> str:
    """Comparisons as text, with a newline at the end.

    Args:
        comparisons: As `benchmark.leaderboard.comparison.compare` gives them.
        format: "csv" and "json" are for programs, the others for people.
    """
    if format == "csv":
        return _csv(comparisons)
    if format == "json":
        return json.dumps([_plain(each) for each in comparisons], indent=1, allow_nan=False) + "\n"
    blocks = []
    for each in comparisons:
        heads = ["metric", each.a, each.b, f"{each.a} - {each.b}", "95 % interval", "requests", "verdict"]
        rows = [_texts(each, difference) for difference in each.differences]
        notes = [*(f"{UNRANKED} {note}" for note in each.notes), *NOTES]
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


def _texts(comparison: Comparison, each: Difference) -> list[str]:
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
    return [head, *means, difference, ends, str(found.n), _words(comparison, each, found)]


def _words(comparison: Comparison, each: Difference, found: Interval) -> str:
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


def _csv(comparisons: Sequence[Comparison]) -> str:
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


def _plain(comparison: Comparison) -> dict[str, Any]:
    differences = [{**asdict(each), "verdict": each.verdict} for each in comparison.differences]
    return {**asdict(comparison), "key": comparison.key._asdict(), "differences": differences}
