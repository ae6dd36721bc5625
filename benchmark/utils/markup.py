"""Text that others chose, in the markup of a paper, a page or a spreadsheet: nothing in it acts as a command."""

from __future__ import annotations

import re
from collections.abc import Sequence
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


def plain_line(text: str) -> str:
    """A text on one line without control characters, which a terminal would act on."""
    line = " ".join(text.split())
    return line if line.isprintable() else "".join(sign if sign.isprintable() else "\ufffd" for sign in line)


def latex_text(text: str) -> str:
    """A text as LaTeX prints it, on one line; a bracket at the start does not count as an option of the line before."""
    plain = "".join(_LATEX.get(sign, sign) for sign in " ".join(text.split()))
    return f"{{{plain[0]}}}{plain[1:]}" if plain[:1] in ("[", "*") else plain


def latex_row(cells: Sequence[str]) -> str:
    """One line of a tabular."""
    return " & ".join(map(latex_text, cells)) + r" \\"


def markdown_row(cells: Sequence[str]) -> str:
    """One line of a Markdown table; bars within a cell are escaped, those that are already escaped stay so."""
    return "| " + " | ".join(re.sub(r"\\?\|", r"\\|", cell) for cell in cells) + " |"


def html_text(text: str) -> str:
    """A text as HTML of ASCII alone: signs beyond it as numbers, so that no encoding can spoil them."""
    return escape(text).encode("ascii", "xmlcharrefreplace").decode()


def csv_cell(value: Any) -> Any:
    """A cell of a CSV file that no spreadsheet takes for a formula: a text that begins like one gets an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
