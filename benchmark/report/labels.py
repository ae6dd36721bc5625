"""Names beside the points of a scatter plot that do not overlap; one that finds no room is left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

SIZE = 6.5
_AWAY = (5.0, 9.0, 15.0, 23.0, 33.0)
"""Distances from a point that are tried, in points."""
_WAYS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
_POINT = 4.5
"""Half the side of the square that a point takes, in points."""
Box = tuple[float, float, float, float]


def place_labels(axes: Any, points: Sequence[tuple[str, float, float, float]]) -> None:
    """Write labels, the weightiest first.

    Args:
        axes: Of matplotlib, with its limits set, on a figure that is laid out.
        points: Label, x and y in the units of the axes, and weight.
    """
    figure = axes.figure
    per_point = figure.dpi / 72
    frame = axes.get_window_extent()
    places = [tuple(float(v) / per_point for v in axes.transData.transform((x, y))) for _, x, y, _ in points]
    taken: list[Box] = [(x - _POINT, y - _POINT, x + _POINT, y + _POINT) for x, y in places]
    inside = tuple(float(v) / per_point for v in (frame.x0, frame.y0, frame.x1, frame.y1))
    order = sorted(range(len(points)), key=lambda index: -points[index][3])
    for index in order:
        label, (x, y) = points[index][0], places[index]
        room = _room(x, y, 0.58 * SIZE * len(label), taken, inside)
        if room is None:
            continue
        box, far = room
        taken.append(box)
        at = ((box[0] + box[2]) / 2 - x, (box[1] + box[3]) / 2 - y)
        line = {"arrowstyle": "-", "linewidth": 0.4, "color": "0.4", "shrinkA": 0, "shrinkB": 0} if far else None
        where = {"xytext": at, "textcoords": "offset points", "ha": "center", "va": "center"}
        axes.annotate(label, points[index][1:3], fontsize=SIZE, arrowprops=line, **where)


def _room(x: float, y: float, width: float, taken: Sequence[Box], inside: Sequence[float]) -> tuple[Box, bool] | None:
    """The first free box near a point, and whether it is far enough to need a line."""
    for away in _AWAY:
        for right, up in _WAYS:
            left = x + right * away - (0 if right > 0 else width if right < 0 else width / 2)
            low = y + up * (away + SIZE / 2) - SIZE / 2
            box = (left, low, left + width, low + SIZE)
            clear = not any(
                box[0] < other[2] and box[2] > other[0] and box[1] < other[3] and box[3] > other[1] for other in taken
            )
            if clear and box[0] > inside[0] and box[1] > inside[1] and box[2] < inside[2] and box[3] < inside[3]:
                return box, away > _AWAY[1]
    return None
