"""The data sets by name. A data set is one file of this folder that declares `CARD` and a `Dataset` subclass."""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from datamodules.common.card import FOLDER_SCHEME, MEMORY_SCHEME, DatasetCard, read_declarations
from datamodules.common.errors import BenchmarkError, UnknownNameError

if TYPE_CHECKING:
    from datamodules.common.dataset import Dataset
    from datamodules.common.images import Framing

_HERE = Path(__file__).parents[1]


@cache
def dataset_cards() -> dict[str, DatasetCard]:
    """The card of each registered data set, by name; nothing heavy is imported."""
    cards: dict[str, DatasetCard] = {}
    for path in sorted(_HERE.glob("*.py")):
        card = read_declarations(path, ("CARD",), {"DatasetCard": DatasetCard}).get("CARD")
        if isinstance(card, DatasetCard):
            cards[card.name] = card
    return cards


def dataset_class(name: str) -> type[Dataset]:
    """The class of a data set.

    Raises:
        UnknownNameError: If there is none of that name.
    """
    if name not in dataset_cards():
        raise UnknownNameError("data set", name, dataset_cards())
    from datamodules.common.dataset import Dataset

    module = importlib.import_module(f"datamodules.{name}")
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, Dataset) and getattr(value, "card", None) is module.CARD:
            return value
    raise TypeError(f"datamodules/{name}.py declares CARD but no Dataset subclass with `card = CARD`")


def open_dataset(
    name: str, data_dir: Path | None, cache_dir: Path, framing: int | Framing, *, skip_unreadable: bool = False
) -> Dataset:
    """Open a data set; its files are checked, its images are not decoded yet.

    Args:
        name: A registered name, or `folder:NAME` for your own images (`image_folder.py`).
        data_dir: What `--data-dir` names.
        cache_dir: Where decoded images are kept.
        framing: How image files become squares: a model's framing, or the side of the usual one in pixels.
        skip_unreadable: Whether image files that cannot be read are left out.

    Raises:
        BenchmarkError: If there is no such data set, or its files are not there.
    """
    dataset = _opened(name, data_dir, cache_dir, framing)
    if skip_unreadable:
        dataset.skip_unreadable()
    return dataset


def _opened(name: str, data_dir: Path | None, cache_dir: Path, framing: int | Framing) -> Dataset:
    if name.startswith(MEMORY_SCHEME):
        raise BenchmarkError(f"data set {name!r} was in the memory of a Python process: no name opens it again")
    if name.startswith(FOLDER_SCHEME):
        from datamodules.image_folder import ImageFolder

        return ImageFolder(data_dir, cache_dir, framing, name.removeprefix(FOLDER_SCHEME))
    return dataset_class(name)(data_dir, cache_dir, framing)
