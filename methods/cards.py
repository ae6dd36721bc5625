"""What a method says of itself: its card and its hyperparameters, with the source of each default."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from datamodules.cards import read_declarations
from datamodules.errors import BenchmarkError, UnknownNameError

Edits = Literal["nothing", "visual projection", "visual", "text", "text blocks"]
REGIME_NAMES = ("none", "names", "forget", "retain", "forget+retain", "pretraining")


class HyperparameterError(BenchmarkError):
    """A hyperparameter that does not exist or is out of its range."""


class ContractError(BenchmarkError):
    """A method that does not keep the contract of `methods.base`."""


@dataclass(frozen=True)
class MethodCard:
    """What a method is.

    Attributes:
        name: Registry name, equal to the file's name.
        title: One line for `list methods`.
        paper: Authors, venue and year, with the arXiv number; or "reference row".
        regime: The data it may read: one of `REGIME_NAMES`.
        edits: The parts of the CLIP it may touch; the runner fails a cell that touches another.
        stochastic: Whether the seed matters; a method without chance runs once.
        refuses: Whether it refuses names at inference, beside or instead of an edit: an output filter, which removes
            nothing; for reference rows alone.
    """

    name: str
    title: str
    paper: str
    regime: str
    edits: tuple[Edits, ...]
    stochastic: bool = True
    refuses: bool = False

    def __post_init__(self) -> None:
        if self.refuses and self.paper != "reference row":
            raise ContractError(
                f"method {self.name!r} declares refuses=True: an output filter is no unlearning; reference rows "
                "alone may refuse names"
            )
        if self.regime not in REGIME_NAMES:
            raise ContractError(
                f"method {self.name!r} declares data regime {self.regime!r}: use one of {', '.join(REGIME_NAMES)}"
            )
        unknown = set(self.edits) - set(typing.get_args(Edits))
        if unknown or not self.edits:
            raise ContractError(
                f"method {self.name!r} declares edits {self.edits}: use {', '.join(typing.get_args(Edits))}"
            )


def hyper(
    default: Any,
    *,
    source: str,
    low: float = -math.inf,
    high: float = math.inf,
    small: Any = None,
    small_source: str = "",
) -> Any:
    """A hyperparameter: its default, whence it is, and its range.

    Args:
        default: For the published backbones.
        source: Whence: a paper, official code, or "our choice, because ...".
        low: Smallest value allowed.
        high: Largest value allowed.
        small: The default for the small CLIPs of this project, if another.
        small_source: Whence that is; required with `small`.
    """
    if small is not None and not small_source:
        raise ContractError(f"the small-CLIP default {small!r} has no source")
    metadata = {"source": source, "low": low, "high": high, "small": small, "small_source": small_source}
    return dataclasses.field(default=default, metadata=metadata)


SMALL_FACTOR = 200.0
SMALL_RULE = "rule of methods/cards.py: small_rate"


def small_rate(published: float) -> float:
    """The learning rate of a small CLIP: the one rule by which published rates are carried over.

        rate = SMALL_FACTOR * published rate

    Our choice: a small CLIP gets tens of steps where a published run takes thousands, and was itself trained at larger
    rates. The one constant was picked on forget classes that no reported suite contains (suite `development`), so
    that Lip reaches its stopping accuracy and CLIPErase keeps the retained classes.
    """
    return SMALL_FACTOR * published


@dataclass(frozen=True)
class NoHyperparameters:
    """The hyperparameters of a method that has none."""


def resolve(kind: type, scale: str, overrides: Mapping[str, Any]) -> Any:
    """A hyperparameter object: the defaults of a scale, with overrides, checked.

    Args:
        kind: A frozen dataclass whose fields were made by `hyper`.
        scale: "published" or "small".
        overrides: Values by name.

    Raises:
        UnknownNameError: If a name does not exist.
        HyperparameterError: If a value is of the wrong type or out of range.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}
    values: dict[str, Any] = {}
    for name, field in fields.items():
        small = field.metadata.get("small")
        values[name] = small if scale == "small" and small is not None else field.default
    for name, value in overrides.items():
        if name not in fields:
            raise UnknownNameError("hyperparameter", name, fields)
        values[name] = _checked(fields[name], value, _annotation(kind, name))
    return kind(**values)


def _annotation(kind: type, name: str) -> Any:
    annotation = kind.__annotations__[name]
    if isinstance(annotation, str):
        scope = {"Literal": Literal, "float": float, "int": int, "bool": bool, "str": str, "None": None}
        return eval(annotation, {"__builtins__": {}}, scope)
    return annotation


def _checked(field: dataclasses.Field[Any], value: Any, annotation: Any) -> Any:
    allowed = typing.get_args(annotation)
    if typing.get_origin(annotation) is Literal:
        if value not in allowed:
            raise HyperparameterError(
                f"hyperparameter {field.name}={value!r}: use one of {', '.join(map(str, allowed))}"
            )
        return value
    kinds = tuple(k for k in (allowed or (annotation,)) if isinstance(k, type))
    if float in kinds and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        wanted = " or ".join(k.__name__ for k in kinds)
        raise HyperparameterError(f"hyperparameter {field.name}={value!r} is not {wanted}")
    low, high = field.metadata.get("low", -math.inf), field.metadata.get("high", math.inf)
    if isinstance(value, (int, float)) and not (math.isfinite(value) and low <= value <= high):
        raise HyperparameterError(f"hyperparameter {field.name}={value} is out of its range [{low:g}, {high:g}]")
    return value


@dataclass(frozen=True)
class Declaration:
    """A method's card and hyperparameter class, read from its file without importing it."""

    card: MethodCard
    hyperparameters: type
    path: Path


def read_method(path: Path) -> Declaration | None:
    """Read the declaration of a file; None if it declares no method.

    Raises:
        ContractError: If the declaration cannot be evaluated.
    """
    namespace = {
        "MethodCard": MethodCard,
        "hyper": hyper,
        "NoHyperparameters": NoHyperparameters,
        "small_rate": small_rate,
        "SMALL_RULE": SMALL_RULE,
    }
    try:
        found = read_declarations(path, ("CARD", "Hyperparameters"), namespace)
    except (SyntaxError, NameError, TypeError, ValueError) as error:
        raise ContractError(
            f"{path.name}: CARD or Hyperparameters cannot be read ({error}); "
            "they may use only literals, MethodCard, hyper and dataclass"
        ) from error
    card = found.get("CARD")
    if not isinstance(card, MethodCard):
        return None
    hyperparameters = found.get("Hyperparameters", NoHyperparameters)
    if not (isinstance(hyperparameters, type) and dataclasses.is_dataclass(hyperparameters)):
        raise ContractError(f"{path.name}: Hyperparameters must be a dataclass: put @dataclass(frozen=True) above it")
    return Declaration(card, hyperparameters, path)
