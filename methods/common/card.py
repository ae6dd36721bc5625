"""What a method says of itself: its card and its hyperparameters, with the source of each default."""

from __future__ import annotations

import ast
import dataclasses
import math
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union

from datamodules.common.card import read_declarations
from datamodules.common.documents import DocumentError, read_text
from datamodules.common.errors import BenchmarkError, UnknownNameError
from datamodules.common.text import hidden_sign, one_line

Edits = Literal["nothing", "visual projection", "visual", "text", "text blocks", "logit scale"]
"""Parts of a CLIP by name; beside them a card may give glob patterns of state-dict names, such as
`visual.transformer.resblocks.11.*`."""
Needs = Literal["visual projection", "text projection", "text blocks", "token embeddings", "names to forget"]
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
REGIME_NAMES = ("none", "names", "forget", "retain", "forget+retain", "pretraining")
Optimizer = Literal["adam", "sgd"]
RATES: dict[Optimizer, tuple[float, float]] = {"adam": (1e-6, 1e-2), "sgd": (1e-5, 1e-1)}
"""Between which learning rates every method of an optimizer is tuned on the small CLIPs: four decades (our choice). At
the low end forty steps change nothing; at the high end each step is several times that of a training from nothing. Adam
stands for all whose step is about the rate, whatever the gradient: Adam, AdamW."""


class HyperparameterError(BenchmarkError):
    """A hyperparameter that does not exist or is out of its range."""


class ContractError(BenchmarkError):
    """A method that does not keep the contract of `methods.common.base`."""


@dataclass(frozen=True)
class MethodCard:
    """What a method is.

    Attributes:
        name: Registry name, equal to the file's name.
        title: One line for `list methods`.
        paper: Authors, venue and year, with the arXiv number; or "reference row".
        regime: The data it may read: one of `REGIME_NAMES`.
        edits: The parts of the CLIP it may touch, of `Edits` or as glob patterns of state-dict names; the runner fails
            a cell that touches another.
        adds: Glob patterns of the paths of modules at which it may add modules (`methods.common.added`), and whose
            weights it may change by merging them.
        stochastic: Whether the seed matters; a method without chance runs once.
        refuses: Whether it refuses names at inference, beside or instead of an edit: an output filter, which removes
            nothing; for reference rows alone.
        needs: Parts that a model must have for it to work, beside those that it edits; and "names to forget", of a
            method that reads images and cannot work on a request that chooses some without naming anything.
        deviations: Where it departs from its source, a short sentence each with the reason; empty where it does not.
    """

    name: str
    title: str
    paper: str
    regime: str
    edits: tuple[str, ...]
    stochastic: bool = True
    refuses: bool = False
    needs: tuple[Needs, ...] = ()
    deviations: tuple[str, ...] = ()
    adds: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for part in ("name", "title", "paper", "regime"):
            text = getattr(self, part)
            if not isinstance(text, str) or not text.strip():
                raise ContractError(f"a method card's {part} must be text, not {text!r}")
            if sign := hidden_sign(text):
                raise ContractError(f"method card: its {part} holds the sign {sign}, which is not shown: leave it out")
        check_name(self.name)
        _check_sentences(self.name, self.deviations)
        if not isinstance(self.stochastic, bool) or not isinstance(self.edits, tuple):
            raise ContractError(f"method {self.name!r}: stochastic is True or False, edits a tuple such as ('visual',)")
        if self.refuses and self.paper != "reference row":
            raise ContractError(
                f"method {self.name!r} declares refuses=True: an output filter is no unlearning; reference rows "
                "alone may refuse names"
            )
        if self.regime not in REGIME_NAMES:
            raise ContractError(
                f"method {self.name!r} declares data regime {self.regime!r}: use one of {', '.join(REGIME_NAMES)}"
            )
        if not self.edits or not all(part in typing.get_args(Edits) or is_pattern(part) for part in self.edits):
            raise ContractError(
                f"method {self.name!r} declares edits {self.edits}: use {', '.join(typing.get_args(Edits))}, or glob "
                "patterns of state-dict names such as 'visual.transformer.resblocks.11.*'"
            )
        if not isinstance(self.adds, tuple) or not all(is_pattern(path) or _is_path(path) for path in self.adds):
            raise ContractError(
                f"method {self.name!r} declares adds {self.adds}: use a tuple of paths of modules or glob patterns of "
                "them, such as ('visual.transformer.resblocks.*.mlp',)"
            )
        if not isinstance(self.needs, tuple) or set(self.needs) - set(typing.get_args(Needs)):
            raise ContractError(
                f"method {self.name!r} declares needs {self.needs}: use a tuple of {', '.join(typing.get_args(Needs))}"
            )


_PATTERN = re.compile(r"[A-Za-z0-9_.*?\[\]!-]+")


