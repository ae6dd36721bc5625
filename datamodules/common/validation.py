"""What a document holds, checked against the dataclass that it fills; pydantic checks, strictly: nothing is converted.

A dataclass that is filled from a document says so with `__pydantic_config__: ClassVar = STRICT`; its annotations are
what is checked, with the bounds of `annotated_types` where a number has some. What it says of its values together
stands in its `__post_init__`, as a ValueError whose message goes on after the place: "needs a above b".
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import typing_extensions
import yaml

from datamodules.common.documents import Document, DocumentError, line_of
from datamodules.common.errors import UnknownNameError
from datamodules.common.text import one_line

if TYPE_CHECKING:
    from pydantic import ConfigDict, TypeAdapter
    from pydantic_core import ErrorDetails

Shape = TypeVar("Shape")
STRICT: ConfigDict = {"extra": "forbid", "strict": True, "allow_inf_nan": False}
"""No key that the dataclass lacks, no text that is read as a number, no infinity."""
_WANTED = {
    "dict": "a mapping",
    "mapping": "a mapping",
    "dataclass": "a mapping",
    "list": "a list",
    "tuple": "a list",
    "string": "text",
    "int": "a whole number",
    "float": "a real number",
    "finite_number": "a finite number",
    "bool": "true or false",
}
"""By the beginning of pydantic's type of error what is expected."""
_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")
_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
_WORDS = {dict: "a mapping", list: "a list", type(None): "nothing"}


def filled(kind: type[Shape], document: Document, text: str | None = None) -> Shape:
    """A dataclass filled from a document.

    Args:
        kind: With `__pydantic_config__ = STRICT`, and so each dataclass within it. Lists fill tuples.
        document: Its lines are in the messages where it is YAML.
        text: Its content as JSON where that is at hand, which saves making it.

    Raises:
        DocumentError: If a key is missing or unknown or a value is of another kind: one line with the file, the line
            and the place in it.
    """
    from pydantic import ValidationError

    try:
        return typing.cast(Shape, _adapter(typing.cast(Any, kind)).validate_json(text or json.dumps(document.content)))
    except ValidationError as error:
        # an unknown key before a missing one: it is often the missing one, misspelt
        first = min(error.errors(include_url=False), key=lambda detail: detail["type"] not in _UNKNOWN)
    first["loc"] = _without_alternatives(first, document.content)
    raise DocumentError(f"{place_of(document, *first['loc'])}: {_in_words(kind, first)}")


def place_of(document: Document, *steps: int | str) -> str:
    """The file and, where it is YAML, the line of a place in it: keys, and places in lists counted from 0."""
    line = _line_at(document.root, steps)
    return f"{document.name}, line {line}" if line else document.name


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _without_alternatives(error: ErrorDetails, content: Any) -> tuple[int | str, ...]:
    """The place of an error in the content: pydantic also names which kind of a union it tried."""
    steps: list[int | str] = []
    for step in error["loc"]:
        inside = range(len(content)) if isinstance(content, list) else content if isinstance(content, dict) else ()
        if step in inside:
            steps.append(step)
            content = content[step]
    if error["type"].startswith("missing"):
        steps.append(error["loc"][-1])
    return tuple(steps)


def _in_words(kind: type, error: ErrorDetails) -> str:
    """What is wrong, for people."""
    *above, last = error["loc"] or ("",)
    within = f" in {_path(above)}" if above else ""
    if isinstance(last, int) and error["type"] == "missing":
        return f"{_path(above)} has too few values"
    if error["type"] in ("missing", "missing_argument"):
        return f"the key {last!r} is missing{within}"
    if error["type"] in _UNKNOWN:
        unknown = UnknownNameError("key", str(last), _keys_at(kind, above))
        return f"{_path(above)}: {unknown}" if above else str(unknown)
    place, given = f"{_path(error['loc'])} ".lstrip(), _given(error["input"])
    context = error.get("ctx", {})
    if error["type"] == "value_error":  # raised by the dataclass itself
        return f"{place}{context['error']}"
    if error["type"] == "literal_error":
        return f"{place}is {given}: use {str(context['expected']).replace(chr(39), '')}"
    if bound := next((name for name in _BOUNDS if name in context), None):
        return f"{place}must be {_BOUNDS[bound]} {context[bound]}, not {given}"
    if error["type"] == "too_short":
        return f"{place}is empty" if context["min_length"] == 1 else f"{place}needs {context['min_length']} values"
    if error["type"] == "too_long":
        return f"{place}has {context['actual_length']} values: {context['max_length']} are the most"
    if not place and (keys := _keys_at(kind, ())):
        return f"must be a mapping with the keys {', '.join(keys)}, not {given}"
    wanted = next((words for begin, words in _WANTED.items() if error["type"].startswith(begin)), None)
    return f"{place}must be {wanted}, not {given}" if wanted else f"{place}is {given}: {one_line(error['msg'])}"


def _path(loc: typing.Iterable[int | str]) -> str:
    """A place in a document: `tasks[0].others`; places in lists are counted from 0."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in loc)
    return text.removeprefix(".")


def _given(value: Any) -> str:
    return _WORDS.get(type(value)) or one_line(repr(value))[:40]


def _keys_at(kind: Any, loc: typing.Iterable[int | str]) -> list[str]:
    """The keys that a mapping at a place may have."""
    for step in loc:
        kind = _within(kind, step)
    parts = next((parts for part in _alternatives(kind) if (parts := _parts(part))), {})
    return [name for name, part in parts.items() if part is not typing.ClassVar]


def _within(kind: Any, step: int | str) -> Any:
    """The kind of what stands at a step within a value of a kind; None where it has no such part."""
    for part in _alternatives(kind):
        if parts := _parts(part):
            return parts.get(str(step))
        if arguments := typing.get_args(part):
            return arguments[0] if isinstance(step, int) else arguments[-1]
    return None


def _parts(kind: Any) -> dict[str, Any]:
    """The kinds of what a dataclass or a typed dictionary holds, by key; empty for all others."""
    return typing.get_type_hints(kind) if dataclasses.is_dataclass(kind) or typing_extensions.is_typeddict(kind) else {}


def _alternatives(kind: Any) -> tuple[Any, ...]:
    """The kinds of a union, or the one."""
    return typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)


def _line_at(root: yaml.Node | None, loc: typing.Iterable[int | str]) -> int | None:
    """The line of a place in a YAML tree, or of the nearest that is there around it; None without a tree."""
    if root is None:
        return None
    node, line = root, line_of(root)
    for step in loc:
        if isinstance(node, yaml.MappingNode):
            pair = next(((key, value) for key, value in node.value if key.value == step), None)
            if pair is None:
                break
            line, node = line_of(pair[0]), pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = line_of(node)
        else:
            break
    return line
