"""Oxford-IIIT Pet (Parkhi et al., 2012): 37 breeds of cats and dogs, 3,680 train and 3,669 test photographs.

The files are those of `torchvision.datasets.OxfordIIITPet`, which can fetch them.
Its split: its trainval and test lists.
"""

from __future__ import annotations

from datamodules.common.card import DatasetCard
from datamodules.common.torchvision_sets import OFFICIAL, TorchvisionDataset

CARD = DatasetCard(
    name="oxford_pets",
    title="Oxford-IIIT Pet: 37 breeds of cats and dogs",
    tasks=("classification",),
    source="https://www.robots.ox.ac.uk/~vgg/data/pets/",
    folder="oxford-iiit-pet",
)


class OxfordPets(TorchvisionDataset):
    """Oxford-IIIT Pet; see the module for its split."""

    card = CARD
    official = OFFICIAL["OxfordIIITPet"]
