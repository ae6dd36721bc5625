"""What the static figures share: axes, titles, and names as plain text."""

from __future__ import annotations

from textwrap import wrap
from typing import Any

from benchmark.evaluation.catalogue import describe
from benchmark.leaderboards.tables import title
from benchmark.report.views import Boards

Figure = Any


def new_axes(width: float, height: float, columns: int = 1, rows: int = 1) -> tuple[Figure, list[Any]]:
    """A figure of some inches with its axes, line by line."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(rows, columns, figsize=(width, height), squeeze=False)
    return figure, list(axes.flat)


def plain_text(text: str) -> str:
    """A name as text, not as mathematics."""
    return text.replace("$", r"\$")


def head_of(metric: str) -> str:
    """A metric as an axis names it."""
    column = describe(metric)
    return f"{column.head} {column.direction}{' (%)' if column.percent else ''}"


def titled(figure: Figure, board: Boards) -> Figure:
    """The figure with its board as a title."""
    width = int(17 * figure.get_figwidth())
    figure.suptitle("\n".join(wrap(plain_text(title(board.whole.board)), width)), fontsize=6.5)
    return figure
