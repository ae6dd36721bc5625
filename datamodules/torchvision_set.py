"""A data set of torchvision by its name there: `torchvision:Food101` reads what `torchvision.datasets.Food101` does.

Its files lie below `--data-dir` as torchvision leaves them. Which names are served is in
`datamodules.common.torchvision_sets`; some of them have files of their own in this folder, such as `food101`, and the
numbers are the same.
"""

from __future__ import annotations

from pathlib import Path

from datamodules.common.card import TORCHVISION_SCHEME, DatasetCard
from datamodules.common.errors import UnknownNameError
from datamodules.common.images import Framing
from datamodules.common.torchvision_sets import OFFICIAL, Official, TorchvisionDataset


class TorchvisionSet(TorchvisionDataset):
    """A data set of torchvision.

    Args:
        kind: Its name there.

    Raises:
        UnknownNameError: If it is none of those that are served.
    """

    def __init__(self, data_dir: Path | None, cache_dir: Path, framing: int | Framing, kind: str) -> None:
        self.official = official_of(kind)  # type: ignore[misc]
        self.card = DatasetCard(  # type: ignore[misc]
            TORCHVISION_SCHEME + kind,
            f"torchvision.datasets.{kind}",
            ("classification",),
            f"https://docs.pytorch.org/vision/stable/generated/torchvision.datasets.{kind}.html",
            self.official.folder,
        )
        super().__init__(data_dir, cache_dir, framing)


def official_of(kind: str) -> Official:
    """How torchvision opens a data set.

    Raises:
        UnknownNameError: If it is none of those that are served.
    """
    if kind not in OFFICIAL:
        hint = (
            "(others of torchvision have no words for their classes, or are served by their own names: list datasets)"
        )
        raise UnknownNameError("data set of torchvision", kind, OFFICIAL, hint=hint)
    return OFFICIAL[kind]
