"""A pretraining recipe: an architecture, a corpus and a schedule, read from a YAML file of this folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from benchmark.models.compact import Architecture
from benchmark.models.registry import RECIPES, recipe_names
from datamodules.common.documents import load_yaml
from datamodules.common.errors import BenchmarkError, UnknownNameError

MuonParameters = Literal["blocks", "convolutions"]
Decay = Literal["cosine", "linear"]
Border = Literal["edge", "reflect"]
LabelLoss = Literal["pairs", "classes"]
_CYCLE, _CYCLE_MAY = {"epochs", "learning_rate", "warmup"}, {"label_share"}


@dataclass(frozen=True)
class MuonSettings:
    """Muon (Jordan et al. 2024) for some of the parameters; AdamW trains the rest.

    Attributes:
        parameters: "blocks": the matrices of transformer blocks. "convolutions": the filters of the vision tower's
            convolutions but the one that sees the pixels, kept at unit length.
        learning_rate: Peak.
        momentum: Nesterov's.
        iterations: Newton-Schulz iterations that make an update orthogonal.
        weight_decay: On these parameters.
    """

    parameters: MuonParameters
    learning_rate: float
    momentum: float
    iterations: int
    weight_decay: float


@dataclass(frozen=True)
class Resolution:
    """The side of the images in a part of the training.

    Attributes:
        side: In pixels.
        until: Share of the steps at which the part ends.
    """

    side: int
    until: float


@dataclass(frozen=True)
class Recipe:
    """How a small CLIP is trained; the fields with a default may be left out of the file.

    Attributes:
        name: The recipe's and the model's name.
        title: One line for `list models`.
        architecture: The model.
        data: Data sets whose train splits are the corpus.
        epochs: Passes over the corpus.
        batch_size: Pairs a step.
        learning_rate: Peak of AdamW's.
        weight_decay: AdamW's, on matrices only.
        warmup: Share of the steps before the peak.
        flip: Whether images are mirrored at random; wrong where captions say left and right.
        shift: Largest random shift, as a share of the image's side.
        templates: Prompt templates that make the texts of labelled images; empty for the data sets' own.
        label_share: How often images that have both captions and labels take a label as their text, at the
            beginning and at the end. Labels first: captions can be told apart by easier attributes alone.
        edge_weight: Weight of the edge histograms that a ViT's first blocks learn beside (see `edges.py`); 0 for none.
        further_cycles: Cycles from where the one before ends, at the whole size, with a new optimizer (warm
            restarts; Loshchilov & Hutter 2017): the epochs, learning_rate and warmup of each, and its label_share
            where it is not the first one's.
        shares: How many images of each data set are in every batch; empty draws from all of them together.
        resolutions: Parts of the training that see smaller images, in order (progressive resizing): less work for
            most of what is to be learned. After the last one the images have their whole size.
        muon: Which parameters Muon trains, and how; None for AdamW alone.
        vector_learning_rate: Peak of AdamW's for vectors and scalars; None for the same.
        decay: How the rates fall after the peak, to nothing at the end.
        border: What a shift moves into the image: its edge again and again, or its reflection.
        template_weights: How often each template is drawn; empty for evenly.
        label_loss: "pairs" tells labelled images apart within the batch, as captions are. "classes" tells them from
            all prompts of their data set, each encoded once a step, and the captions apart within theirs.
        label_smoothing: Of the cross-entropy over prompts, in [0, 1).
        logit_scale: The inverse temperature at the start; None for CLIP's 1 / 0.07.
        whitened_stem: Whether the first convolution starts as a whitening of the corpus' patches (see `stem.py`).
    """

    name: str
    title: str
    architecture: Architecture
    data: tuple[str, ...]
    epochs: float
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup: float
    flip: bool
    shift: float
    templates: tuple[str, ...]
    label_share: tuple[float, float]
    edge_weight: float = 0.0
    further_cycles: tuple[Mapping[str, Any], ...] = ()
    shares: tuple[int, ...] = ()
    resolutions: tuple[Resolution, ...] = ()
    muon: MuonSettings | None = None
    vector_learning_rate: float | None = None
    decay: Decay = "cosine"
    border: Border = "edge"
    template_weights: tuple[float, ...] = ()
    label_loss: LabelLoss = "pairs"
    label_smoothing: float = 0.0
    logit_scale: float | None = None
    whitened_stem: bool = False

    def values(self) -> dict[str, Any]:
        """What the recipe sets, without its name and title: what a model trained by it depends on."""
        return {name: value for name, value in asdict(self).items() if name not in ("name", "title")}

    def cycles(self) -> tuple[Recipe, ...]:
        """The recipe of each cycle."""
        first = replace(self, further_cycles=())
        further = [replace(first, resolutions=(), **cycle) for cycle in self.further_cycles]
        return (first, *(replace(each, label_share=(each.label_share[0], each.label_share[1])) for each in further))

    def side_at(self, progress: float) -> int:
        """The side of the images when this share of the steps is over, in pixels."""
        whole = self.architecture.image_input.image_size
        return next((part.side for part in self.resolutions if progress < part.until), whole)


def load_recipe(name: str) -> Recipe:
    """Read a recipe.

    Raises:
        UnknownNameError: If there is none of that name.
        BenchmarkError: If a field is missing, unknown or of a value that it cannot have.
    """
    if name not in recipe_names():
        raise UnknownNameError("recipe", name, recipe_names())
    return parse_recipe(name, load_yaml(RECIPES / f"{name}.yaml"))


def parse_recipe(name: str, content: Mapping[str, Any]) -> Recipe:
    """A recipe from the content of its file.

    Raises:
        BenchmarkError: If a field is missing, unknown or of a value that it cannot have.
    """
    values = dict(content)
    try:
        _check_names(values, Recipe, ignored=("name",))
        for cycle in values.get("further_cycles", ()):
            if wrong := sorted((set(cycle) - _CYCLE_MAY) ^ _CYCLE):
                raise _FieldError(f"field {wrong[0]!r} of further_cycles is missing or unknown")
        values["architecture"] = Architecture(**values["architecture"])
        if values.get("muon") is not None:
            values["muon"] = _part(MuonSettings, "muon", values["muon"])
        values["resolutions"] = [_part(Resolution, "resolutions", part) for part in values.get("resolutions", ())]
        for field in fields(Recipe):
            if field.name in values and str(field.type).startswith("tuple"):
                values[field.name] = tuple(values[field.name])
        recipe = Recipe(name=name, **values)
        _check_values(recipe)
    except _FieldError as error:
        raise BenchmarkError(f"recipe {name!r}: {error}") from None
    return recipe


class _FieldError(ValueError):
    """What is wrong with a field; the recipe's name is put before it."""


