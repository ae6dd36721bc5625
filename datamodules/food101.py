"""Food-101 (Bossard et al., 2014): 101 kinds of dishes, 75,750 train and 25,250 test photographs.

The files are those of `torchvision.datasets.Food101`, which can fetch them.
Its split: its train and test lists.
"""

from __future__ import annotations

from datamodules.common.card import DatasetCard
from datamodules.common.torchvision_sets import OFFICIAL, TorchvisionDataset

CARD = DatasetCard(
    name="food101",
    title="Food-101: 101 kinds of dishes",
    tasks=("classification",),
    source="https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
    folder="food-101",
)


class Food101(TorchvisionDataset):
    """Food-101; see the module for its split."""

    card = CARD
    official = OFFICIAL["Food101"]
