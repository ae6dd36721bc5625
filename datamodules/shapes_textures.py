"""shapes_textures: the embedded world by texture; measures damage to unrelated knowledge."""

from __future__ import annotations

from datamodules.common.card import DatasetCard
from datamodules.shapes_world.dataset import WorldDataset

CARD = DatasetCard(
    name="shapes_textures",
    title="The embedded world labelled by texture: 5 classes, other scenes than `shapes`",
    tasks=("classification",),
    source="generated",
)


class ShapesTextures(WorldDataset):
    """2,000 training, 600 validation and 600 test scenes, labelled by texture."""

    card = CARD
    attribute = "texture"
