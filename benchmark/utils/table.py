"""Tables: the numbers in full as a DataFrame, and what people see of them, in six formats.

Everything that this project shows in rows and columns is a `Table`. Programs (CSV, JSON, pandas) get its `frame`;
people (terminal, Markdown, LaTeX, HTML) get the texts of its columns, which are made from the same frame.
"""

from __future__ import annotations

import json
import shutil
import textwrap
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

from benchmark.utils.markup import csv_cell, html_text, latex_row, markdown_row, plain_line

if TYPE_CHECKING:
    import pandas as pd

Format = Literal["table", "markdown", "csv", "json", "latex", "html"]
FORMATS: tuple[Format, ...] = get_args(Format)
_WIDTH = 160
"""Columns of text where no terminal says otherwise; our choice: a class board fits."""
_GAP = 3
"""Blanks between two columns of text."""


@dataclass(frozen=True)
class TableColumn:
    """A column as people see it.

    Attributes:
        head: Its name, with an arrow where one direction is better.
        texts: One a row; empty where there is no value.
        words: Whether it holds words, which stand left; numbers stand right.
        folds: Whether its texts may be broken between words.
    """

    head: str
    texts: Sequence[str]
    words: bool = False
    folds: bool = True


@dataclass(frozen=True)
class Table:
    """A table, for people and for programs.

    Attributes:
        title: What it shows; empty for none.
        columns: What people see.
        numbers: What programs get, in full: fractions, seconds, bytes. None where the texts are all that there is.
        lead: What a reader must know first, right below the title.
        notes: What a reader must know, one line each, below the table.
        about: What JSON tells of the table beside its rows.
        folds: Whether cells are broken between words where the terminal is too narrow; otherwise the terminal wraps.
    """

    title: str
    columns: Sequence[TableColumn]
    numbers: pd.DataFrame | None = None
    lead: str = ""
    notes: Sequence[str] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    folds: bool = True

    @classmethod
    def of_texts(
        cls, heads: Sequence[str], rows: Sequence[Sequence[str]], *, words: Collection[int], title: str = ""
    ) -> Table:
        """A table of texts alone.

        Args:
            heads: One a column.
            rows: As many texts as heads.
            words: The places of the columns that hold words.
            title: What it shows.
        """
        texts = zip(*rows, strict=True) if rows else ((),) * len(heads)
        columns = zip(heads, texts, strict=True)
        return cls(
            title,
            [TableColumn(head, column_texts, place in words) for place, (head, column_texts) in enumerate(columns)],
        )

    @property
    def heads(self) -> list[str]:
        """One a column."""
        return [column.head for column in self.columns]

    @cached_property
    def rows(self) -> list[list[str]]:
        """The texts, row by row."""
        return [list(texts) for texts in zip(*(column.texts for column in self.columns), strict=True)]

    @property
    def frame(self) -> pd.DataFrame:
        """The numbers as a DataFrame; without numbers, the texts."""
        import pandas as pd

        return pd.DataFrame(self.rows, columns=self.heads) if self.numbers is None else self.numbers

    def text(self) -> str:
        """The rows for a terminal, with a blank line above and below.

        Where the terminal is too narrow, cells are broken between words, never inside one: a number cut in two is worse
        than a line that the terminal wraps. Columns of words share what columns of numbers leave.
        """
        columns = [[plain_line(text) for text in (column.head, *column.texts)] for column in self.columns]
        widths = [max(map(_width, texts)) for texts in columns]
        room = shutil.get_terminal_size((_WIDTH, 24)).columns - _GAP * len(columns)
        if self.folds and sum(widths) > room:
            words = [
                texts if column.folds else _whole(texts) for column, texts in zip(self.columns, columns, strict=True)
            ]
            widths = _narrowed(widths, room, words, [column.words for column in self.columns])
        head, *rows = ([_folded(t, w) for t, w in zip(row, widths, strict=True)] for row in zip(*columns, strict=True))
        height = max(map(len, head), default=0)
        lines = _lines([[""] * (height - len(cell)) + cell for cell in head], widths, self.columns)
        lines.append(f" {'─' * (sum(widths) + _GAP * (len(widths) - 1))}")
        for row in rows:
            lines += _lines(row, widths, self.columns)
        return "\n".join(["", *lines, ""])

    def markdown(self) -> str:
        """The rows as a Markdown table."""
        rule = "|" + "|".join("---" if column.words else "--:" for column in self.columns) + "|"
        return "\n".join([markdown_row(self.heads), rule, *map(markdown_row, self.rows)])

    def latex_frame(self) -> tuple[str, str]:
        """What stands before and after the rows of a tabular (booktabs); title and notes are comments."""
        comments = [self.title, self.lead, *self.notes, r"needs \usepackage{booktabs}"]
        above = [f"% {' '.join(text.split())}" for text in comments if text]
        kinds = "".join("l" if column.words else "r" for column in self.columns)
        begin = [rf"\begin{{tabular}}{{{kinds}}}", r"\toprule", latex_row(self.heads), r"\midrule"]
        return "\n".join([*above, *begin]), "\n".join([r"\bottomrule", r"\end{tabular}"])

    def html(self) -> str:
        """A section with title, table and notes, to be pasted into a page of any encoding."""
        ends = ["" if column.words else ' style="text-align: right"' for column in self.columns]

        def row(cells: Sequence[str], tag: str, attribute: str = "") -> str:
            pairs = zip(cells, ends, strict=True)
            return f"<tr>{''.join(f'<{tag}{attribute}{end}>{html_text(cell)}</{tag}>' for cell, end in pairs)}</tr>"

        head = ["<table>", "<thead>", row(self.heads, "th", ' scope="col"'), "</thead>", "<tbody>"]
        body = [*(row(cells, "td") for cells in self.rows), "</tbody>", "</table>"]
        below = [f"<p>{html_text(note)}</p>" for note in (self.lead, *self.notes) if note]
        return "\n".join(["<section>", f"<h2>{html_text(self.title)}</h2>", *head, *body, *below, "</section>"])


