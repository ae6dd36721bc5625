"""EuroSAT (Helber et al., 2019): 10 kinds of land use, 27,000 satellite images of 64 pixels.

The files are those of `torchvision.datasets.EuroSAT`, which can fetch them.
Its split: none of its own: a fifth of each class is measured.
"""

from __future__ import annotations

from datamodules.common.card import DatasetCard
from datamodules.common.torchvision_sets import OFFICIAL, TorchvisionDataset

CARD = DatasetCard(
    name="eurosat",
    title="EuroSAT: 10 kinds of land use from a satellite",
    tasks=("classification",),
    source="https://github.com/phelber/EuroSAT",
    folder="eurosat",
)


class EuroSat(TorchvisionDataset):
    """EuroSAT; see the module for its split."""

    card = CARD
    official = OFFICIAL["EuroSAT"]
