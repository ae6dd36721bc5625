"""What there is: methods, data sets, models, suites and measures, as tables. Nothing heavy is imported."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.evaluation.catalogue import MEASURES
from benchmark.models.registry import recipe_titles, shipped_models
from benchmark.suites.suite_file import load_suite, suite_names
from benchmark.utils.table import Table
from datamodules.common.card import CAPTIONS_SCHEME, FOLDER_SCHEME, HUB_SCHEME, SHARDS_SCHEME, TORCHVISION_SCHEME
from datamodules.common.registry import dataset_cards
from methods.common.registry import Registry

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class Overview:
    """A table of names and what they stand for.

    Attributes:
        heads: Of the columns; the first column holds the names.
        rows: One text a column.
    """

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The first column."""
        return tuple(row[0] for row in self.rows)

    def to_pandas(self) -> pd.DataFrame:
        """The table as a DataFrame."""
        return self.table().frame

    def table(self) -> Table:
        """The table as the command `list` prints it."""
        return Table.of_texts(self.heads, self.rows, words=range(len(self.heads)))

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        width = max(map(len, self.names), default=0)
        place = self.heads.index("what")
        return "\n".join(f"{row[0]:{width}}  {row[place]}" for row in self.rows)


def methods_overview(plugins: Sequence[Path] = ()) -> Overview:
    """Every method: what it reads and edits, in how many points it departs from its source, and its defaults.

    Defaults for small CLIPs stand in brackets.

    Args:
        plugins: Files of further methods.
    """
    registry = Registry(plugins)
    rows = []
    for name in registry.names():
        declaration = registry.declaration(name)
        defaults = []
        for field in dataclasses.fields(declaration.hyperparameters):
            small = field.metadata.get("small")
            small_default = f" ({_short(small)})" if small is not None else ""
            defaults.append(f"{field.name}={_short(field.default)}{small_default}")
        card = declaration.card
        deviations = str(len(card.deviations) or "none")
        rows.append((name, card.regime, ", ".join(card.edits), card.title, card.paper, deviations, " ".join(defaults)))
    return Overview(("method", "reads", "edits", "what", "paper", "deviations", "defaults (small CLIPs)"), tuple(rows))


def deviations_of(plugins: Sequence[Path] = ()) -> dict[str, tuple[str, ...]]:
    """Where each method departs from its source, and why, by method; those that do not are left out.

    Args:
        plugins: Files of further methods.
    """
    registry = Registry(plugins)
    stated = {name: registry.declaration(name).card.deviations for name in registry.names()}
    return {name: deviations for name, deviations in stated.items() if deviations}


def datasets_overview() -> Overview:
    """Every data set: what it is measured by, and what must lie in the data folder."""
    rows = [
        (card.name, ", ".join(card.tasks), card.folder or "nothing needed", card.title, card.source)
        for card in dataset_cards().values()
    ]
    rows += [
        (
            f"{FOLDER_SCHEME}NAME",
            "classification",
            "NAME/{train,test}/CLASS/*.jpg",
            "your own images, one folder a class",
            "yours",
        ),
        (
            f"{CAPTIONS_SCHEME}FILE",
            "retrieval",
            "FILE and its images",
            "your own images with captions, listed by a file",
            "yours",
        ),
        (f"{SHARDS_SCHEME}NAME", "either", "NAME/{train,test}/*.tar", "your own images in WebDataset shards", "yours"),
        (
            f"{TORCHVISION_SCHEME}NAME",
            "classification",
            "as torchvision leaves it",
            "a data set of torchvision",
            "torchvision",
        ),
        (
            f"{HUB_SCHEME}ORG/NAME",
            "either",
            "ORG/NAME/*.parquet",
            "a data set of the Hugging Face hub",
            "huggingface.co",
        ),
    ]
    return Overview(("data set", "tasks", "below --data-dir", "what", "source"), tuple(rows))


def models_overview() -> Overview:
    """The small CLIPs, and how any other model is named."""
    rows = [
        (name, "in the package" if name in shipped_models() else f"make them: pretrain {name}", title)
        for name, title in recipe_titles().items()
    ]
    rows.append(("ARCHITECTURE/TAG", "fetched by open_clip", "any open_clip model, such as ViT-B-32/openai"))
    rows.append(("ARCHITECTURE:FILE", "a file", "any open_clip architecture with a local checkpoint"))
    rows.append(("blip:DIR", "a folder", "a BLIP for image-text retrieval in Hugging Face's format (extra `blip`)"))
    rows.append(("blip/ORG/NAME", "fetched from the hub", "the same, such as blip/Salesforce/blip-itm-base-coco"))
    return Overview(("model", "weights", "what"), tuple(rows))


def suites_overview() -> Overview:
    """The suites of the package: models, data sets and requests."""
    rows = []
    for name in suite_names():
        suite = load_suite(name)
        requests = ", ".join(str(request) for task in suite.tasks for request in task.requests)
        datasets = ", ".join(dict.fromkeys(task.dataset for task in suite.tasks))
        rows.append((name, ", ".join(suite.every_model), datasets, requests, suite.title))
    return Overview(("suite", "models", "data sets", "requests", "what"), tuple(rows))


def measures_overview() -> Overview:
    """Every measure: unit, range, and which way is better."""
    rows = [
        (m.name, m.unit, f"{m.low:g} to {m.high:g}", m.forget, m.retain, ", ".join(m.needs), m.title) for m in MEASURES
    ]
    return Overview(("measure", "unit", "range", "on forget", "on retain", "needs", "what"), tuple(rows))


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