def render(tables: Sequence[Table], format: Format) -> str:
    """Tables as text, with a newline at the end.

    Args:
        tables: In the order in which they are shown.
        format: "table" (for a terminal), "markdown", "latex" and "html" show texts; "csv" and "json" hold the numbers.
    """
    if format == "csv":
        return _csv(joined([table.frame for table in tables]))
    if format == "json":
        shown = [{"title": t.title, **t.about, "notes": list(t.notes), "rows": records(t.frame)} for t in tables]
        return json.dumps(shown, indent=1, allow_nan=False) + "\n"
    show = {"table": _text, "markdown": _markdown, "latex": _latex, "html": Table.html}[format]
    return "\n".join(f"{show(table)}\n" for table in tables) or f"{'% ' if format == 'latex' else ''}nothing to show\n"


def _text(table: Table) -> str:
    return "\n".join([*(line for line in (table.title, table.lead) if line), table.text(), *table.notes])


def _markdown(table: Table) -> str:
    above = [f"## {table.title}\n"] if table.title else []
    lead = [f"**{table.lead}**\n"] if table.lead else []
    return "\n".join([*above, *lead, table.markdown(), *(f"\n{note}" for note in table.notes)])


def _latex(table: Table) -> str:
    first, last = table.latex_frame()
    return "\n".join([first, *map(latex_row, table.rows), last])


def _csv(frame: pd.DataFrame) -> str:
    from pandas.api.types import is_numeric_dtype

    safe = frame.apply(lambda column: column if is_numeric_dtype(column) else column.map(csv_cell))
    return str(safe.to_csv(index=False, lineterminator="\n"))


def joined(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Tables below each other; a column that one of them lacks is empty there."""
    import pandas as pd

    # The copy joins the blocks of memory: without it, whoever adds a column to a wide table is warned of slowness.
    return pd.concat(frames, ignore_index=True).copy() if frames else pd.DataFrame()


def values(column: pd.Series[Any]) -> list[Any]:
    """The values of a column as Python's own, None where one is missing."""
    from pandas import NA

    # A missing number is NA or NaN, which is not equal to itself: this is ten times faster than notna() a column.
    return [None if value is NA or value != value else value for value in column.tolist()]


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A dictionary a row, None where a value is missing."""
    columns = {str(name): values(column) for name, column in frame.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def number_text(
    value: float | None, scale: float = 1.0, digits: int = 4, *, signed: bool = False, missing: str = ""
) -> str:
    """A number for people.

    Args:
        value: The number; None where there is none.
        scale: What it is multiplied with: 100 for per cent.
        digits: How many decimals.
        signed: Whether a plus sign stands before positive ones.
        missing: What stands for None.
    """
    return missing if value is None else f"{value * scale:{'+' if signed else ''}.{digits}f}"


def ends_text(
    low: float | None, high: float | None, scale: float = 1.0, digits: int = 4, *, signed: bool = False
) -> str:
    """The ends of an interval, such as "[8.1, 16.9]"; empty where they are not known."""
    if low is None or high is None:
        return ""
    return f"[{number_text(low, scale, digits, signed=signed)}, {number_text(high, scale, digits, signed=signed)}]"


def _narrowed(natural: Sequence[int], room: int, columns: Sequence[Sequence[str]], words: Sequence[bool]) -> list[int]:
    """The widths of columns whose texts are broken between words: each at least as wide as its longest word.

    Args:
        natural: How wide they would be.
        room: What they may take together.
        columns: The texts of each, with the head.
        words: Which of them hold words and share what the numbers leave.
    """
    longest = [max(_width(word) for text in texts for word in text.split() or [""]) for texts in columns]
    for cap in range(max(natural), -1, -1):
        shared = zip(longest, natural, words, strict=True)
        widths = [max(least, min(full, cap)) if wordy else least for least, full, wordy in shared]
        if sum(widths) <= room:
            return widths
    return longest


def _whole(texts: Sequence[str]) -> list[str]:
    """As many texts, each one word of the same width."""
    return ["_" * _width(text) for text in texts]


def _width(text: str) -> int:
    """How many places of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(s) in "WF" else not unicodedata.combining(s) for s in text)


def _folded(text: str, width: int) -> list[str]:
    """A text in lines of a width, broken between words."""
    if _width(text) <= width:
        return [text]
    return textwrap.wrap(text, max(1, width), break_long_words=False, break_on_hyphens=False)


def _lines(row: Sequence[Sequence[str]], widths: Sequence[int], columns: Iterable[TableColumn]) -> list[str]:
    """The lines of one row, whose cells may have several."""
    shown = []
    for place in range(max(map(len, row), default=0)):
        cells = []
        for cell, width, column in zip(row, widths, columns, strict=True):
            text = cell[place] if place < len(cell) else ""
            blanks = " " * (width - _width(text))
            cells.append(text + blanks if column.words else blanks + text)
        shown.append(f" {(' ' * _GAP).join(cells)}".rstrip())
    return shown
