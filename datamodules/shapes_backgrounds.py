"""shapes_backgrounds: the embedded world by background; measures damage to unrelated knowledge."""

from __future__ import annotations

from datamodules.common.card import DatasetCard
from datamodules.shapes_world.dataset import WorldDataset

CARD = DatasetCard(
    name="shapes_backgrounds",
    title="The embedded world labelled by background: 6 classes, other scenes than `shapes`",
    tasks=("classification",),
    source="generated",
)


class ShapesBackgrounds(WorldDataset):
    """2,000 training, 600 validation and 600 test scenes, labelled by background."""

    card = CARD
    attribute = "background"
