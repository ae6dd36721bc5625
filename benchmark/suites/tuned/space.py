"""What of a method is searched: derived from its declared hyperparameters, overridden in `spaces.yaml`.

| hyperparameter | what is searched by itself |
|---|---|
| a learning rate (`hyper(..., rate=...)`) | four decades, the same for all methods with its optimizer (`RATES`) |
| `max_steps`, where its default is one of the budgets `STEPS` | these |
| `checkpoints`: whether a held-out selection chooses the state | off (0), or `LOOKS` looks |
| another real number with two finite bounds | all between them, evenly |
| another real number | from a tenth to ten times its default, in logarithms, cut at its declared bounds |
| a `Literal` | its choices |
| other whole numbers | not: they are batches and images, which are the cost and not the setting |

An entry of `spaces.yaml` says why its method's space is as it is, and may replace single parts:

    METHOD:
      reason: one line
      space:
        NAME: {low: 0.01, high: 1.0, scale: log}   # or linear
        OTHER: [2, 5, 10]                          # choices, whole numbers too
        THIRD: null                                # not searched
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from datamodules.common.documents import Document, DocumentError, load_yaml
from datamodules.common.errors import BenchmarkError, UnknownNameError
from datamodules.common.validation import STRICT, Shape, filled
from methods.common.card import RATES, HyperparameterError, hints_of, resolve
from methods.common.registry import Registry

SPACES = Path(__file__).parent / "spaces.yaml"
FACTOR = 10.0
"""How far a derived range goes from the default, either way; our choice, wide enough for what is off by one order."""
STEPS = (20, 40, 120)
"""Training steps of 24 pairs of each part. Our choice: the longest is under a minute on one core with a small CLIP."""
LOOKS = 8
"""How often a training looks at held-out pairs where that is on; our choice: one look in five steps of forty."""
DIGITS = 3
"""Significant digits of a drawn value: more would look more exact than a search of so few trials is."""
SMALL: Literal["small"] = "small"
"""The scale whose defaults are tuned; published backbones keep the published ones."""


class SpaceError(BenchmarkError):
    """A search space that does not fit what its method declares."""


@dataclass(frozen=True)
class Range:
    """The real numbers between two ends, drawn evenly in themselves or in their logarithms."""

    __pydantic_config__: ClassVar = STRICT

    low: float
    high: float
    scale: Literal["log", "linear"]

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"needs low below high, not {self.low} and {self.high}")
        if self.scale == "log" and self.low <= 0:
            raise ValueError(f"has no logarithm at {self.low}: use scale: linear")

    def rounded(self, value: float) -> float:
        """A drawn value with `DIGITS` significant digits, never outside."""
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)

    def holds(self, value: Any) -> bool:
        """Whether a value lies in it."""
        return isinstance(value, (int, float)) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}" + (" (log)" if self.scale == "log" else "")


@dataclass(frozen=True)
class Choice:
    """A few values."""

    values: tuple[Any, ...]

    def holds(self, value: Any) -> bool:
        """Whether a value is one of them."""
        return value in self.values

    def __str__(self) -> str:
        return ", ".join(map(str, self.values))


Dimension = Range | Choice


@dataclass(frozen=True)
class SpaceEntry:
    """What `spaces.yaml` says of one method."""

    __pydantic_config__: ClassVar = STRICT

    reason: str
    space: Mapping[str, dict[str, Any] | list[Any] | None] = field(default_factory=dict)


@dataclass(frozen=True)
class SearchSpace:
    """What is searched of a method.

    Attributes:
        method: Registry name.
        dimensions: By hyperparameter, in the order of their declaration; empty where there is nothing to tune.
        defaults: Those of these hyperparameters before tuning: the first trial.
        reason: Why it is so, one line; empty where the space is derived alone.
        rate: The hyperparameter that is its learning rate; empty where none is searched.
    """

    method: str
    dimensions: Mapping[str, Dimension]
    defaults: Mapping[str, Any]
    reason: str = ""
    rate: str = ""


def competes(registry: Registry, method: str) -> bool:
    """Whether a method is ranked, so that it is tuned: all but the reference rows."""
    return registry.declaration(method).card.paper != "reference row"


def space_of(registry: Registry, method: str, entries: Mapping[str, Any] | None = None) -> SearchSpace:
    """The search space of a method.

    Args:
        registry: The methods.
        method: Registry name.
        entries: The content of `spaces.yaml`, by default of the project's.

    Raises:
        SpaceError: If the entry of the method does not fit what the method declares.
        UnknownNameError: If it names a hyperparameter that does not exist.
    """
    kind = registry.declaration(method).hyperparameters
    entry = _entry(method, (_project_spaces() if entries is None else entries).get(method, {"reason": ""}))
    names = [parameter.name for parameter in dataclasses.fields(kind)]
    for name in entry.space:
        if name not in names:
            raise UnknownNameError(f"hyperparameter of {method!r} in {SPACES.name}", str(name), names)
    defaults = vars(resolve(kind, SMALL, {}))
    derived = _derived(kind, defaults)
    dimensions: dict[str, Dimension] = {}
    for name in names:
        dimension = _dimension(method, name, entry.space[name]) if name in entry.space else derived.get(name)
        if dimension is not None:
            _check_fits(method, kind, name, dimension, defaults[name])
            dimensions[name] = dimension
    rate = next((p.name for p in dataclasses.fields(kind) if p.metadata.get("rate") and p.name in dimensions), "")
    return SearchSpace(method, dimensions, {name: defaults[name] for name in dimensions}, entry.reason, rate)


@cache
def _project_spaces() -> dict[str, Any]:
    content = load_yaml(SPACES)
    if not isinstance(content, dict):
        raise SpaceError(f"{SPACES.name}: a mapping of methods to their spaces is expected")
    return content


def _derived(kind: type, defaults: Mapping[str, Any]) -> dict[str, Dimension]:
    hints = hints_of(kind)
    derived: dict[str, Dimension] = {}
    for parameter in dataclasses.fields(kind):
        name = parameter.name
        dimension = _derived_dimension(parameter, hints[name], defaults[name])
        if dimension is not None:
            derived[name] = dimension
    return derived


def _derived_dimension(parameter: dataclasses.Field[Any], hint: Any, default: Any) -> Dimension | None:
    low, high = parameter.metadata.get("low", -math.inf), parameter.metadata.get("high", math.inf)
    if rate := parameter.metadata.get("rate"):
        return Range(*RATES[rate], "log")
    if parameter.name == "max_steps":
        return Choice(STEPS) if default in STEPS else None
    if parameter.name == "checkpoints":
        return Choice((0, default or LOOKS))
    if typing.get_origin(hint) is Literal:
        return Choice(typing.get_args(hint))
    if not isinstance(default, float):
        return None
    if math.isfinite(low) and math.isfinite(high):
        return Range(float(low), float(high), "linear")
    return Range(max(default / FACTOR, low), min(default * FACTOR, high), "log") if default > 0 else None


def _entry(method: str, content: Any) -> SpaceEntry:
    return _filled(SpaceEntry, content, f"{SPACES.name}, {method}")


def _dimension(method: str, name: str, content: dict[str, Any] | list[Any] | None) -> Dimension | None:
    if content is None:
        return None
    if isinstance(content, dict):
        return _filled(Range, content, f"{SPACES.name}, {method}.{name}")
    if not content:
        raise SpaceError(f"{SPACES.name}, {method}.{name}: a list of choices is not empty; null is not searched")
    return Choice(tuple(content))


def _filled(kind: type[Shape], content: Any, place: str) -> Shape:
    try:
        return filled(kind, Document(content, None, place))
    except DocumentError as error:
        raise SpaceError(str(error)) from error


def _check_fits(method: str, kind: type, name: str, dimension: Dimension, default: Any) -> None:
    ends = dimension.values if isinstance(dimension, Choice) else (dimension.low, dimension.high)
    for value in ends:
        try:
            resolve(kind, SMALL, {name: value})
        except HyperparameterError as error:
            raise SpaceError(f"{SPACES.name}: the space of {method!r} exceeds what it declares: {error}") from error
    if not dimension.holds(default):
        raise SpaceError(f"{SPACES.name}: {method}.{name} does not hold its own default {default!r}: {dimension}")
