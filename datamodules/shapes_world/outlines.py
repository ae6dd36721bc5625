"""The outlines of the world's shapes, and their signed distance fields.

An outline is one or more closed loops (even-odd rule: a second loop is a hole), y upwards, centred in
its bounding box, whose longer side is 2. Curves are dense polygons.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from datamodules.shapes_world.vocabulary import VOCABULARY

Points = NDArray[np.float64]

FIELD_SIDE = 128
"""Samples of a distance field along each side."""
FIELD_EXTENT = 1.6
"""A distance field covers [-FIELD_EXTENT, FIELD_EXTENT] in both directions."""


def _loop(*points: tuple[float, float]) -> Points:
    return np.array(points, dtype=np.float64)


def _arc(start: float, stop: float, count: int = 60, *, radius: float = 1.0, centre_x: float = 0.0) -> Points:
    angles = np.deg2rad(np.linspace(start, stop, count))
    return np.stack([centre_x + radius * np.cos(angles), radius * np.sin(angles)], axis=1)


def _regular(sides: int) -> Points:
    """A regular polygon with one corner on top."""
    return _arc(90, 450, sides + 1)[:-1]


def _star(points: int, inner: float) -> Points:
    """A star with one point on top; `inner` is the radius of its notches, the tips being at 1."""
    corners = _regular(2 * points)
    corners[1::2] *= inner
    return corners


def _rotated(loop: Points, degrees: float) -> Points:
    turn = np.deg2rad(degrees)
    turned: Points = loop @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return turned


def _cross(half: float = 0.3) -> Points:
    arm = _loop((-half, 1), (half, 1), (half, half))
    return np.concatenate([_rotated(arm, -quarter) for quarter in (0, 90, 180, 270)])


def _crescent() -> Points:
    """The unit disc less a disc of radius 0.78 on its right, the two meeting at 50 degrees."""
    centre_x = 0.5
    tip_x, tip_y = np.cos(np.deg2rad(50)) - centre_x, np.sin(np.deg2rad(50))
    radius, tip = float(np.hypot(tip_x, tip_y)), float(np.rad2deg(np.arctan2(tip_y, tip_x)))
    inner = _arc(360 - tip, tip, 40, radius=radius, centre_x=centre_x)
    return np.concatenate([_arc(50, 310), inner[1:-1]])


def _heart() -> Points:
    t = np.linspace(0, 2 * np.pi, 80, endpoint=False)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([16 * np.sin(t) ** 3, y], axis=1)


def _drop() -> Points:
    t = np.linspace(0, 2 * np.pi, 80, endpoint=False)
    return np.stack([np.sin(t) * np.sin(t / 2) ** 1.5, np.cos(t)], axis=1)


def _cloud() -> Points:
    """The outer boundary of five discs, seen from the origin, cut flat below."""
    angles = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    ray = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    reach = np.zeros(len(angles))
    discs = ((-0.68, -0.14, 0.3), (0.68, -0.14, 0.3), (-0.24, 0.3, 0.34), (0.34, 0.26, 0.26), (0, 0, 0.36))
    for x, y, radius in discs:
        along = ray @ np.array([x, y])
        inside = along**2 - (x * x + y * y - radius**2)
        reach = np.maximum(reach, np.where(inside > 0, along + np.sqrt(np.maximum(inside, 0)), 0))
    floor = np.where(ray[:, 1] < -0.05, 0.4 / np.maximum(-ray[:, 1], 0.05), np.inf)
    return ray * np.minimum(reach, floor)[:, None]


_OUTLINES: dict[str, Callable[[], Sequence[Points]]] = {
    "triangle": lambda: [_regular(3)],
    "square": lambda: [_rotated(_regular(4), 45)],
    "pentagon": lambda: [_regular(5)],
    "hexagon": lambda: [_rotated(_regular(6), 30)],
    "circle": lambda: [_arc(0, 354)],
    "ellipse": lambda: [_arc(0, 354) * (1, 0.55)],
    "ring": lambda: [_arc(0, 354), _arc(0, 354, radius=0.48)],
    "crescent": lambda: [_crescent()],
    "semicircle": lambda: [_arc(0, 180)],
    "star": lambda: [_star(5, 0.42)],
    "sparkle": lambda: [_star(4, 0.36)],
    "burst": lambda: [_star(10, 0.62)],
    "cross": lambda: [_cross()],
    "saltire": lambda: [_rotated(_cross(), 45)],
    "arrow": lambda: [_loop((-1, 0.28), (0.05, 0.28), (0.05, 0.78), (1, 0), (0.05, -0.78), (0.05, -0.28), (-1, -0.28))],
    "chevron": lambda: [_loop((-0.7, 1), (-0.05, 1), (0.7, 0), (-0.05, -1), (-0.7, -1), (0.05, 0))],
    "rectangle": lambda: [_loop((-1, 0.5), (1, 0.5), (1, -0.5), (-1, -0.5))],
    "diamond": lambda: [_loop((0, 1), (0.7, 0), (0, -1), (-0.7, 0))],
    "trapezoid": lambda: [_loop((-0.45, 0.65), (0.45, 0.65), (1, -0.65), (-1, -0.65))],
    "parallelogram": lambda: [_loop((-0.4, 0.55), (1, 0.55), (0.4, -0.55), (-1, -0.55))],
    "heart": lambda: [_heart()],
    "drop": lambda: [_drop()],
    "cloud": lambda: [_cloud()],
    "bolt": lambda: [_loop((-0.15, 1), (-0.6, -0.15), (-0.1, -0.15), (-0.35, -1), (0.6, 0.25), (0.1, 0.25), (0.45, 1))],
}


def outline(name: str) -> list[Points]:
    """The loops of a shape, each of shape (P, 2), centred and scaled."""
    loops = _OUTLINES[name]()
    points = np.concatenate(list(loops))
    low, high = points.min(axis=0), points.max(axis=0)
    return [(loop - (low + high) / 2) / ((high - low).max() / 2) for loop in loops]


@cache
def distance_fields() -> NDArray[np.float32]:
    """Signed distance to the outline of every shape, negative inside, in units of the outline.

    Returns:
        Shape (shapes, FIELD_SIDE, FIELD_SIDE); rows run upwards in y, columns rightwards in x.
    """
    axis = np.linspace(-FIELD_EXTENT, FIELD_EXTENT, FIELD_SIDE)
    x, y = (plane.ravel() for plane in np.meshgrid(axis, axis))
    fields = [_signed_distance(outline(name), x, y) for name in VOCABULARY["shape"]]
    return np.stack(fields).reshape(-1, FIELD_SIDE, FIELD_SIDE).astype(np.float32)


def _signed_distance(loops: Sequence[Points], x: Points, y: Points) -> Points:
    nearest = np.full(x.shape, np.inf)
    inside = np.zeros(x.shape, dtype=bool)
    for loop in loops:
        for (ax, ay), (bx, by) in zip(loop, np.roll(loop, -1, axis=0), strict=True):
            dx, dy = bx - ax, by - ay
            along = np.clip(((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy), 0, 1)
            nearest = np.minimum(nearest, (x - ax - along * dx) ** 2 + (y - ay - along * dy) ** 2)
            if dy != 0:
                inside ^= ((ay > y) != (by > y)) & (x < ax + (y - ay) * dx / dy)
    signed: Points = np.where(inside, -1.0, 1.0) * np.sqrt(nearest)
    return signed
