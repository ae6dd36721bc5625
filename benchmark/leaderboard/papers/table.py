"""A table of a paper: each cell a published number, a measured one, and their difference."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.utils.markup import csv_cell, html_section, latex_table
from benchmark.leaderboard.tables import Format, drawn, markdown_table

NOT_KNOWN, NOT_MEASURED = "not known", "not measured"
DIFFERS = "≠"
BEFORE_TOLERANCE = 1.0
"""Points by which a number of the unedited model may differ: only preprocessing and rounding can move it."""
AFTER_TOLERANCE = 5.0
"""Points by which a number after unlearning may differ; our choice: about one item of the smallest forget classes."""


@dataclass(frozen=True)
class PaperComparison:
    """One cell of a table.

    Attributes:
        published: In per cent; None where it is not known.
        measured: In per cent, mean over the records; None where there is none.
        before: Whether it is a number of the unedited model, be it a row or a column of the table.
    """

    published: float | None
    measured: float | None
    before: bool = False

    @property
    def tolerance(self) -> float:
        """Points by which the two may differ."""
        return BEFORE_TOLERANCE if self.before else AFTER_TOLERANCE

    @property
    def difference(self) -> float | None:
        """Measured less published, in points; None where one of them is missing."""
        return None if self.published is None or self.measured is None else self.measured - self.published

    @property
    def differs(self) -> bool:
        """Whether both are there and differ by more than the tolerance."""
        return self.difference is not None and abs(self.difference) > self.tolerance

    def __str__(self) -> str:
        published = NOT_KNOWN if self.published is None else f"{self.published:.2f}"
        measured = NOT_MEASURED if self.measured is None else f"{self.measured:.2f}"
        if self.published is None and self.measured is None:
            return NOT_KNOWN
        gap = "" if self.difference is None else f" ({self.difference:+.2f}{' ' + DIFFERS if self.differs else ''})"
        return f"{published} / {measured}{gap}"


@dataclass(frozen=True)
class PaperTable:
    """One table.

    Attributes:
        title: What it shows.
        source: Where the published numbers are from, with their grade.
        columns: Heads of the columns of numbers, with the direction that is better.
        rows: Label and cells; one cell a column.
    """

    title: str
    source: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[PaperComparison, ...]], ...]

    def __post_init__(self) -> None:
        for label, cells in self.rows:
            if len(cells) != len(self.columns):
                raise ValueError(f"{self.title}: row {label!r} has {len(cells)} cells for {len(self.columns)} columns")

    @property
    def verdict(self) -> str:
        """What the numbers before forgetting say of all the others; empty where none of them is published."""
        known = [
            (f"{label}, {head}", cell)
            for label, cells in self.rows
            for head, cell in zip(self.columns, cells, strict=True)
            if cell.before and cell.published is not None
        ]
        if not known:
            return ""
        compared = [(where, cell) for where, cell in known if cell.measured is not None]
        if not compared:
            return "Before forgetting: nothing is measured yet, so nothing after it can be compared."
        wrong = [where for where, cell in compared if cell.differs]
        if wrong:
            return (
                f"BEFORE FORGETTING {len(wrong)} OF {len(compared)} NUMBERS DIFFER by more than {BEFORE_TOLERANCE:g} "
                f"point (first: {wrong[0]}): other weights, images or prompts, so nothing after it can be compared."
            )
        return f"Before forgetting: all {len(compared)} measured numbers agree within {BEFORE_TOLERANCE:g} point."


def render(tables: Sequence[PaperTable], format: Format) -> str:
    """Tables as text, with a newline at the end."""
    if format == "json":
        return json.dumps([_plain(table) for table in tables], indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    if format == "csv":
        return _csv(tables)
    show = {"table": _text, "markdown": _markdown, "latex": _latex, "html": _html}[format]
    return "\n".join(map(show, tables))


def _notes(table: PaperTable) -> list[str]:
    return [
        f"Published: {table.source}.",
        f"published / measured (difference in points; {DIFFERS} beyond the tolerance)",
    ]


def _text(table: PaperTable) -> str:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    shown = Table(box=SIMPLE_HEAD, pad_edge=False)
    shown.add_column("", no_wrap=True)
    for head in table.columns:
        shown.add_column(head, justify="right", no_wrap=True)
    for label, cells in table.rows:
        shown.add_row(label, *map(str, cells))
    verdict = [table.verdict] if table.verdict else []
    return "\n".join([table.title, *verdict, drawn(shown), *_notes(table), ""])


def _markdown(table: PaperTable) -> str:
    lines = markdown_table(["", *table.columns], _rows(table), left=(0,))
    verdict = [f"**{table.verdict}**\n"] if table.verdict else []
    return "\n".join([f"## {table.title}\n", *verdict, *lines, *(f"\n{n}" for n in _notes(table)), ""])


def _latex(table: PaperTable) -> str:
    above = [line for line in (table.title, table.verdict, *_notes(table)) if line]
    return "\n".join([*latex_table(["", *table.columns], _rows(table), left=(0,), above=above), ""])


def _html(table: PaperTable) -> str:
    notes = [line for line in (table.verdict, *_notes(table)) if line]
    return "\n".join([*html_section(table.title, ["", *table.columns], _rows(table), left=(0,), notes=notes), ""])


def _rows(table: PaperTable) -> list[list[str]]:
    return [[label, *map(str, cells)] for label, cells in table.rows]


def _csv(tables: Sequence[PaperTable]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["table", "row", "column", "published", "measured", "difference", "tolerance", "differs"])
    for table in tables:
        for label, cells in table.rows:
            for head, cell in zip(table.columns, cells, strict=True):
                gap = None if cell.difference is None else round(cell.difference, 6)
                numbers = [cell.published, cell.measured, gap, cell.tolerance, int(cell.differs)]
                writer.writerow([csv_cell(value) for value in (table.title, label, head, *numbers)])
    return out.getvalue()


def _plain(table: PaperTable) -> dict[str, Any]:
    rows = [
        {
            "row": label,
            "cells": {
                head: {
                    "published": cell.published,
                    "measured": cell.measured,
                    "difference": cell.difference,
                    "tolerance": cell.tolerance,
                    "differs": cell.differs,
                }
                for head, cell in zip(table.columns, cells, strict=True)
            },
        }
        for label, cells in table.rows
    ]
    return {"title": table.title, "source": table.source, "verdict": table.verdict, "rows": rows}
