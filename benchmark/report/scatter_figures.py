"""Static scatter plots: what is left against what is lost, and surface against deep forgetting."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import log
from typing import Any

from benchmark.evaluation.catalogue import describe
from benchmark.evaluation.measures.quality import RESIDUAL
from benchmark.leaderboards.boards import Row
from benchmark.report.content import Content
from benchmark.report.figure_parts import Figure, head_of, new_axes, plain_text, titled
from benchmark.report.labels import place_labels
from benchmark.report.palette import LOOKS, look
from benchmark.report.views import DEEP, LANDMARKS, Boards

QUALITIES = (0.25, 0.5, 0.75, 0.9)
"""Values of Q whose curves are drawn."""
_SMALL, _LARGE = 16.0, 130.0
"""Areas of the cheapest and the dearest point, in square points."""


def trade_off(board: Boards, content: Content) -> Figure | None:
    """What is left against what is lost, cost as size; curves of equal Q where E is there."""
    view = board.whole
    if view.axes is None:
        return None
    points = [(row, row.mean(view.axes[0]), row.mean(view.axes[1])) for row in view.board.rows]
    known = [(row, 100 * left, 100 * lost) for row, left, lost in points if left is not None and lost is not None]
    if not known:
        return None
    figure, (axes,) = new_axes(5.2, 4.0)
    if view.axes[0] == RESIDUAL:
        for quality in QUALITIES:
            curve = equal_quality(quality)
            axes.plot(*zip(*curve, strict=True), linestyle=":", color="0.6", linewidth=0.7, zorder=0)
            axes.annotate(f"Q {quality:g}", curve[-1], (2, 2), textcoords="offset points", fontsize=6, color="0.4")
    _scatter(axes, known, view.board.runtime, view.edge)
    left_head, lost_head = (describe(name).head for name in view.axes)
    axes.set_xlabel(f"left: {left_head} (%)")
    axes.set_ylabel(f"lost: {lost_head} (%)")
    _legend(figure, [row for row, *_ in known])
    titled(figure, board)
    _labelled(figure, [(axes, known)])
    return figure


def equal_quality(quality: float, points: int = 40) -> list[tuple[float, float]]:
    """The points (E, D), in per cent, at which Q has a value: D = 1 - Q a / (2 a - Q) for a = 1 - E.

    Args:
        quality: Between 0 and 1.
        points: How many.
    """
    least = quality / (2 - quality)  # of 1 - E, where D is 0
    shares = (least + (1 - least) * (place / (points - 1)) ** 2 for place in range(points))  # denser where it is steep
    return [(100 * (1 - share), 100 * (1 - quality * share / (2 * share - quality))) for share in shares]


def deep(board: Boards, content: Content) -> Figure | None:
    """Surface against deep forgetting."""
    view, surface = board.whole, "forget/acc1"
    panels = [name for name in DEEP[:2] if any(row.metrics.get(name) for row in view.board.rows)]
    if not panels:
        return None
    figure, all_axes = new_axes(3.6 * len(panels), 3.8, columns=len(panels))
    drawn = []
    for axes, metric in zip(all_axes, panels, strict=True):
        both = [(row, row.metrics.get(surface), row.metrics.get(metric)) for row in view.board.rows]
        known = [(row, 100 * x.mean, 100 * y.mean) for row, x, y in both if x is not None and y is not None]
        axes.plot([0, 100], [0, 100], linestyle=":", color="0.5", linewidth=0.8)
        _scatter(axes, known, view.board.runtime, {row.method for row in view.board.rows if row.front})
        axes.set_xlabel(head_of(surface))
        axes.set_ylabel(head_of(metric))
        drawn.append((axes, known))
    _legend(figure, list(view.board.rows))
    titled(figure, board)
    _labelled(figure, drawn)
    return figure


def _scatter(axes: Any, points: Sequence[tuple[Row, float, float]], runtime: str, front: Collection[str]) -> None:
    area = _areas([row for row, *_ in points], runtime)
    for row, x, y in sorted(points, key=lambda point: -area[point[0].method]):
        drawn = look(row.regime)
        edge = {
            "edgecolors": "black",
            "linewidths": 1.3 if row.method in front else 0.4,
            "alpha": 0.5 if row.reference else 0.85,
        }
        axes.scatter(x, y, s=area[row.method], c=drawn.light, marker=drawn.marker, **edge)
        if row.method in LANDMARKS:
            axes.scatter(x, y, s=240, c="none", marker="o", edgecolors="black", linewidths=0.8)
    axes.set_xlim(-4, 104)
    axes.set_ylim(-4, 104)
    axes.grid(alpha=0.2, linewidth=0.5)


def _labelled(figure: Figure, panels: Sequence[tuple[Any, Sequence[tuple[Row, float, float]]]]) -> None:
    """Name the points, once everything else has its place."""
    figure.canvas.draw()
    figure.set_layout_engine("none")
    for axes, points in panels:
        named = []
        for row, x, y in points:
            weight = 4 * (row.method in LANDMARKS) + 2 * row.front + 1 / (row.rank or 1e6)
            named.append((plain_text(row.method), x, y, weight))
        place_labels(axes, named)


def _areas(rows: Sequence[Row], runtime: str) -> dict[str, float]:
    logs = {row.method: log(cost) for row in rows if (cost := row.costs.get(runtime))}
    low, high = (min(logs.values()), max(logs.values())) if logs else (0.0, 0.0)
    span = (high - low) or 1.0
    return {
        row.method: _SMALL + (_LARGE - _SMALL) * (logs[row.method] - low) / span if row.method in logs else _SMALL
        for row in rows
    }


def _legend(figure: Figure, rows: Sequence[Row]) -> None:
    from matplotlib.lines import Line2D

    used = [name for name in LOOKS if any(row.regime == name for row in rows)]
    handles = [
        Line2D([], [], linestyle="", marker=LOOKS[name].marker, color=LOOKS[name].light, label=f"reads {name}")
        for name in used
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=7)
