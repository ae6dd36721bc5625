"""A table of a paper: each cell a published number, a measured one, and their difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from benchmark.utils.table import Format, Table, TableColumn
from benchmark.utils.table import render as render_tables

if TYPE_CHECKING:
    import pandas as pd

NOT_KNOWN, NOT_MEASURED = "not known", "not measured"
DIFFERS = "≠"
LEGEND = f"published / measured (difference in points; {DIFFERS} beyond the tolerance)"
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

    def table(self) -> Table:
        """The table for people, one line a row; its numbers are one line a cell, in per cent."""
        columns = [TableColumn("", [label for label, _ in self.rows], words=True)]
        for place, head in enumerate(self.columns):
            columns.append(TableColumn(head, [str(cells[place]) for _, cells in self.rows]))
        notes = (f"Published: {self.source}.", LEGEND)
        about = {"source": self.source, "verdict": self.verdict}
        return Table(self.title, columns, self.frame, lead=self.verdict, notes=notes, about=about, folds=False)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row a cell of the table: published and measured number, in per cent, and their difference in points."""
        import numpy as np
        import pandas as pd

        cells = [
            (label, head, cell)
            for label, row_cells in self.rows
            for head, cell in zip(self.columns, row_cells, strict=True)
        ]
        gaps = [None if cell.difference is None else round(cell.difference, 6) for *_, cell in cells]
        columns = {
            "table": self.title,
            "row": [label for label, *_ in cells],
            "column": [head for _, head, _ in cells],
            "published": np.array([cell.published for *_, cell in cells], dtype=float),
            "measured": np.array([cell.measured for *_, cell in cells], dtype=float),
            "difference": np.array(gaps, dtype=float),
            "tolerance": [cell.tolerance for *_, cell in cells],
            "differs": [cell.differs for *_, cell in cells],
        }
        return pd.DataFrame(columns, index=range(len(cells)))


def render(tables: Sequence[PaperTable], format: Format) -> str:
    """Tables as text, with a newline at the end."""
    return render_tables([table.table() for table in tables], format)
