"""Tables for papers, pages and spreadsheets: LaTeX (booktabs), HTML, CSV. Every text is escaped."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from html import escape
from typing import Any

_LATEX = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "≠": r"$\neq$",
    "·": r"$\cdot$",
    "\u2013": "--",
}
"""Signs that LaTeX reads as commands, and those that a font of eight bits lacks."""


def latex_text(text: str) -> str:
    """A text as LaTeX prints it, on one line; a bracket at the start does not count as an option of the line before."""
    plain = "".join(_LATEX.get(sign, sign) for sign in " ".join(text.split()))
    return f"{{{plain[0]}}}{plain[1:]}" if plain[:1] in ("[", "*") else plain


def latex_row(cells: Sequence[str]) -> str:
    """One line of a tabular."""
    return " & ".join(map(latex_text, cells)) + r" \\"


def latex_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, left: Collection[int], above: Sequence[str] = ()
) -> list[str]:
    """The lines of a tabular with the rules of booktabs.

    Args:
        heads: One a column.
        rows: As many cells as heads.
        left: The columns that are words; the others are numbers.
        above: Comments before it, such as the title and what a reader must know.
    """
    first, last = latex_frame(heads, left=left, above=above)
    return [*first, *map(latex_row, rows), *last]


def latex_frame(
    heads: Sequence[str], *, left: Collection[int], above: Sequence[str] = ()
) -> tuple[list[str], list[str]]:
    """The lines before and after the rows of `latex_table`."""
    comments = [f"% {' '.join(text.split())}" for text in (*above, r"needs \usepackage{booktabs}")]
    columns = "".join("l" if place in left else "r" for place in range(len(heads)))
    begin = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", latex_row(heads), r"\midrule"]
    return [*comments, *begin], [r"\bottomrule", r"\end{tabular}"]


def html_section(
    title: str,
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    left: Collection[int],
    notes: Sequence[str] = (),
) -> list[str]:
    """The lines of a section with a title, a table and notes, to be pasted into a page of any encoding.

    Args:
        title: Its heading.
        heads: One a column.
        rows: As many cells as heads.
        left: The columns that are words; the others are numbers.
        notes: Paragraphs below the table.
    """

    def line(cells: Sequence[str], tag: str, attributes: str = "") -> str:
        ends = [
            attributes if place in left else f'{attributes} style="text-align: right"' for place in range(len(cells))
        ]
        shown = (f"<{tag}{end}>{html_text(cell)}</{tag}>" for cell, end in zip(cells, ends, strict=True))
        return f"<tr>{''.join(shown)}</tr>"

    table = ["<table>", "<thead>", line(heads, "th", ' scope="col"'), "</thead>", "<tbody>"]
    table += [line(row, "td") for row in rows]
    table += ["</tbody>", "</table>"]
    below = [f"<p>{html_text(note)}</p>" for note in notes]
    return ["<section>", f"<h2>{html_text(title)}</h2>", *table, *below, "</section>"]


def html_text(text: str) -> str:
    """A text as HTML of ASCII alone: signs beyond it as numbers, so that no encoding can spoil them."""
    return escape(text).encode("ascii", "xmlcharrefreplace").decode()


def csv_cell(value: Any) -> Any:
    """A cell of a CSV file that no spreadsheet takes for a formula: a text that begins like one gets an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