def is_pattern(part: object) -> bool:
    """Whether a declared part is a glob pattern of state-dict names: it has a dot or a star, or is a name with `_`."""
    return isinstance(part, str) and _PATTERN.fullmatch(part) is not None and any(sign in part for sign in ".*?_")


def has_patterns(card: MethodCard) -> bool:
    """Whether a card names parts of a model by glob patterns, which fit one architecture and not another."""
    return bool(card.adds) or any(part not in typing.get_args(Edits) for part in card.edits)


def _is_path(path: object) -> bool:
    return isinstance(path, str) and path.isidentifier()


def _check_sentences(name: str, deviations: object) -> None:
    """Raise a `ContractError` unless the deviations are a tuple of texts of one line each."""
    if not isinstance(deviations, tuple):
        raise ContractError(f"method {name!r}: deviations is a tuple of sentences, not {deviations!r}")
    for sentence in deviations:
        if not isinstance(sentence, str) or not sentence.strip():
            raise ContractError(f"method {name!r}: a deviation must be a sentence, not {sentence!r}")
        if sign := hidden_sign(sentence):
            raise ContractError(f"method {name!r}: a deviation holds the sign {sign}, which is not shown: leave it out")


def check_name(name: str) -> None:
    """Check that a method can have a name.

    Raises:
        ContractError: If it cannot.
    """
    if not _NAME.fullmatch(name):
        raise ContractError(f"method name {name!r}: use letters, digits and '_' only, a letter first")


def hyper(
    default: Any,
    *,
    source: str,
    low: float = -math.inf,
    high: float = math.inf,
    small: Any = None,
    small_source: str = "",
    rate: Optimizer | None = None,
) -> Any:
    """A hyperparameter: its default, whence it is, and its range.

    Args:
        default: For the published backbones.
        source: Whence: a paper, official code, or "our choice, because ...".
        low: Smallest value allowed.
        high: Largest value allowed.
        small: The default for the small CLIPs of this project, if another.
        small_source: Whence that is; required with `small`.
        rate: That it is the learning rate of this optimizer. A small CLIP is no published backbone: there the rate is
            tuned, and before that it is the middle of the range of all methods with this optimizer (`RATES`).
    """
    if rate is not None and small is None:
        if rate not in RATES:
            raise ContractError(f"rate={rate!r}: use {' or '.join(RATES)}")
        small, small_source = (
            middle_rate(rate),
            "to be tuned; the middle of the range of all methods with its optimizer",
        )
    if small is not None and not small_source:
        raise ContractError(f"the small-CLIP default {small!r} has no source")
    metadata = {"source": source, "low": low, "high": high, "small": small, "small_source": small_source, "rate": rate}
    return dataclasses.field(default=default, metadata=metadata)


def middle_rate(optimizer: Optimizer) -> float:
    """The middle of an optimizer's range, in logarithms."""
    low, high = RATES[optimizer]
    return float(f"{math.sqrt(low * high):.3g}")


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
    hints = hints_of(kind)
    for name, field in fields.items():
        small = field.metadata.get("small")
        default = small if scale == "small" and small is not None else field.default
        values[name] = _checked(field, default, hints[name])
    for name, value in overrides.items():
        if name not in fields:
            raise UnknownNameError("hyperparameter", name, fields)
        values[name] = _checked(fields[name], value, hints[name])
    return kind(**values)


def hints_of(kind: type) -> dict[str, Any]:
    """The type of each hyperparameter, by name, however its annotation is written."""
    return typing.get_type_hints(kind)


_UNFIT = object()
"""In the place of a value that does not fit its type."""
_SIMPLE = (bool, int, float, str, type(None))


def _checked(field: dataclasses.Field[Any], value: Any, annotation: Any) -> Any:
    """A value as its type holds it: whole numbers become real ones and lists become tuples where those are declared.

    Raises:
        HyperparameterError: If it is of another type, not among the choices, or out of range.
    """
    fitting = _fitted(value, annotation)
    if fitting is _UNFIT:
        if typing.get_origin(annotation) is Literal:
            raise HyperparameterError(f"hyperparameter {field.name}={value!r}: use {_words(annotation)}")
        hint = ": write 1.0e-8 for 1e-8" if isinstance(value, str) and _EXPONENT.fullmatch(value) else ""
        raise HyperparameterError(f"hyperparameter {field.name}={value!r} is not {_words(annotation)}{hint}")
    low, high = field.metadata.get("low", -math.inf), field.metadata.get("high", math.inf)
    for number in fitting if isinstance(fitting, tuple) else (fitting,):
        if isinstance(number, (int, float)) and not (math.isfinite(number) and low <= number <= high):
            raise HyperparameterError(f"hyperparameter {field.name}={fitting} is out of its range [{low:g}, {high:g}]")
    return fitting


_EXPONENT = re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+")
"""A number that YAML 1.1 takes for text."""


