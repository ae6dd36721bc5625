"""SUN397 (Xiao et al., 2010): 397 kinds of scenes, 108,754 photographs.

The files are those of `torchvision.datasets.SUN397`, which can fetch them.
Its split: none of its own here: a fifth of each class is measured.
"""

from __future__ import annotations

from datamodules.common.card import DatasetCard
from datamodules.common.torchvision_sets import OFFICIAL, TorchvisionDataset

CARD = DatasetCard(
    name="sun397",
    title="SUN397: 397 kinds of scenes",
    tasks=("classification",),
    source="https://vision.princeton.edu/projects/2010/SUN/",
    folder="SUN397",
)


class Sun397(TorchvisionDataset):
    """SUN397; see the module for its split."""

    card = CARD
    official = OFFICIAL["SUN397"]
