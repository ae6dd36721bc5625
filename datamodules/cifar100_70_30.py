"""CIFAR-100's official train file, split at random 70 % / 30 %: CLIPErase's protocol (Yang et al., ACL 2025).

The paper's code splits one data set object by image and marks forget and retain items inside both parts. Which file it
takes is not known: the train file is our choice, for it is the larger. There is no validation part.
"""

from __future__ import annotations

import hashlib

import numpy as np

from datamodules.cifar100 import CIFAR100
from datamodules.common.card import DatasetCard
from datamodules.common.dataset import Split, SplitName
from datamodules.common.errors import BenchmarkError
from datamodules.common.images import ImageArray

CARD = DatasetCard(
    name="cifar100_70_30",
    title="CIFAR-100's train file, split 70/30 at random (CLIPErase)",
    tasks=("classification",),
    source="https://www.cs.toronto.edu/~kriz/cifar.html",
    folder="cifar-100-python",
)

TRAIN_SHARE, SEED = 0.7, 0


class CIFAR100Resplit(CIFAR100):
    """35,000 train and 15,000 test images of the official train file."""

    card = CARD

    @property
    def revision(self) -> str:
        """A digest of the official files' revision and of the split."""
        return hashlib.sha256(f"{super().revision} {TRAIN_SHARE} {SEED}".encode()).hexdigest()[:16]

    def _load(self, name: SplitName) -> Split:
        if name == "val":
            raise BenchmarkError(f"data set {CARD.name!r} has no validation part: use train or test")
        pixels, labels = self._official("train")
        order = np.random.default_rng(SEED).permutation(len(labels))
        border = round(TRAIN_SHARE * len(order))
        chosen = np.sort(order[:border] if name == "train" else order[border:])
        return Split(name, ImageArray(pixels[chosen], name=f"{CARD.name}/{name}"), labels=labels[chosen])
