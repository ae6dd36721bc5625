"""FGVC Aircraft (Maji et al., 2013): 100 variants of aircraft, 6,667 train and 3,333 test photographs.

The files are those of `torchvision.datasets.FGVCAircraft`, which can fetch them.
Its split: its trainval and test lists.
"""

from __future__ import annotations

from datamodules.common.card import DatasetCard
from datamodules.common.torchvision_sets import OFFICIAL, TorchvisionDataset

CARD = DatasetCard(
    name="fgvc_aircraft",
    title="FGVC Aircraft: 100 variants of aircraft",
    tasks=("classification",),
    source="https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/",
    folder="fgvc-aircraft-2013b",
)


class FgvcAircraft(TorchvisionDataset):
    """FGVC Aircraft; see the module for its split."""

    card = CARD
    official = OFFICIAL["FGVCAircraft"]
