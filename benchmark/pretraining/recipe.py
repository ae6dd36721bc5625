"""A pretraining recipe: an architecture, a corpus and a schedule, read from a YAML file of this folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from benchmark.models.compact import Architecture
from benchmark.models.registry import RECIPES, recipe_names
from datamodules.common.documents import load_yaml
from datamodules.common.errors import BenchmarkError, UnknownNameError

_CYCLE, _CYCLE_MAY = {"epochs", "learning_rate", "warmup"}, {"label_share"}


@dataclass(frozen=True)
class Recipe:
    """How a small CLIP is trained.

    Attributes:
        name: The recipe's and the model's name.
        title: One line for `list models`.
        architecture: The model.
        data: Data sets whose train splits are the corpus.
        epochs: Passes over the corpus.
        batch_size: Pairs a step.
        learning_rate: Peak of the one-cycle schedule.
        muon_learning_rate: Muon's rate for the matrices of transformer blocks; 0 leaves them to AdamW.
        weight_decay: On matrices only.
        warmup: Share of the steps before the peak.
        flip: Whether images are mirrored at random; wrong where captions say left and right.
        shift: Largest random shift, as a share of the image's side.
        templates: Prompt templates that make the texts of labelled images; empty for the data sets' own.
        label_share: How often images that have both captions and labels take a label as their text, at the
            beginning and at the end. Labels first: captions can be told apart by easier attributes alone.
        half_size_share: Share of the steps, at the beginning, that see the images at half their side: a quarter of
            the work for most of what is to be learned (progressive resizing). 0 for none.
        edge_weight: Weight of the edge histograms that a ViT's first blocks learn beside (see `edges.py`); 0 for none.
        further_cycles: Cycles from where the one before ends, at the whole size, with a new optimizer (warm
            restarts; Loshchilov & Hutter 2017): the epochs, learning_rate and warmup of each, and its label_share
            where it is not the first one's.
    """

    name: str
    title: str
    architecture: Architecture
    data: tuple[str, ...]
    epochs: float
    batch_size: int
    learning_rate: float
    muon_learning_rate: float
    weight_decay: float
    warmup: float
    flip: bool
    shift: float
    templates: tuple[str, ...]
    label_share: tuple[float, float]
    half_size_share: float
    edge_weight: float
    further_cycles: tuple[Mapping[str, Any], ...]

    def values(self) -> dict[str, Any]:
        """What the recipe sets, without its name and title: what a model trained by it depends on."""
        return {name: value for name, value in asdict(self).items() if name not in ("name", "title")}

    def cycles(self) -> tuple[Recipe, ...]:
        """The recipe of each cycle."""
        first = replace(self, further_cycles=())
        further = [replace(first, half_size_share=0.0, **cycle) for cycle in self.further_cycles]
        return (first, *(replace(each, label_share=(each.label_share[0], each.label_share[1])) for each in further))


def load_recipe(name: str) -> Recipe:
    """Read a recipe.

    Raises:
        UnknownNameError: If there is none of that name.
        BenchmarkError: If a field is missing or unknown.
    """
    if name not in recipe_names():
        raise UnknownNameError("recipe", name, recipe_names())
    content: dict[str, Any] = load_yaml(RECIPES / f"{name}.yaml")
    known = {field.name for field in fields(Recipe)} - {"name"}
    if set(content) != known:
        odd = sorted(set(content) ^ known)[0]
        raise BenchmarkError(f"recipe {name!r}: field {odd!r} is missing or unknown")
    wrong = sorted({field for cycle in content["further_cycles"] for field in (set(cycle) - _CYCLE_MAY) ^ _CYCLE})
    if wrong:
        raise BenchmarkError(f"recipe {name!r}: field {wrong[0]!r} of further_cycles is missing or unknown")
    if content["edge_weight"] and content["half_size_share"]:
        raise BenchmarkError(f"recipe {name!r}: edge_weight needs images at their whole size: set half_size_share: 0")
    content["architecture"] = Architecture(**content["architecture"])
    for listing in ("data", "templates", "label_share", "further_cycles"):
        content[listing] = tuple(content[listing])
    return Recipe(name=name, **content)