def _fitted(value: Any, annotation: Any) -> Any:
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return value if any(type(value) is type(choice) and value == choice for choice in inner) else _UNFIT
    if origin in (Union, UnionType):
        exact = [member for member in inner if type(value) is member]
        fitting = (_fitted(value, member) for member in (*exact, *inner))
        return next((fitted for fitted in fitting if fitted is not _UNFIT), _UNFIT)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            return _UNFIT
        kinds = [inner[0]] * len(value) if inner[1:] == (...,) else list(inner)
        items = tuple(_fitted(item, kind) for item, kind in zip(value, kinds, strict=False))
        return items if len(kinds) == len(value) and _UNFIT not in items else _UNFIT
    if annotation is float and type(value) is int:
        return float(value)
    return value if type(value) is annotation else _UNFIT


def _words(annotation: Any) -> str:
    """A type in words: "one of a, b", "float or None"."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin in (Union, UnionType):
        return " or ".join(map(_words, inner))
    if origin is tuple:
        return f"a list of {' and '.join(_words(item) for item in inner if item is not ...)}"
    return "None" if annotation is type(None) else str(annotation.__name__)


def _check_type(annotation: Any) -> None:
    """Raise a `TypeError` if a hyperparameter cannot be of this type: no file and no command line could set it."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, UnionType):
        for member in inner:
            _check_type(member)
    elif origin is tuple and inner:
        for item in inner:
            _check_type(type(None) if item is ... else item)
    elif origin is Literal:
        for choice in inner:
            _check_type(type(choice))
    elif annotation not in _SIMPLE:
        raise TypeError(f"{annotation} is no type of a hyperparameter: use float, int, bool, str, Literal, or tuples")


@dataclass(frozen=True)
class Declaration:
    """A method's card and hyperparameter class, read from its file without importing it."""

    card: MethodCard
    hyperparameters: type
    path: Path


_PLACES = ("methods", "methods.common.card", "methods.cards")
"""From where a declaration may import what it is made of; the last is the former place."""
_UNREADABLE = (ArithmeticError, AttributeError, ImportError, LookupError, NameError, SyntaxError, TypeError, ValueError)
"""What evaluating a declaration may raise."""


def read_method(path: Path) -> Declaration | None:
    """Read the declaration of a file; None if it declares no method.

    Raises:
        ContractError: If the declaration cannot be evaluated.
    """
    namespace = {
        "MethodCard": MethodCard,
        "hyper": hyper,
        "NoHyperparameters": NoHyperparameters,
    }
    try:
        declared = read_declarations(path, ("CARD", "Hyperparameters"), namespace, dict.fromkeys(_PLACES, namespace))
        card = declared.get("CARD")
        if not isinstance(card, MethodCard):
            return None
        hyperparameters = declared.get("Hyperparameters", NoHyperparameters)
        if not (isinstance(hyperparameters, type) and dataclasses.is_dataclass(hyperparameters)):
            raise TypeError("Hyperparameters must be a dataclass: put @dataclass(frozen=True) above it")
        _check_defaults(hyperparameters)
    except DocumentError as error:
        raise ContractError(str(error)) from error
    except HyperparameterError as error:
        raise ContractError(f"{path.name}: the default of {error}") from error
    except _UNREADABLE as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise ContractError(
            f"{path.name}{line}: CARD or Hyperparameters cannot be read ({one_line(str(error))}); "
            "they may use only literals, constants of the file, typing, math, MethodCard, hyper and dataclass"
        ) from error
    return Declaration(card, hyperparameters, path)


def check_one_class(path: Path) -> None:
    """Check that no two classes of a file take its card: which of them would be run is not said.

    Raises:
        ContractError: If two do.
    """
    classes = [node for node in ast.parse(read_text(path)).body if isinstance(node, ast.ClassDef)]
    taking = [node for node in classes if any(ast.unparse(line) == "card = CARD" for line in node.body)]
    if len(taking) > 1:
        names = " and ".join(f"{node.name} (line {node.lineno})" for node in taking[:2])
        raise ContractError(
            f"{path.name}: {names} have one card: a file declares one method, move one to a second file"
        )


def _check_defaults(kind: type) -> None:
    """Check that each hyperparameter has a default that it could also be set to.

    Raises:
        TypeError: If one has no default, or is of a type that cannot be set.
        HyperparameterError: If a default does not fit its type or its range.
    """
    hints = hints_of(kind)
    for field in dataclasses.fields(kind):
        if field.default is dataclasses.MISSING:
            raise TypeError(f"{field.name} has no default: write {field.name}: TYPE = hyper(DEFAULT, source=...)")
        _check_type(hints[field.name])
        _checked(field, field.default, hints[field.name])
        if field.metadata.get("small") is not None:
            _checked(field, field.metadata["small"], hints[field.name])
