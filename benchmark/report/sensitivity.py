"""Figures of how much tuning gives a method, and how much it depends on its rate: the kept trials, as SVG.

A figure is one data set, model and kind of request, with a panel for each method: the score of every trial over the
learning rate, or over the first hyperparameter with a range where the method has no rate.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from benchmark.suites.tuned.trials import KeptTrial, by_search

PANEL, ACROSS = (210, 150), 4
"""Width and height of a panel, and panels in a line."""
INSET = (34, 30, 12, 34)
"""Left, top, right and bottom margin within a panel."""
_RULES = {
    "text": "font:11px system-ui,sans-serif;fill:currentColor",
    ".head": "font-weight:600",
    ".axis": "stroke:currentColor;opacity:.35",
    ".trial": "fill:#2f81f7;opacity:.75",
    ".untuned": "fill:none;stroke:currentColor;stroke-width:1.5",
    ".best": "fill:none;stroke:#d9730d;stroke-width:2",
    ".failed": "stroke:#cf222e;stroke-width:1.5",
}
_STYLE = "".join(f".trials {selector}{{{rule}}}" for selector, rule in _RULES.items())
"""For what stands in such a figure alone: a style within a page's SVG is the whole page's."""


@dataclass(frozen=True)
class Sensitivity:
    """One figure.

    Attributes:
        title: Data set, kind of request and model.
        score: What was searched for: Q or S.
        svg: The figure; the same trials give the same text.
        trials: How many it shows.
    """

    title: str
    score: str
    svg: str
    trials: int


LEGEND = (
    "Square: before tuning; ring: the setting that was taken; cross: the trial diverged or failed, or ended after its "
    "first request, where others were better."
)
"""What the marks of a figure mean."""


def sensitivity_figures(trials: Iterable[KeptTrial]) -> list[Sensitivity]:
    """The figures of all kept searches, by data set, kind of request and weights."""
    groups: dict[tuple[str, str, str, str], list[list[KeptTrial]]] = {}
    for (dataset, kind, weights, _), of_search in by_search(trials).items():
        groups.setdefault((dataset, kind, weights, of_search[0].score), []).append(of_search)
    figures = []
    for (dataset, kind, _, score), searches in groups.items():
        title = f"{dataset}, forget {kind}, {searches[0][0].model}"
        figures.append(Sensitivity(title, score, _svg(title, searches), sum(map(len, searches))))
    return figures


def axis_of(trials: Sequence[KeptTrial]) -> str:
    """The hyperparameter over which a method's trials are shown; empty for the number of the trial."""
    first = trials[0]
    if first.rate:
        return first.rate
    ranged = (name for name, value in first.values.items() if isinstance(value, float))
    return next(ranged, "")


def _svg(title: str, searches: Sequence[Sequence[KeptTrial]]) -> str:
    width, height = PANEL
    lines, columns = math.ceil(len(searches) / ACROSS), min(ACROSS, len(searches))
    top = _top(searches)
    parts = [
        f'<svg class="trials" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {columns * width} {lines * height}" '
        f'style="max-width:{columns * width}px;width:100%" role="img" '
        f'aria-label="{escape(f"{searches[0][0].score} of every trial over the rate: {title}")}">',
        f"<style>{_STYLE}</style>",
    ]
    for number, trials in enumerate(searches):
        x, y = number % ACROSS * width, number // ACROSS * height
        parts += [f'<g transform="translate({x} {y})">', *_panel(trials, top), "</g>"]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _top(searches: Sequence[Sequence[KeptTrial]]) -> float:
    """The upper end of the score's axis: 1 for Q, the tenth above the highest for S."""
    values = [trial.objective for trials in searches for trial in trials if trial.objective is not None]
    return 1.0 if searches[0][0].score == "Q" else max(1, math.ceil(10 * max(values, default=1.0))) / 10


def _panel(trials: Sequence[KeptTrial], top: float) -> Iterator[str]:
    width, height = PANEL
    left, above, right, below = INSET
    name = axis_of(trials)
    places = {trial.number: float(trial.values[name]) if name else float(trial.number) for trial in trials}
    logarithmic = bool(name) and min(places.values()) > 0
    low, high = min(places.values()), max(places.values())

    def across(value: float) -> float:
        ends = [math.log(v) if logarithmic else v for v in (low, high, value)]
        share = 0.5 if ends[0] == ends[1] else (ends[2] - ends[0]) / (ends[1] - ends[0])
        return left + share * (width - left - right)

    def down(value: float) -> float:
        return above + (1 - value / top) * (height - above - below)

    yield _text(left, 16, trials[0].method, "head")
    yield f'<path class="axis" fill="none" d="M{left} {above}V{height - below}H{width - right}"/>'
    for value in (0.0, top):
        yield _text(left - 5, down(value) + 4, f"{value:g}", anchor="end")
    yield _text(left, height - below + 14, f"{low:g}")
    yield _text(width - right, height - below + 14, f"{high:g}", anchor="end")
    yield _text((left + width - right) / 2, height - 6, name or "trial", anchor="middle")
    yield _text(8, above - 4, trials[0].score)
    known = [trial for trial in trials if trial.objective is not None]
    best = min(known, key=lambda t: -(t.objective or 0.0) if t.score == "Q" else t.objective or 0.0, default=None)
    for trial in trials:
        x = across(places[trial.number])
        said = f"<title>{escape(_said(trial))}</title>"
        if trial.objective is None:
            bottom = height - below
            yield f'<path class="failed" d="M{x - 3:.1f} {bottom - 3}l6 6m0 -6l-6 6">{said}</path>'
            continue
        y = down(trial.objective)
        if trial.number == 0:
            yield f'<rect class="untuned" x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8">{said}</rect>'
        else:
            yield f'<circle class="trial" cx="{x:.1f}" cy="{y:.1f}" r="3">{said}</circle>'
        if trial is best:
            yield f'<circle class="best" cx="{x:.1f}" cy="{y:.1f}" r="7"/>'


def _said(trial: KeptTrial) -> str:
    """A trial in words, shown where the pointer rests on it."""
    values = ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in trial.values.items()
    )
    number = "before tuning" if trial.number == 0 else f"trial {trial.number}"
    without = "ended after the first request, where others were better" if trial.stopped else "failed"
    objective = without if trial.objective is None else f"{trial.score} {trial.objective:.3f}"
    return f"{number}: {objective} ({values})"


def _text(x: float, y: float, text: str, style: str = "", *, anchor: str = "start") -> str:
    chosen = f' class="{style}"' if style else ""
    return f'<text{chosen} x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'
