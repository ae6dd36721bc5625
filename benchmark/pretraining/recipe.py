"""A pretraining recipe: an architecture, a corpus and a schedule, read from a YAML file of this folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, NotRequired

from annotated_types import Ge, Gt, Le, Lt, MinLen
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from benchmark.models.compact import Architecture
from benchmark.models.registry import RECIPES, recipe_names
from datamodules.common.documents import Document, load_yaml
from datamodules.common.errors import UnknownNameError
from datamodules.common.validation import STRICT, filled

MuonParameters = Literal["blocks", "convolutions"]
Decay = Literal["cosine", "linear"]
Border = Literal["edge", "reflect"]
LabelLoss = Literal["pairs", "classes"]
Fraction = Annotated[float, Ge(0), Le(1)]
Positive = Annotated[float, Gt(0)]
Count = Annotated[int, Ge(1)]


class Cycle(TypedDict):
    """A further cycle of a schedule; what it does not name is as in the first one."""

    epochs: Positive
    learning_rate: Positive
    warmup: Fraction
    label_share: NotRequired[tuple[Fraction, Fraction]]


Cycle.__pydantic_config__ = STRICT  # type: ignore[attr-defined]


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

    __pydantic_config__: ClassVar = STRICT

    parameters: MuonParameters
    learning_rate: Positive
    momentum: Fraction
    iterations: Count
    weight_decay: float


@dataclass(frozen=True)
class Resolution:
    """The side of the images in a part of the training.

    Attributes:
        side: In pixels.
        until: Share of the steps at which the part ends.
    """

    __pydantic_config__: ClassVar = STRICT

    side: Count
    until: Annotated[float, Gt(0), Le(1)]


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

    __pydantic_config__: ClassVar = STRICT

    name: str
    title: str
    architecture: Architecture
    data: Annotated[tuple[str, ...], MinLen(1)]
    epochs: Positive
    batch_size: Count
    learning_rate: Positive
    weight_decay: float
    warmup: Fraction
    flip: bool
    shift: Fraction
    templates: tuple[str, ...]
    label_share: tuple[Fraction, Fraction]
    edge_weight: float = 0.0
    further_cycles: tuple[Cycle, ...] = ()
    shares: tuple[Count, ...] = ()
    resolutions: tuple[Resolution, ...] = ()
    muon: MuonSettings | None = None
    vector_learning_rate: float | None = None
    decay: Decay = "cosine"
    border: Border = "edge"
    template_weights: tuple[float, ...] = ()
    label_loss: LabelLoss = "pairs"
    label_smoothing: Annotated[float, Ge(0), Lt(1)] = 0.0
    logit_scale: float | None = None
    whitened_stem: bool = False

    def __post_init__(self) -> None:
        shares, weights = self.shares, self.template_weights
        if shares and (len(shares) != len(self.data) or sum(shares) != self.batch_size):
            raise ValueError(f"shares {list(shares)} must be one number a data set that add up to {self.batch_size}")
        if weights and len(weights) != len(self.templates):
            raise ValueError(f"template_weights must be one number a template: {len(self.templates)}")
        full_side = self.architecture.image_input.image_size
        ends = [part.until for part in self.resolutions]
        if ends != sorted(set(ends)) or any(part.side > full_side for part in self.resolutions):
            raise ValueError(
                f"resolutions need sides of 1 to {full_side} pixels and rising shares of the steps in (0, 1]"
            )
        if self.edge_weight and self.resolutions:
            raise ValueError("edge_weight needs images at their whole size: leave resolutions out")

    def values(self) -> dict[str, Any]:
        """What the recipe sets, without its name and title: what a model trained by it depends on."""
        return {name: value for name, value in asdict(self).items() if name not in ("name", "title")}

    def cycles(self) -> tuple[Recipe, ...]:
        """The recipe of each cycle."""
        first = replace(self, further_cycles=())
        return (first, *(replace(first, resolutions=(), **cycle) for cycle in self.further_cycles))

    def side_at(self, progress: float) -> int:
        """The side of the images when this share of the steps is over, in pixels."""
        full_side = self.architecture.image_input.image_size
        return next((part.side for part in self.resolutions if progress < part.until), full_side)


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
    return filled(Recipe, Document({"name": name, **content}, None, f"recipe {name!r}"))
