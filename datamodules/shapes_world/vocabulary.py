"""The embedded world: its vocabulary, and scenes drawn at random from it.

A scene is one shape with a colour, a texture and a size, at a position on a background. Every attribute is
balanced and independent of the others. All randomness comes from named seeds, so a split is the same wherever
it is drawn.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Attribute = Literal["shape", "colour", "texture", "size", "position", "background"]

WORLD_VERSION = 1
IMAGE_SIZE = 64
"""Native side of every image in pixels."""

SHAPE_SYNONYMS: dict[str, tuple[str, ...]] = {
    "triangle": ("trigon",),
    "square": ("block",),
    "pentagon": ("five-gon",),
    "hexagon": ("six-gon",),
    "circle": ("disc", "ball"),
    "ellipse": ("oval",),
    "ring": ("annulus", "donut"),
    "crescent": ("moon",),
    "semicircle": ("dome",),
    "star": ("pentagram",),
    "sparkle": ("twinkle",),
    "burst": ("sunburst", "sun"),
    "cross": ("plus sign",),
    "saltire": ("letter x",),
    "arrow": ("pointer",),
    "chevron": ("angle bracket",),
    "rectangle": ("oblong",),
    "diamond": ("rhombus",),
    "trapezoid": ("trapezium",),
    "parallelogram": ("slanted box",),
    "heart": ("valentine",),
    "drop": ("teardrop", "raindrop"),
    "cloud": ("cumulus",),
    "bolt": ("lightning",),
}
COLOUR_SYNONYMS: dict[str, tuple[str, ...]] = {
    "red": ("crimson", "scarlet"),
    "orange": ("tangerine",),
    "yellow": ("golden",),
    "green": ("emerald",),
    "blue": ("azure",),
    "purple": ("violet",),
    "pink": ("rosy",),
    "brown": ("chocolate",),
}
TEXTURE_SYNONYMS: dict[str, tuple[str, ...]] = {
    "solid": ("plain", "uniform"),
    "striped": ("stripy", "banded"),
    "dotted": ("spotted", "speckled"),
    "checkered": ("chequered", "checked"),
    "faded": ("fading", "shaded"),
}
SIZE_SYNONYMS: dict[str, tuple[str, ...]] = {
    "small": ("little", "tiny"),
    "medium": ("midsize", "moderate"),
    "large": ("big", "huge"),
}
POSITION_SYNONYMS: dict[str, tuple[str, ...]] = {
    "centre": ("middle", "center"),
    "top left": ("upper left",),
    "top right": ("upper right",),
    "bottom left": ("lower left",),
    "bottom right": ("lower right",),
}
BACKGROUND_SYNONYMS: dict[str, tuple[str, ...]] = {
    "white": ("blank",),
    "black": ("dark",),
    "grey": ("gray",),
    "gridded": ("lattice",),
    "noisy": ("grainy",),
    "misty": ("hazy",),
}

VOCABULARY: dict[Attribute, tuple[str, ...]] = {
    "shape": tuple(SHAPE_SYNONYMS),
    "colour": tuple(COLOUR_SYNONYMS),
    "texture": tuple(TEXTURE_SYNONYMS),
    "size": tuple(SIZE_SYNONYMS),
    "position": tuple(POSITION_SYNONYMS),
    "background": tuple(BACKGROUND_SYNONYMS),
}
"""The canonical words of each attribute; a scene holds indices into these."""

SYNONYMS: dict[str, tuple[str, ...]] = {
    **SHAPE_SYNONYMS,
    **COLOUR_SYNONYMS,
    **TEXTURE_SYNONYMS,
    **SIZE_SYNONYMS,
    **POSITION_SYNONYMS,
    **BACKGROUND_SYNONYMS,
}
"""Other words for every canonical word. No canonical word is a whole word inside another name or synonym."""

TEMPLATES: dict[Attribute, tuple[str, ...]] = {
    "shape": ("a photo of a {}.", "a picture of a {}.", "a {}."),
    "colour": ("a photo of a {} shape.", "a picture of a {} shape.", "a {} shape."),
    "texture": ("a photo of a {} shape.", "a picture of a {} shape.", "a {} shape."),
    "background": ("a shape on a {} background.", "a photo of a shape on a {} background."),
}
"""Prompt templates of the attributes that serve as classes; the training captions teach these very forms."""


@dataclass(frozen=True)
class Scenes:
    """N scenes, as indices into `VOCABULARY`.

    Attributes:
        shape: Shape (N,), as all others.
        colour: Colour of the shape.
        texture: How the shape is filled.
        size: small, medium or large.
        position: Where the shape is.
        background: What is behind it.
    """

    shape: NDArray[np.int64]
    colour: NDArray[np.int64]
    texture: NDArray[np.int64]
    size: NDArray[np.int64]
    position: NDArray[np.int64]
    background: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.shape)

    def __getitem__(self, chosen: slice | NDArray[np.bool_] | NDArray[np.int64]) -> Scenes:
        """The chosen scenes, in the order chosen."""
        return Scenes(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})

    def values(self, attribute: Attribute) -> NDArray[np.int64]:
        """The indices of one attribute, shape (N,)."""
        values: NDArray[np.int64] = getattr(self, attribute)
        return values

    def words(self, index: int) -> dict[Attribute, str]:
        """The canonical words of one scene."""
        return {attribute: names[self.values(attribute)[index]] for attribute, names in VOCABULARY.items()}


def generator(*key: object) -> np.random.Generator:
    """A random generator whose seed is the sha256 of the world's version and the key."""
    text = "/".join(["shapes", str(WORLD_VERSION), *map(str, key)])
    return np.random.Generator(np.random.PCG64(int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")))


def sample_scenes(key: str, count: int) -> Scenes:
    """Draw scenes whose every attribute is balanced (to within one) and independent of the rest.

    Args:
        key: Names the draw, such as "shapes/test"; the same key and count give the same scenes.
        count: Number of scenes.
    """
    rng = generator(key, "scenes")
    drawn = {name: rng.permutation(np.arange(count) % len(words)) for name, words in VOCABULARY.items()}
    return Scenes(**drawn)
