"""Static figures for papers: SVG and PDF of what the page shows, through matplotlib (extra `figures`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

from benchmark.evaluation.catalogue import describe
from benchmark.evaluation.families import SHOTS
from benchmark.grouping import pair
from benchmark.leaderboard import RANKED_BY, Row
from benchmark.records import RecordError
from benchmark.report.content import Content
from benchmark.report.extras import Curve
from benchmark.report.labels import place_labels
from benchmark.report.palette import LOOKS, look
from benchmark.report.views import DEEP, LANDMARKS, RELEARNING, Boards, View, point_of
from benchmark.tables import title
from datamodules.errors import BenchmarkError

_STYLE = {
    "font.size": 8.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "clip-unlearning-benchmark",  # the same figure gives the same file
    "pdf.fonttype": 42,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}
_SMALL, _LARGE = 16.0, 130.0
"""Areas of the cheapest and the dearest point, in square points."""
_PANELS = 4
"""Panels of curves in a line."""
Figure = Any


def check_matplotlib() -> None:
    """Check that figures can be drawn.

    Raises:
        BenchmarkError: If matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise BenchmarkError(
            "figures need matplotlib: pip install 'clip-unlearning-benchmark[figures]', "
            "or pip install -e '.[figures]' in a checkout"
        ) from error


def write_figures(content: Content, folder: Path) -> list[str]:
    """Write the figures of every board that has the numbers for them.

    Args:
        content: What there is.
        folder: Made if it is not there; files of the same names are replaced.

    Returns:
        The names of the figures, without endings.

    Raises:
        RecordError: If the disk refuses them.
    """
    check_matplotlib()
    import matplotlib

    written: list[str] = []
    drawers: tuple[Callable[[Boards, Content], Figure | None], ...] = (_scores, _trade_off, _deep, _relearning, _curves)
    with matplotlib.rc_context(_STYLE):
        for board in content.boards:
            for draw in drawers:
                figure = draw(board, content)
                if figure is not None:
                    name = _free(f"{_file_name(board)}-{draw.__name__.strip('_').replace('_', '-')}", written)
                    _save(figure, folder, name)
                    written.append(name)
    return written


def _file_name(board: Boards) -> str:
    key = board.key
    parts = "-".join((key.suite, key.model, key.dataset, key.kind))
    return re.sub(r"[^A-Za-z0-9.-]+", "-", parts).strip("-.")[:120] or "board"


def _free(name: str, taken: Sequence[str]) -> str:
    """A name that no other board has: two devices share the rest of their key."""
    if name not in taken:
        return name
    return next(made for number in range(2, len(taken) + 3) if (made := f"{name}-{number}") not in taken)


def _save(figure: Figure, folder: Path, name: str) -> None:
    from matplotlib import pyplot

    try:
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
        figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})
    except OSError as error:
        raise RecordError(f"cannot write {folder / name}.svg: {error.strerror or error}") from error
    finally:
        pyplot.close(figure)


def _axes(width: float, height: float, columns: int = 1, rows: int = 1) -> tuple[Figure, list[Any]]:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(rows, columns, figsize=(width, height), squeeze=False)
    return figure, list(axes.flat)


def _plain(text: str) -> str:
    """A name as text, not as mathematics."""
    return text.replace("$", r"\$")


def _head(metric: str) -> str:
    column = describe(metric)
    return f"{column.head} {column.direction}{' (%)' if column.percent else ''}"


