"""The README's picture: what is left of a forgotten class, asked in three ways, and what the rest has paid for it."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from benchmark.leaderboards.boards import Board, Row
from docs.generation.boards import BASELINES, headline_board, headline_rows

MARKS = (
    ("forget/acc1", "asked by name", "name"),
    ("forget/worst_prompt_acc1", "asked in other words", "prompt"),
    ("forget/relearn_acc1@0", "after fine-tuning on the other classes alone", "again"),
)
"""The metrics of the left panel, each with its legend and its style."""
RETAINED = "retain/acc1"
WIDTH, ROW, TOP, BOTTOM = 880, 30, 96, 56
LEFT, SPAN = 190, 400
RIGHT, BAR = 640, 170
STYLE = """
  .page { fill: #ffffff } text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .head { font-weight: 600 } .small { font-size: 11.5px; fill: #59636e } .grid { stroke: #d1d9e0 }
  .span { stroke: #afb8c1; stroke-width: 2 } .name { fill: #0969da } .prompt { fill: #bc4c00 }
  .again { fill: #ffffff; stroke: #8250df; stroke-width: 2.5 } .bar { fill: #2da44e } .rest { fill: #d1d9e0 }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117 } text { fill: #e6edf3 } .small { fill: #9198a1 } .grid { stroke: #3d444d }
    .span { stroke: #656c76 } .name { fill: #4493f8 } .prompt { fill: #f0883e }
    .again { fill: #0d1117; stroke: #ab7df8 } .bar { fill: #3fb950 } .rest { fill: #3d444d }
  }
"""


def picture() -> str:
    """The picture as SVG, with a newline at the end; the same records give the same text."""
    board = headline_board()
    rows = headline_rows(board)
    height = TOP + ROW * len(rows) + BOTTOM
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{_label()}">',
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{height}"/>',
        *_legend(),
        *_axis(height),
    ]
    for number, row in enumerate(rows):
        gap = 8 if row.method not in BASELINES else 0
        lines += _row(row, TOP + ROW * number + ROW / 2 + gap)
    lines += [_text(20, height - 10, _source(board), "small"), "</svg>"]
    return "\n".join(lines) + "\n"


def _label() -> str:
    return (
        "For ten rows of a leaderboard: accuracy on the forgotten class, asked in three ways, and on the other classes"
    )


def _source(board: Board) -> str:
    return (
        f"Suite {board.key.suite}, model {board.key.model}, means over {board.requests} forgotten classes; "
        "from the reference records, by python -m docs.generation.readme"
    )


def _legend() -> Iterator[str]:
    yield _text(LEFT, 20, "Forgotten class: share that is recognised", "head")
    yield _text(RIGHT, 20, "Other classes", "head")
    place = LEFT
    for _, legend, style in MARKS:
        yield _mark(style, place + 6, 42)
        yield _text(place + 18, 46, legend)
        place += 40 + round(6.9 * len(legend))


def _axis(height: int) -> Iterator[str]:
    for value in (0, 25, 50, 75, 100):
        x = LEFT + SPAN * value / 100
        yield f'<line class="grid" x1="{x:g}" y1="{TOP - 8}" x2="{x:g}" y2="{height - BOTTOM + 12}"/>'
        yield _text(x, TOP - 14, f"{value} %", "small", anchor="middle")
    yield _text(RIGHT, TOP - 14, "share that is still recognised", "small")


def _row(row: Row, y: float) -> Iterator[str]:
    values = [(100 * interval.mean, style) for name, _, style in MARKS if (interval := row.metrics.get(name))]
    yield _text(LEFT - 18, y + 4.5, _title(row.method), anchor="end")
    ends = [LEFT + SPAN * value / 100 for value, _ in values]
    if ends:
        yield f'<line class="span" x1="{min(ends):.1f}" y1="{y:g}" x2="{max(ends):.1f}" y2="{y:g}"/>'
    for value, style in reversed(values):
        yield _mark(style, LEFT + SPAN * value / 100, y)
    retained = row.metrics.get(RETAINED)
    if retained is not None:
        share = retained.mean
        yield f'<rect class="rest" x="{RIGHT}" y="{y - 6:g}" width="{BAR}" height="12"/>'
        yield f'<rect class="bar" x="{RIGHT}" y="{y - 6:g}" width="{BAR * share:.1f}" height="12"/>'
        yield _text(RIGHT + BAR + 10, y + 4.5, f"{100 * share:.0f} %")


def _title(method: str) -> str:
    words = {"original": "nothing unlearned", "logit_mask": "output filter", "retrain": "trained without it"}
    return words.get(method, method)


def _mark(style: str, x: float, y: float) -> str:
    if style == "prompt":
        return f'<path class="{style}" d="M{x:.1f} {y - 7:g}l7 7l-7 7l-7 -7z"/>'
    return f'<circle class="{style}" cx="{x:.1f}" cy="{y:g}" r="{5 if style == "again" else 6}"/>'


def _text(x: float, y: float, text: str, style: str = "", *, anchor: str = "start") -> str:
    chosen = f' class="{style}"' if style else ""
    return f'<text{chosen} x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'
