"""Describable Textures (Cimpoi et al., 2014): 47 textures, 1,880 train, val and test photographs each.

The files are those of `torchvision.datasets.DTD`, which can fetch them.
Its split: its first partition.
"""

from __future__ import annotations

from datamodules.common.card import DatasetCard
from datamodules.common.torchvision_sets import OFFICIAL, TorchvisionDataset

CARD = DatasetCard(
    name="dtd",
    title="Describable Textures: 47 textures",
    tasks=("classification",),
    source="https://www.robots.ox.ac.uk/~vgg/data/dtd/",
    folder="dtd",
)


class DescribableTextures(TorchvisionDataset):
    """Describable Textures; see the module for its split."""

    card = CARD
    official = OFFICIAL["DTD"]
