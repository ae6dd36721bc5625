"""shapes_colours: the embedded world by colour; measures damage to unrelated knowledge."""

from __future__ import annotations

from datamodules.common.card import DatasetCard
from datamodules.shapes_world.dataset import WorldDataset

CARD = DatasetCard(
    name="shapes_colours",
    title="The embedded world labelled by colour: 8 classes, other scenes than `shapes`",
    tasks=("classification",),
    source="generated",
)


class ShapesColours(WorldDataset):
    """2,000 training, 600 validation and 600 test scenes, labelled by colour."""

    card = CARD
    attribute = "colour"
