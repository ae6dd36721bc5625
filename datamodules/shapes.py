"""shapes: the embedded world. Procedurally drawn scenes with five captions each; no files, no network.

The class of an image is its shape; a concept is a shape, a colour or a texture.
"""

from __future__ import annotations

from datamodules.common.card import DatasetCard
from datamodules.common.dataset import LabelSet, Split, SplitName
from datamodules.shapes_world.dataset import WorldDataset
from datamodules.shapes_world.unseen import unseen
from datamodules.shapes_world.vocabulary import TEMPLATES, VOCABULARY, Attribute, sample_scenes

CARD = DatasetCard(
    name="shapes",
    title="The embedded world: drawn scenes of 24 shapes, five captions each (64 px)",
    tasks=("classification", "retrieval"),
    source="generated",
)


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

    def unseen(self, count: int) -> tuple[Split, tuple[LabelSet, ...]]:
        """Scenes drawn and captioned as the training split's are, of another seed."""
        return unseen(count, self.cache_dir)
