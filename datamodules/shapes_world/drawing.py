"""Drawing scenes: whole batches at once, from the shapes' signed distance fields."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from datamodules.shapes_world.outlines import FIELD_EXTENT, FIELD_SIDE, distance_fields
from datamodules.shapes_world.vocabulary import IMAGE_SIZE, VOCABULARY, Scenes, generator

Floats = NDArray[np.float32]

BLOCK = 250
"""Scenes drawn together; each block has its own seed."""
RADII = (12.5, 16.5, 21.0)
"""Half the longer side of a small, medium and large shape, in pixels."""
MAX_TURN = 7.0
"""Largest rotation either way in degrees: a square never becomes a diamond."""

_COLOURS = {
    "red": (215, 30, 35),
    "orange": (250, 135, 10),
    "yellow": (245, 220, 35),
    "green": (35, 155, 60),
    "blue": (35, 85, 215),
    "purple": (125, 45, 170),
    "pink": (250, 130, 190),
    "brown": (120, 70, 30),
}
_SECOND_TONES = {"orange": 25, "yellow": 25, "pink": 25}
"""Grey level of the second tone of textures: dark on light colours, light on all others."""
_CORNERS = {
    "centre": (0, 0),
    "top left": (-1, -1),
    "top right": (1, -1),
    "bottom left": (-1, 1),
    "bottom right": (1, 1),
}
_LEVELS = {"white": 244, "black": 14, "grey": 128, "gridded": 215}
_MARGIN = 1.0
_BORDER = 1.7


def draw(scenes: Scenes, key: str) -> NDArray[np.uint8]:
    """Draw scenes with small variations of place, size, angle and tone and with pixel noise.

    Args:
        scenes: N scenes.
        key: Names the draw; the same scenes and key give the same bytes.

    Returns:
        RGB images, shape (N, 3, 64, 64).
    """
    pixels = np.empty((len(scenes), 3, IMAGE_SIZE, IMAGE_SIZE), dtype=np.uint8)
    for start in range(0, len(scenes), BLOCK):
        block = slice(start, start + BLOCK)
        pixels[block] = _draw_block(scenes[block], generator(key, "pixels", start // BLOCK))
    return pixels


def _draw_block(scenes: Scenes, rng: np.random.Generator) -> NDArray[np.uint8]:
    count = len(scenes)
    half = np.array(RADII)[scenes.size] * rng.uniform(0.96, 1.04, count)
    angle = np.deg2rad(rng.uniform(-MAX_TURN, MAX_TURN, count))
    room = IMAGE_SIZE / 2 - _MARGIN - half * (np.cos(angle) + np.abs(np.sin(angle)))
    corner = np.array([_CORNERS[name] for name in VOCABULARY["position"]])[scenes.position]
    place = IMAGE_SIZE / 2 + np.where(
        corner == 0,
        rng.uniform(-1.5, 1.5, (count, 2)),
        corner * room[:, None] * rng.uniform(0.75, 1.0, (count, 2)),
    )
    x, y, radius, turn = (values.astype(np.float32) for values in (place[:, 0], place[:, 1], half, angle))
    distance, across, down = _distances(scenes.shape, x, y, radius, turn)

    background = _backgrounds(scenes.background, rng)[:, None]
    colour = np.array([_COLOURS[name] for name in VOCABULARY["colour"]], dtype=np.float32)[scenes.colour]
    colour += rng.integers(-10, 11, (count, 3))
    tone = np.array([_SECOND_TONES.get(name, 240) for name in VOCABULARY["colour"]], dtype=np.float32)
    faded = scenes.texture == VOCABULARY["texture"].index("faded")
    second = np.where(faded[:, None, None], background[:, 0], tone[scenes.colour, None, None])
    share = _textures(scenes.texture, across, down, radius, rng)
    share *= np.clip(-_BORDER - distance + 0.5, 0, 1)
    ink = colour[:, :, None, None] * (1 - share)[:, None] + (second * share)[:, None]
    cover = np.clip(0.5 - distance, 0, 1)[:, None]
    noise = rng.integers(-6, 7, ink.shape, dtype=np.int8)
    exact: Floats = np.clip(np.rint(background * (1 - cover) + ink * cover) + noise, 0, 255)
    return exact.astype(np.uint8)


def _distances(
    shape: NDArray[np.int64], x: Floats, y: Floats, radius: Floats, turn: Floats
) -> tuple[Floats, Floats, Floats]:
    """Distance to the outline in pixels, and each pixel's place in the shape's own axes, in pixels."""
    axis = np.arange(IMAGE_SIZE, dtype=np.float32) + np.float32(0.5)
    dx = axis[None, None, :] - x[:, None, None]
    dy = axis[None, :, None] - y[:, None, None]
    cos, sin, scale = np.cos(turn)[:, None, None], np.sin(turn)[:, None, None], radius[:, None, None]
    across, down = dx * cos + dy * sin, dy * cos - dx * sin

    step = np.float32(2 * FIELD_EXTENT / (FIELD_SIDE - 1))
    limit = np.float32(FIELD_SIDE - 1.001)
    column = np.clip((across / scale + np.float32(FIELD_EXTENT)) / step, 0, limit)
    row = np.clip((np.float32(FIELD_EXTENT) - down / scale) / step, 0, limit)
    left, low = column.astype(np.int32), row.astype(np.int32)
    column -= left
    row -= low
    field = distance_fields().ravel()
    corner = shape.astype(np.int32)[:, None, None] * FIELD_SIDE**2 + low * FIELD_SIDE + left
    lower = field[corner] * (1 - column) + field[corner + 1] * column
    upper = field[corner + FIELD_SIDE] * (1 - column) + field[corner + FIELD_SIDE + 1] * column
    return (lower * (1 - row) + upper * row) * scale, across, down


def _textures(
    texture: NDArray[np.int64], across: Floats, down: Floats, radius: Floats, rng: np.random.Generator
) -> Floats:
    """The share of the second tone in each pixel, shape (N, 64, 64), in [0, 1]."""
    names = VOCABULARY["texture"]
    share = np.zeros_like(across)
    period = rng.uniform(5.6, 6.8, len(texture)).astype(np.float32)[:, None, None]
    shift = rng.uniform(0, 1, (len(texture), 2)).astype(np.float32)[:, :, None, None]

    def waves(chosen: NDArray[np.bool_], stretch: float) -> tuple[Floats, Floats]:
        turns = 2 * np.pi / (stretch * period[chosen])
        return (
            np.sin(across[chosen] * turns + 2 * np.pi * shift[chosen, 0]).astype(np.float32),
            np.sin(down[chosen] * turns + 2 * np.pi * shift[chosen, 1]).astype(np.float32),
        )

    chosen = texture == names.index("striped")
    share[chosen] = np.clip(0.5 + 2.5 * waves(chosen, 1.0)[1], 0, 1)
    chosen = texture == names.index("dotted")
    share[chosen] = np.clip(0.5 + 2.5 * (np.add(*waves(chosen, 1.05)) - 0.85), 0, 1)
    chosen = texture == names.index("checkered")
    share[chosen] = np.clip(0.5 + 2.5 * np.multiply(*waves(chosen, 1.35)), 0, 1)
    chosen = texture == names.index("faded")
    share[chosen] = np.clip(0.42 + 0.5 * down[chosen] / radius[chosen, None, None], 0, 0.85)
    return share


def _backgrounds(background: NDArray[np.int64], rng: np.random.Generator) -> Floats:
    """Grey levels behind the shapes, shape (N, 64, 64), in [0, 255]."""
    names, count = VOCABULARY["background"], len(background)
    levels = np.array([_LEVELS.get(name, 0) for name in names], dtype=np.float32)[background]
    levels += rng.integers(-8, 9, count)
    pixels = np.tile(levels[:, None, None], (1, IMAGE_SIZE, IMAGE_SIZE))
    shift = rng.integers(0, 8, (count, 2))
    flip = rng.integers(0, 2, count)
    axis = np.arange(IMAGE_SIZE)

    chosen = background == names.index("gridded")
    columns, rows = ((axis + shift[chosen, side, None]) % 8 == 0 for side in (0, 1))
    pixels[chosen] -= 110 * (columns[:, None, :] | rows[:, :, None])
    chosen = background == names.index("noisy")
    grains = rng.integers(70, 190, (int(chosen.sum()), IMAGE_SIZE // 2, IMAGE_SIZE // 2))
    pixels[chosen] = grains.repeat(2, axis=1).repeat(2, axis=2)
    chosen = background == names.index("misty")
    ramp = np.linspace(60, 235, IMAGE_SIZE, dtype=np.float32)
    pixels[chosen] = np.where(flip[chosen, None] == 1, ramp[::-1], ramp)[:, :, None]
    return np.clip(pixels, 0, 255)
