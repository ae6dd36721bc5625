"""What a method that unlearns in a process of its own is handed of a data set: what its data regime allows, as files.

The process that evaluates writes a folder (`write_handed`), the process that unlearns opens it (`HandedDataset`): names
and prompt templates for every data regime, and of the train split the images, labels and captions of those parts alone
that the regime gives. Nothing leads from there to the rest of the data set: no path, no test split, no code that draws.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodules.common.card import DatasetCard
from datamodules.common.chosen_images import ServesImages
from datamodules.common.dataset import Dataset, Split, SplitName
from datamodules.common.errors import RegimeViolationError
from datamodules.common.images import ChosenImages, ImageArray, save_images
from datamodules.common.module import PARTS_OF, Part, Regime
from datamodules.common.request import ForgetRequest


def write_names(dataset: Dataset, file: Path) -> None:
    """Write what every data regime may know of a data set: its names, templates and card.

    Args:
        dataset: The data set.
        file: A JSON file; its folder must exist.
    """
    about = {
        "name": dataset.name,
        "class_names": dataset.class_names,
        "templates": dataset.templates,
        "concept_names": dataset.concept_names,
        "card": asdict(dataset.card),
    }
    file.write_text(json.dumps(about), encoding="utf-8")


def write_part(dataset: Dataset, request: ForgetRequest, part: Part, folder: Path) -> None:
    """Write the images of a part of the train split, with their labels and captions, into a folder of its own.

    Args:
        dataset: The data set.
        request: Says which images are in the part.
        part: "forget" or "retain".
        folder: Made; it must not exist yet.

    Raises:
        RequestError: If the forget set is empty, or everything.
    """
    split = dataset.split("train")
    mask = dataset.forget_mask(split, request)
    rows = np.flatnonzero(mask if part == "forget" else ~mask)
    folder.mkdir(parents=True)
    save_images(folder / "images.npy", split.images, rows)
    if split.labels is not None:
        np.save(folder / "labels.npy", split.labels[rows])
    if split.captions is not None:
        captions = [split.captions[row] for row in rows.tolist()]
        (folder / "captions.json").write_text(json.dumps(captions), encoding="utf-8")


class HandedDataset(ServesImages):
    """A data set as a method of some data regime may know it: read from the files that were written for it.

    Its train split holds the parts that were handed over, the forget part first, and no other split exists.

    Args:
        names: The file that `write_names` wrote.
        parts: The folder that `write_part` wrote for each part that the regime gives.
    """

    def __init__(self, names: Path, parts: dict[Part, Path] | None = None) -> None:
        super().__init__(None, Path(), 0)
        about: dict[str, Any] = json.loads(names.read_text(encoding="utf-8"))
        card = about["card"]
        self.card = DatasetCard(**{**card, "tasks": tuple(card["tasks"])})  # type: ignore[misc]
        self._about, self._folders = about, dict(sorted((parts or {}).items()))
        self._forgotten = 0

    @property
    def name(self) -> str:
        """The data set's."""
        return str(self._about["name"])

    @property
    def class_names(self) -> tuple[str, ...]:
        """The data set's."""
        return tuple(self._about["class_names"])

    @property
    def templates(self) -> tuple[str, ...]:
        """The data set's."""
        return tuple(self._about["templates"])

    @property
    def concept_names(self) -> tuple[str, ...]:
        """The data set's."""
        return tuple(self._about["concept_names"])

    @property
    def revision(self) -> str:
        """None: what was handed over belongs to one cell."""
        return ""

    def forget_mask(self, split: Split, request: ForgetRequest) -> NDArray[np.bool_]:
        """Which images of the train split are of the forget part. Shape (N,)."""
        return np.arange(len(split.images)) < self._forgotten

    def _load(self, name: SplitName) -> Split:
        if name != "train" or not self._folders:
            raise RegimeViolationError(
                f"the {name} split of {self.name!r} is not given to a method of this data regime; "
                "declare the regime that it needs in its card"
            )
        arrays = [
            ImageArray(np.load(folder / "images.npy", mmap_mode="r"), name=f"{self.name}/train/{part}")
            for part, folder in self._folders.items()
        ]
        self._forgotten = len(arrays[0]) if "forget" in self._folders else 0
        rows = np.arange(sum(map(len, arrays)))
        images = ChosenImages(arrays, rows, name=f"{self.name}/train")
        labels = [np.load(file) for folder in self._folders.values() if (file := folder / "labels.npy").exists()]
        captions = [
            json.loads(file.read_text(encoding="utf-8"))
            for folder in self._folders.values()
            if (file := folder / "captions.json").exists()
        ]
        return Split(
            name,
            images,
            labels=np.concatenate(labels).astype(np.int64) if labels else None,
            captions=tuple(tuple(texts) for part in captions for texts in part) if captions else None,
        )


def parts_of(regime: str) -> Sequence[Part]:
    """The parts of the train split that a data regime gives, by the regime's name."""
    parts_by_regime: dict[str, tuple[Part, ...]] = {str(name): parts for name, parts in PARTS_OF.items()}
    return parts_by_regime[regime]


__all__ = ["HandedDataset", "Regime", "parts_of", "write_names", "write_part"]
