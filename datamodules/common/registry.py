"""The data sets by name. A data set is one file of this folder that declares `CARD` and a `Dataset` subclass."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from datamodules.common.card import (
    CAPTIONS_SCHEME,
    DEVELOPMENT_SCHEME,
    FOLDER_SCHEME,
    HUB_SCHEME,
    MEMORY_SCHEME,
    SHARDS_SCHEME,
    TORCHVISION_SCHEME,
    DatasetCard,
    read_declarations,
)
from datamodules.common.errors import BenchmarkError, UnknownNameError
from datamodules.common.text import one_line

if TYPE_CHECKING:
    from datamodules.common.dataset import Dataset
    from datamodules.common.images import Framing

_HERE = Path(__file__).parents[1]
ENTRY_POINTS = "clip_unlearning_benchmark.datasets"
SCHEMES = {
    FOLDER_SCHEME: ("image_folder", "ImageFolder"),
    CAPTIONS_SCHEME: ("caption_file", "CaptionFile"),
    SHARDS_SCHEME: ("shards", "Shards"),
    TORCHVISION_SCHEME: ("torchvision_set", "TorchvisionSet"),
    HUB_SCHEME: ("hub_set", "HubSet"),
    DEVELOPMENT_SCHEME: ("development", "Development"),
}
"""By what stands before a name: the module and the class that open such data sets."""


Load = Callable[[Path], ModuleType]
_plugins: dict[str, tuple[DatasetCard, Path, Load]] = {}
"""By name the data sets of files from outside the project: card, file, and what imports it."""


def dataset_cards() -> dict[str, DatasetCard]:
    """The card of each registered data set, by name; nothing heavy is imported."""
    of_packages = {name: card for name, (card, _) in _cards_of_packages().items()}
    return {**_cards_here(), **of_packages, **{name: card for name, (card, _, _) in _plugins.items()}}


@cache
def _cards_here() -> dict[str, DatasetCard]:
    cards = (read_card(path) for path in sorted(_HERE.glob("*.py")))
    return {card.name: card for card in cards if card is not None}


@cache
def _cards_of_packages() -> dict[str, tuple[DatasetCard, str]]:
    """The data sets that installed packages bring by entry point: card and module."""
    cards: dict[str, tuple[DatasetCard, str]] = {}
    for entry in entry_points(group=ENTRY_POINTS):
        spec = importlib.util.find_spec(entry.module)
        if spec is not None and spec.origin is not None and (card := read_card(Path(spec.origin))) is not None:
            cards[card.name] = card, entry.module
    return cards


def read_card(path: Path) -> DatasetCard | None:
    """The card of a data set's file, which is not imported; None if it declares none.

    Raises:
        BenchmarkError: If the file is not Python.
    """
    names = {"DatasetCard": DatasetCard}
    places = dict.fromkeys(("datamodules.common.card", "datamodules"), names)
    try:
        card = read_declarations(path, ("CARD",), names, places).get("CARD")
    except (SyntaxError, NameError, TypeError) as error:
        if isinstance(error, NameError):  # another kind of card
            return None
        raise BenchmarkError(f"{path.name}: CARD cannot be read: {one_line(str(error))}") from error
    return card if isinstance(card, DatasetCard) else None


def add_dataset(path: Path, load: Load) -> bool:
    """Register the data set of a file from outside the project for this process.

    Args:
        path: The file; it is not imported before the data set is opened.
        load: Imports it.

    Returns:
        Whether it declares a data set.

    Raises:
        BenchmarkError: If its name is taken.
    """
    card = read_card(path)
    if card is None:
        return False
    known = _plugins.get(card.name)
    if card.name in {**_cards_here(), **_cards_of_packages()} or (known is not None and known[1] != path):
        raise BenchmarkError(f"{path} declares data set {card.name!r}, but that name is taken: give it another name")
    _plugins[card.name] = card, path, load
    return True


def dataset_class(name: str) -> type[Dataset]:
    """The class of a data set.

    Raises:
        UnknownNameError: If there is none of that name.
    """
    if name not in dataset_cards():
        raise UnknownNameError("data set", name, dataset_cards())
    from datamodules.common.dataset import Dataset

    module = _module_of(name)
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, Dataset) and getattr(value, "card", None) is module.CARD:
            return value
    raise BenchmarkError(f"{module.__file__} declares CARD but no Dataset subclass with `card = CARD`")


def _module_of(name: str) -> ModuleType:
    if name in _plugins:
        _, path, load = _plugins[name]
        return load(path)
    if name in _cards_here():
        return importlib.import_module(f"datamodules.{name}")
    return importlib.import_module(_cards_of_packages()[name][1])


def open_dataset(
    name: str, data_dir: Path | None, cache_dir: Path, framing: int | Framing, *, skip_unreadable: bool = False
) -> Dataset:
    """Open a data set; its files are checked, its images are not decoded yet.

    Args:
        name: A registered name, or one with a scheme: `folder:NAME`, `captions:FILE`, `shards:NAME`,
            `torchvision:NAME`, `hf:ORG/NAME` or `development:NAME`.
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
    scheme, colon, rest = name.partition(":")
    if colon and scheme + colon in SCHEMES:
        module, kind = SCHEMES[scheme + colon]
        opened: Dataset = getattr(importlib.import_module(f"datamodules.{module}"), kind)(
            data_dir, cache_dir, framing, rest
        )
        return opened
    return dataset_class(name)(data_dir, cache_dir, framing)
