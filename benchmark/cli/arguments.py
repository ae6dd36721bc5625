"""From typed functions to arguments: what the signature and the docstring of a command say of each of its arguments.

A command is a function. What stands before the `/` of its signature is positional, the other parameters are options of
its own or dataclasses of `benchmark.cli.options`, whose fields are options that several commands share. The first line
of a dataclass's docstring is the title under which `--help` shows them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from docstring_parser import DocstringStyle, parse

from datamodules.common.errors import BenchmarkError


class UsageError(BenchmarkError):
    """Arguments that do not fit the command."""


@dataclass(frozen=True)
class Option:
    """How a value is given on the command line; `Annotated` puts it beside the type of the value.

    Attributes:
        metavar: What stands for the value in `--help`; several words take as many values. By default its own name.
        read: Makes the value of the text that is given, or of all texts where several are; None leaves it to the type.
        low: The smallest number that is taken.
        high: The largest.
        title: The title under which `--help` shows it; by default that of its dataclass, or of the command.
    """

    metavar: str | tuple[str, ...] = ""
    read: Callable[[Any], Any] | None = None
    low: float | None = None
    high: float | None = None
    title: str = ""


@dataclass(frozen=True)
class Argument:
    """One argument of a command.

    Attributes:
        name: Of the parameter or the field.
        kind: Its type, without `Annotated`.
        default: Its default, or `inspect.Parameter.empty` where it must be given.
        help: What it means.
        option: How it is given.
        title: The title under which `--help` shows it, empty where no dataclass says one.
        positional: Whether it is given by its place instead of its name.
    """

    name: str
    kind: Any
    default: Any
    help: str
    option: Option
    title: str
    positional: bool

    @property
    def flag(self) -> str:
        """As the user writes it."""
        return self.name if self.positional else f"--{self.name.replace('_', '-')}"

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is inspect.Parameter.empty

    @property
    def several(self) -> bool:
        """Whether it is a list, which may be given several times."""
        return get_origin(self.kind) is tuple

    def declaration(self) -> dict[str, Any]:
        """What `add_argument` is told of it."""
        option, shown = self.option, None if self.required or self.several else self.default
        if self.kind is bool:
            return {"action": "store_true", "help": self.help}
        keywords: dict[str, Any] = {"type": str if option.read else self.kind, "help": self.help}
        if self.positional:
            return keywords | ({"nargs": "*" if self.several else "?"} if not self.required else {})
        if isinstance(option.metavar, tuple):
            keywords["nargs"] = len(option.metavar)
        elif self.several:
            keywords["action"] = "append"
        if get_origin(self.kind) is not Literal:
            keywords["metavar"] = option.metavar or self.name.upper()
        return keywords | {"required": self.required, "default": str(shown) if option.read and shown else shown}

    def value(self, given: Any) -> Any:
        """The value of what the parser took.

        Raises:
            BenchmarkError: If it is what an unset shell variable leaves, holds a sign that no name has, is a number out
                of range, or cannot be read.
        """
        if given is None or given == []:
            return None if self.required else self.default
        for text in [given] if isinstance(given, str) else given if isinstance(given, list) else []:
            if not text.strip(", \t\n"):
                raise UsageError(f"{self.flag} is empty: give it a value or leave it out (is a shell variable unset?)")
            if "\0" in text:
                raise UsageError(f"{self.flag} holds a null character, which no name or path can")
        low, high = self.option.low, self.option.high
        if low is not None and high is not None and not low <= given <= high:  # not a number is beyond both
            raise UsageError(f"{self.flag} takes a number from {low} to {high}, not {given}")
        return self.option.read(given) if self.option.read else given


@cache
def arguments_of(target: Callable[..., Any], title: str = "") -> tuple[Argument, ...]:
    """The arguments of a command, or of a dataclass of options, in the order of their declaration; read once."""
    kinds, annotated, meanings = _kinds(target), get_type_hints(target, include_extras=True), _meanings(target)
    arguments: list[Argument] = []
    for name, parameter in inspect.signature(target).parameters.items():
        if is_dataclass(kinds[name]):
            arguments += arguments_of(kinds[name], title_of(kinds[name]))
            continue
        option = _option(annotated[name])
        positional = parameter.kind is inspect.Parameter.POSITIONAL_ONLY
        shown = option.title or title
        arguments.append(
            Argument(name, kinds[name], parameter.default, meanings.get(name, ""), option, shown, positional)
        )
    return tuple(arguments)


@cache
def _kinds(target: Callable[..., Any]) -> Mapping[str, Any]:
    """The type of each parameter, without `Annotated`."""
    return get_type_hints(target)


def called(target: Callable[..., Any], values: Mapping[str, Any]) -> Any:
    """Call a command, or make a dataclass of options, with those of the values that it takes, by name."""
    kinds = _kinds(target)
    parameters = inspect.signature(target).parameters
    taken = {name: called(kinds[name], values) if is_dataclass(kinds[name]) else values[name] for name in parameters}
    placed = [name for name in parameters if parameters[name].kind is inspect.Parameter.POSITIONAL_ONLY]
    positional = [taken.pop(name) for name in placed]
    return target(*positional, **taken)


def title_of(options: Any) -> str:
    """The title of a dataclass of options: the first line of its docstring, "Where." as "where"."""
    line = (inspect.getdoc(options) or "").partition("\n")[0].rstrip(".")
    return line[:1].lower() + line[1:]


def _meanings(target: Any) -> dict[str, str]:
    """What the docstring of a function, or those of a dataclass and its bases, say of each parameter."""
    owners = reversed(target.__mro__) if isinstance(target, type) else [target]
    return {
        documented.arg_name: " ".join((documented.description or "").split())
        for owner in owners
        for documented in parse(owner.__doc__ or "", DocstringStyle.GOOGLE).params
    }


def _option(annotation: Any) -> Option:
    for part in (annotation, *get_args(annotation)):
        for extra in part.__metadata__ if get_origin(part) is Annotated else ():
            if isinstance(extra, Option):
                return extra
    return Option()
