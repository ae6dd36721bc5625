"""shapes: the embedded world. Procedurally drawn scenes with five captions each; no files, no network.

The class of an image is its shape; a concept is a shape, a colour or a texture.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from datamodules.common.card import DatasetCard
from datamodules.common.dataset import LabelSet, SplitName
from datamodules.common.errors import RequestError, UnknownNameError
from datamodules.common.request import ForgetRequest, mentions
from datamodules.shapes_world.captions import CAPTIONS_PER_IMAGE, write_captions
from datamodules.shapes_world.dataset import WorldDataset
from datamodules.shapes_world.drawing import draw
from datamodules.shapes_world.vocabulary import IMAGE_SIZE, TEMPLATES, VOCABULARY, Attribute, sample_scenes

CARD = DatasetCard(
    name="shapes",
    title="The embedded world: drawn scenes of 24 shapes, five captions each (64 px)",
    tasks=("classification", "retrieval"),
    source="generated",
)

Captions = tuple[tuple[str, ...], ...]


class Shapes(WorldDataset):
    """16,000 training, 1,200 validation and 2,400 test scenes (100 a shape), labelled by shape."""

    card = CARD
    attribute = "shape"
    counts = {"train": 16_000, "val": 1_200, "test": 2_400}  # noqa: RUF012

    @property
    def concept_names(self) -> tuple[str, ...]:
        """Colours, textures and shapes."""
        return VOCABULARY["colour"] + VOCABULARY["texture"] + VOCABULARY["shape"]

    def label_sets(self, name: SplitName) -> tuple[LabelSet, ...]:
        """The scenes labelled by shape, colour, texture and background, each with its own templates."""
        scenes = sample_scenes(f"{self.name}/{name}", self.counts[name])
        attributes: tuple[Attribute, ...] = ("shape", "colour", "texture", "background")
        return tuple(LabelSet(VOCABULARY[a], TEMPLATES[a], scenes.values(a)) for a in attributes)

    @property
    def gallery_size(self) -> int:
        """500 of the test scenes: enough to tell models apart, small enough for a sweep on a laptop."""
        return 500


def fresh_split(
    seed: int, count: int, exclude: ForgetRequest | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.int64], Captions]:
    """Draw further training scenes, none of them shared with any split of the data set.

    Args:
        seed: Any integer; each gives other scenes.
        count: Number of scenes returned.
        exclude: Leave out every scene that this request would put in the forget set.

    Returns:
        Images of shape (count, 3, 64, 64), labels of shape (count,) and five captions an image.

    Raises:
        UnknownNameError: If the request names a class that does not exist here.
        RequestError: If the request leaves no scene.
    """
    pixels: list[NDArray[np.uint8]] = []
    labels: list[NDArray[np.int64]] = []
    captions: list[tuple[str, ...]] = []
    while len(captions) < count:
        key = f"fresh/{seed}/{count}/{len(pixels)}"
        scenes = sample_scenes(key, count)
        texts = write_captions(scenes, key, short_forms=True)
        kept = np.flatnonzero(~_forgotten(scenes.shape, texts, exclude))[: count - len(captions)]
        if not len(kept):
            raise RequestError(f"the request {str(exclude)!r} leaves no scene to draw")
        pixels.append(draw(scenes[kept], key))
        labels.append(scenes.shape[kept])
        captions.extend(texts[index] for index in kept)
    if not pixels:
        return np.empty((0, 3, IMAGE_SIZE, IMAGE_SIZE), np.uint8), np.empty(0, np.int64), ()
    return np.concatenate(pixels), np.concatenate(labels), tuple(captions)


def _forgotten(labels: NDArray[np.int64], captions: Captions, request: ForgetRequest | None) -> NDArray[np.bool_]:
    if request is None:
        return np.zeros(len(labels), dtype=bool)
    if request.concept:
        flat = [caption for each in captions for caption in each]
        found = mentions(flat, request.words).reshape(-1, CAPTIONS_PER_IMAGE)
        return np.asarray(found.any(axis=1), dtype=np.bool_)
    names = VOCABULARY["shape"]
    for name in request.classes:
        if name not in names:
            raise UnknownNameError("class of shapes", name, names)
    return np.isin(labels, [names.index(name) for name in request.classes])