def _part(kind: type[Any], field: str, content: Any) -> Any:
    if not isinstance(content, Mapping):
        raise _FieldError(f"{field} must be given by {', '.join(each.name for each in fields(kind))}")
    _check_names(content, kind, within=f" of {field}")
    return kind(**content)


def _check_names(
    content: Mapping[str, Any], kind: type[Any], *, ignored: tuple[str, ...] = (), within: str = ""
) -> None:
    known = {field.name for field in fields(kind)} - set(ignored)
    needed = {field.name for field in fields(kind) if field.default is MISSING} - set(ignored)
    if odd := sorted((set(content) - known) | (needed - set(content))):
        raise _FieldError(f"field {odd[0]!r}{within} is missing or unknown")


def _check_values(recipe: Recipe) -> None:
    choices: list[tuple[str, object, Any]] = [
        ("decay", recipe.decay, Decay),
        ("border", recipe.border, Border),
        ("label_loss", recipe.label_loss, LabelLoss),
    ]
    if recipe.muon is not None:
        choices.append(("muon.parameters", recipe.muon.parameters, MuonParameters))
    for field, value, choice in choices:
        if value not in get_args(choice):
            raise _FieldError(f"{field} is {value!r}: use {' or '.join(get_args(choice))}")
    shares = recipe.shares
    if shares and (len(shares) != len(recipe.data) or sum(shares) != recipe.batch_size or min(shares) < 1):
        raise _FieldError(f"shares {list(shares)} must be one number a data set that add up to {recipe.batch_size}")
    if recipe.template_weights and len(recipe.template_weights) != len(recipe.templates):
        raise _FieldError(f"template_weights must be one number a template: {len(recipe.templates)}")
    if not 0 <= recipe.label_smoothing < 1:
        raise _FieldError(f"label_smoothing is {recipe.label_smoothing}: it must be in [0, 1)")
    whole = recipe.architecture.image_input.image_size
    ends = [0.0, *(part.until for part in recipe.resolutions)]
    if ends != sorted(set(ends)) or ends[-1] > 1 or any(not 0 < part.side <= whole for part in recipe.resolutions):
        raise _FieldError(f"resolutions need sides of 1 to {whole} pixels and rising shares of the steps in (0, 1]")
    if recipe.edge_weight and recipe.resolutions:
        raise _FieldError("edge_weight needs images at their whole size: leave resolutions out")
