"""Static figures for papers: SVG and PDF of what the page shows, through matplotlib (extra `figures`)."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmark.evaluation.families import SHOTS
from benchmark.leaderboards.grouping import pair
from benchmark.report.content import Content
from benchmark.report.extras import Curve
from benchmark.report.figure_parts import Figure, head_of, new_axes, plain_text, titled
from benchmark.report.palette import look
from benchmark.report.scatter_figures import deep, trade_off
from benchmark.report.views import LANDMARKS, RELEARNING, Boards
from datamodules.common.errors import BenchmarkError
from datamodules.common.kept_files import replace_file

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
_PANELS = 4
"""Panels of curves in a line."""
_WATCHED = {"watch/forget_accuracy": "-", "watch/retain_accuracy": "--"}
"""The accuracies that share a panel, and their lines: to forget, to keep."""


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
        CannotWriteError: If the disk is full or refuses them.
    """
    check_matplotlib()
    import matplotlib

    written: list[str] = []
    drawers: tuple[Callable[[Boards, Content], Figure | None], ...] = (_scores, trade_off, deep, _relearning, _curves)
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
    parts = "-".join((key.suite, key.model, key.dataset, key.kind, *(("tuned",) if key.tuned else ())))
    return re.sub(r"[^A-Za-z0-9.-]+", "-", parts).strip("-.")[:120] or "board"


def _free(name: str, taken: Sequence[str]) -> str:
    """A name that no other board has: two devices share the rest of their key."""
    if name not in taken:
        return name
    return next(candidate for number in range(2, len(taken) + 3) if (candidate := f"{name}-{number}") not in taken)


def _save(figure: Figure, folder: Path, name: str) -> None:
    from matplotlib import pyplot

    try:
        for ending, date in (("svg", "Date"), ("pdf", "CreationDate")):
            stream = io.BytesIO()
            figure.savefig(stream, format=ending, metadata={date: None})
            replace_file(folder / f"{name}.{ending}", stream.getvalue())
    finally:
        pyplot.close(figure)


def _scores(board: Boards, content: Content) -> Figure | None:
    """What the board ranks by, of each method with its interval."""
    ranked_by = board.whole.board.ranked_by
    rows = [row for row in board.whole.board.rows if row.metrics.get(ranked_by) is not None]
    if not rows:
        return None
    figure, (axes,) = new_axes(4.5, 0.6 + 0.17 * len(rows))
    means = []
    for place, row in enumerate(rows):
        mean = row.metrics[ranked_by]
        if mean is None:
            continue
        drawn = look(row.regime)
        means.append(mean.mean)
        if mean.low is not None and mean.high is not None:
            axes.plot([mean.low, mean.high], [place, place], color=drawn.light, linewidth=1.4, alpha=0.7)
        axes.plot([mean.mean], [place], drawn.marker, color=drawn.light, markersize=4.5)
    axes.set_xlim(0, (max(means) * 1.12) or 1)
    axes.set_yticks(range(len(rows)), [plain_text(row.method) for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel(head_of(ranked_by))
    return titled(figure, board)


def _relearning(board: Boards, content: Content) -> Figure | None:
    """Accuracy after fine-tuning on a few images of the class."""
    lines = {row.method: [row.metrics.get(name) for name in RELEARNING] for row in board.whole.board.rows}
    complete = {name: [100 * m.mean for m in metrics if m is not None] for name, metrics in lines.items()}
    complete = {name: values for name, values in complete.items() if len(values) == len(SHOTS)}
    if not complete:
        return None
    regimes = {row.method: row.regime for row in board.whole.board.rows}
    figure, (axes,) = new_axes(5.2, 3.6)
    for name, values in complete.items():
        drawn = look(regimes[name])
        width = 2.2 if name in LANDMARKS else 1.0
        axes.plot(SHOTS, values, marker=drawn.marker, color=drawn.light, linewidth=width, markersize=3.5)
    axes.set_xscale("log", base=2)
    axes.set_xticks(SHOTS, [str(shots) for shots in SHOTS])
    axes.set_ylim(-2, 102)
    axes.set_xlabel("images of the class")
    axes.set_ylabel(head_of("forget/acc1"))
    ordered = sorted(complete, key=lambda name: complete[name][-1])
    heights = _apart([complete[name][-1] for name in ordered], 5.0)
    for name, height in zip(ordered, heights, strict=True):
        line = {"arrowstyle": "-", "linewidth": 0.4, "color": "0.5", "relpos": (0, 0.5), "shrinkA": 1}
        axes.annotate(
            plain_text(name),
            (SHOTS[-1], complete[name][-1]),
            (SHOTS[-1] * 1.15, height),
            fontsize=6.5,
            va="center",
            arrowprops=line,
            annotation_clip=False,
        )
    return titled(figure, board)


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
    """How accuracy falls while methods unlearn (to keep: dashed) and what they told of their steps, one panel each."""
    panels: dict[tuple[str, str, str], list[tuple[str, Curve]]] = {}
    for label, records in board.whole.rows.items():
        for record in records:
            for curve in content.extras.curves.get(record.key, ()):
                name = "{}, seed {}".format(*pair(record))
                title = "accuracy" if curve.name in _WATCHED else curve.name
                panels.setdefault((label, title, curve.unit), []).append((name, curve))
    if not panels:
        return None
    regimes = {row.method: row.regime for row in board.whole.board.rows}
    columns = min(_PANELS, len(panels))
    rows = -(-len(panels) // columns)
    figure, all_axes = new_axes(1.8 * columns, 1.35 * rows + 0.3, columns, rows)
    for axes, ((label, name, unit), curves) in zip(all_axes, panels.items(), strict=False):
        _panel(axes, curves, look(regimes.get(label, "")).light)
        axes.set_title(plain_text(f"{label}: {name}"), fontsize=6.5)
        axes.set_xlabel(unit, fontsize=6)
    for axes in all_axes[len(panels) :]:
        axes.set_visible(False)
    return titled(figure, board)


def _panel(axes: Any, curves: Sequence[tuple[str, Curve]], colour: str) -> None:
    for _, curve in curves:
        mark, style = "." if len(curve.steps) < 3 else "", _WATCHED.get(curve.name, "-")
        axes.plot(curve.steps, curve.values, color=colour, linewidth=0.8, marker=mark, linestyle=style)
        if curve.name in _WATCHED:
            axes.set_ylim(-0.03, 1.03)
    axes.tick_params(labelsize=6)