def _scores(board: Boards, content: Content) -> Figure | None:
    """S of each method with its interval."""
    rows = [row for row in board.whole.board.rows if row.metrics.get(RANKED_BY) is not None]
    if not rows:
        return None
    figure, (axes,) = _axes(4.5, 0.6 + 0.17 * len(rows))
    means = []
    for place, row in enumerate(rows):
        mean = row.metrics[RANKED_BY]
        if mean is None:
            continue
        drawn = look(row.regime)
        means.append(mean.mean)
        if mean.low is not None and mean.high is not None:
            axes.plot([mean.low, mean.high], [place, place], color=drawn.light, linewidth=1.4, alpha=0.7)
        axes.plot([mean.mean], [place], drawn.marker, color=drawn.light, markersize=4.5)
    axes.set_xlim(0, (max(means) * 1.12) or 1)
    axes.set_yticks(range(len(rows)), [_plain(row.method) for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel(_head(RANKED_BY))
    return _titled(figure, board)


def _trade_off(board: Boards, content: Content) -> Figure | None:
    """Forgetting against retention, cost as size."""
    view = board.whole
    if view.axes is None:
        return None
    points = [(row, kept, gone) for row in view.board.rows for gone, kept in [point_of(row, view.axes)]]
    known = [(row, 100 * kept, 100 * gone) for row, kept, gone in points if kept is not None and gone is not None]
    if not known:
        return None
    figure, (axes,) = _axes(5.2, 4.0)
    _scatter(axes, known, view)
    forget, retain = (describe(name).head for name in view.axes)
    axes.set_xlabel(f"kept: {retain} (%)")
    axes.set_ylabel(f"forgotten: 100 − {forget} (%)")
    _legend(figure, [row for row, *_ in known])
    _titled(figure, board)
    _labelled(figure, [(axes, known)], view)
    return figure


def _deep(board: Boards, content: Content) -> Figure | None:
    """Surface against deep forgetting."""
    view, surface = board.whole, "forget/acc1"
    panels = [name for name in DEEP[:2] if any(row.metrics.get(name) for row in view.board.rows)]
    if not panels:
        return None
    figure, all_axes = _axes(3.6 * len(panels), 3.8, columns=len(panels))
    drawn = []
    for axes, metric in zip(all_axes, panels, strict=True):
        both = [(row, row.metrics.get(surface), row.metrics.get(metric)) for row in view.board.rows]
        known = [(row, 100 * x.mean, 100 * y.mean) for row, x, y in both if x is not None and y is not None]
        axes.plot([0, 100], [0, 100], linestyle=":", color="0.5", linewidth=0.8)
        _scatter(axes, known, view)
        axes.set_xlabel(_head(surface))
        axes.set_ylabel(_head(metric))
        drawn.append((axes, known))
    _legend(figure, list(view.board.rows))
    _titled(figure, board)
    _labelled(figure, drawn, view)
    return figure


def _scatter(axes: Any, points: Sequence[tuple[Row, float, float]], view: View) -> None:
    area = _areas([row for row, *_ in points])
    for row, x, y in sorted(points, key=lambda point: -area[point[0].method]):
        drawn, front = look(row.regime), row.method in view.front
        edge = {"edgecolors": "black", "linewidths": 1.3 if front else 0.4, "alpha": 0.5 if row.reference else 0.85}
        axes.scatter(x, y, s=area[row.method], c=drawn.light, marker=drawn.marker, **edge)
        if row.method in LANDMARKS:
            axes.scatter(x, y, s=240, c="none", marker="o", edgecolors="black", linewidths=0.8)
    axes.set_xlim(-4, 104)
    axes.set_ylim(-4, 104)
    axes.grid(alpha=0.2, linewidth=0.5)


def _labelled(figure: Figure, panels: Sequence[tuple[Any, Sequence[tuple[Row, float, float]]]], view: View) -> None:
    """Name the points, once everything else has its place."""
    figure.canvas.draw()
    figure.set_layout_engine("none")
    for axes, points in panels:
        named = []
        for row, x, y in points:
            weight = 4 * (row.method in LANDMARKS) + 2 * (row.method in view.front) + 1 / (row.rank or 1e6)
            named.append((_plain(row.method), x, y, weight))
        place_labels(axes, named)


def _areas(rows: Sequence[Row]) -> dict[str, float]:
    from math import log

    logs = {row.method: log(cost) for row in rows if (cost := row.costs.get("unlearn_seconds"))}
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


def _relearning(board: Boards, content: Content) -> Figure | None:
    """Accuracy after fine-tuning on a few images of the class."""
    lines = {row.method: [row.metrics.get(name) for name in RELEARNING] for row in board.whole.board.rows}
    whole = {name: [100 * m.mean for m in own if m is not None] for name, own in lines.items()}
    whole = {name: values for name, values in whole.items() if len(values) == len(SHOTS)}
    if not whole:
        return None
    regimes = {row.method: row.regime for row in board.whole.board.rows}
    figure, (axes,) = _axes(5.2, 3.6)
    for name, values in whole.items():
        drawn = look(regimes[name])
        width = 2.2 if name in LANDMARKS else 1.0
        axes.plot(SHOTS, values, marker=drawn.marker, color=drawn.light, linewidth=width, markersize=3.5)
    axes.set_xscale("log", base=2)
    axes.set_xticks(SHOTS, [str(shots) for shots in SHOTS])
    axes.set_ylim(-2, 102)
    axes.set_xlabel("images of the class")
    axes.set_ylabel(_head("forget/acc1"))
    ordered = sorted(whole, key=lambda name: whole[name][-1])
    heights = _apart([whole[name][-1] for name in ordered], 5.0)
    for name, height in zip(ordered, heights, strict=True):
        line = {"arrowstyle": "-", "linewidth": 0.4, "color": "0.5", "relpos": (0, 0.5), "shrinkA": 1}
        axes.annotate(
            _plain(name),
            (SHOTS[-1], whole[name][-1]),
            (SHOTS[-1] * 1.15, height),
            fontsize=6.5,
            va="center",
            arrowprops=line,
            annotation_clip=False,
        )
    return _titled(figure, board)


def _apart(heights: Sequence[float], gap: float, top: float = 100.0) -> list[float]:
    """Ascending heights moved so that neighbours are at least a gap apart, and the last is not above the top."""
    moved: list[float] = []
    for height in heights:
        moved.append(height if not moved else max(height, moved[-1] + gap))
    limit = top
    for place in reversed(range(len(moved))):
        moved[place] = min(moved[place], limit)
        limit = moved[place] - gap
    return moved


def _curves(board: Boards, content: Content) -> Figure | None:
    """What methods told of their steps, one panel each."""
    panels: dict[tuple[str, str, str], list[tuple[str, Curve]]] = {}
    for label, records in board.whole.rows.items():
        for record in records:
            for curve in content.extras.curves.get(record.key, ()):
                name = "{}, seed {}".format(*pair(record))
                panels.setdefault((label, curve.name, curve.unit), []).append((name, curve))
    if not panels:
        return None
    regimes = {row.method: row.regime for row in board.whole.board.rows}
    columns = min(_PANELS, len(panels))
    rows = -(-len(panels) // columns)
    figure, all_axes = _axes(1.8 * columns, 1.35 * rows + 0.3, columns, rows)
    for axes, ((label, name, unit), own) in zip(all_axes, panels.items(), strict=False):
        _panel(axes, own, look(regimes.get(label, "")).light)
        axes.set_title(_plain(f"{label}: {name}"), fontsize=6.5)
        axes.set_xlabel(unit, fontsize=6)
    for axes in all_axes[len(panels) :]:
        axes.set_visible(False)
    return _titled(figure, board)


def _panel(axes: Any, own: Sequence[tuple[str, Curve]], colour: str) -> None:
    for _, curve in own:
        axes.plot(curve.steps, curve.values, color=colour, linewidth=0.8, marker="." if len(curve.steps) < 3 else "")
    axes.tick_params(labelsize=6)


def _titled(figure: Figure, board: Boards) -> Figure:
    width = int(17 * figure.get_figwidth())
    figure.suptitle("\n".join(wrap(_plain(title(board.whole.board)), width)), fontsize=6.5)
    return figure
