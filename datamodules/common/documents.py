"""The one way in for YAML and JSON: what people write and what lies on a disk is read here, within limits.

Nothing is instantiated: a document is mappings with text as keys, lists, text, whole numbers, real numbers, truth
values and null. What else YAML and JSON allow is refused with the file and the line:

| refused | why |
|---|---|
| a size, depth or number of items beyond `Limits`; aliases that multiply or contain themselves | memory and time |
| a key given twice, a key that is no text | one of the two values would be lost in silence |
| `no`, `off`, `010`, `1:30`, `2020-01-01` without quotes | YAML 1.1 reads them as something else than they say |
| NaN, infinities, whole numbers beyond 64 bits | they break comparisons, other programs and keys |
| bytes that are not UTF-8, control characters, halves of surrogate pairs | they break terminals and files |
"""

from __future__ import annotations

import json
import math
import re
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from datamodules.common.errors import BenchmarkError
from datamodules.common.text import hidden_sign, one_line

MOST_NUMBER = 2**63 - 1
"""Largest size of a whole number in a document: what 64 bits hold."""


class DocumentError(BenchmarkError):
    """A document that cannot be read; the message names the file and the line."""


@dataclass(frozen=True)
class Limits:
    """How large a document may be.

    Attributes:
        size_bytes: Of the text.
        depth: Of lists and mappings within each other.
        items: Values, keys included; what an alias stands for counts each time.
    """

    size_bytes: int
    depth: int = 32
    items: int = 20_000


SMALL = Limits(256 * 1024)
"""Of files that people write: suites, recipes, tuned values, options."""
LARGE = Limits(512 * 1024 * 1024, depth=64, items=50_000_000)
"""Of files that programs write: annotations of data sets, records, metadata."""


def regular_file(path: Path) -> int:
    """The size in bytes of a file that can be read to its end.

    Raises:
        DocumentError: If there is none, or it is a folder, a pipe or a device.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise DocumentError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # a null character in the name
        raise DocumentError(f"{path} cannot be read: {error}") from error
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
        raise DocumentError(f"{path} cannot be read: it is {kind}, not a file")
    return status.st_size


def read_bytes(path: Path, limits: Limits = SMALL) -> bytes:
    """The content of a file within limits.

    Raises:
        DocumentError: If it is no file, is too large, or cannot be read.
    """
    regular_file(path)
    try:
        with path.open("rb") as stream:
            content = stream.read(limits.size_bytes + 1)
    except OSError as error:
        raise DocumentError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(content) > limits.size_bytes:
        raise DocumentError(f"{path} is larger than {limits.size_bytes:,} bytes: this is no file of this kind")
    return content


def read_text(path: Path, limits: Limits = SMALL) -> str:
    """A file as UTF-8 text, with or without a byte-order mark.

    Raises:
        DocumentError: If it is no file, is too large, or is not UTF-8.
    """
    return decoded(read_bytes(path, limits), str(path))


def decoded(content: bytes, what: str) -> str:
    """Bytes as UTF-8 text; a byte-order mark at the beginning is taken off.

    Raises:
        DocumentError: If they are not UTF-8.
    """
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DocumentError(f"{what} is UTF-16 text: save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DocumentError(
            f"{what}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8: save the file as UTF-8 text"
        ) from error


# -- YAML --------------------------------------------------------------------------------------------------------------

_Events: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Reads the same events, in C where PyYAML has that: a tenth of the time."""
_CORE = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq")}
_TEXT, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
_TRUTH = re.compile(r"true|True|TRUE|false|False|FALSE")
_WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_REAL = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")


@dataclass(frozen=True)
class Document:
    """A document that was read.

    Attributes:
        content: Mappings, lists, text, numbers, truth values and None.
        root: PyYAML's tree of it, whose nodes know their lines; None for an empty document.
        name: Of the file, for messages.
    """

    content: Any
    root: yaml.Node | None
    name: str


def load_yaml(path: Path, limits: Limits = SMALL) -> Any:
    """The content of a YAML file.

    Raises:
        DocumentError: With the file and the line.
    """
    return parse_yaml(read_text(path, limits), path.name, limits).content


def parse_yaml(text: str, name: str, limits: Limits = SMALL, *, names_at: Collection[str] = ()) -> Document:
    """Read a YAML text.

    Args:
        text: The text; its size is checked too.
        name: Of its file or option, for messages.
        limits: How large it may be.
        names_at: Keys whose values are names, taken as they are written: `no`, `off` and `007` need no quotes there.

    Raises:
        DocumentError: With the name and the line.
    """
    if len(text) > limits.size_bytes:
        raise DocumentError(f"{name} is larger than {limits.size_bytes:,} characters")
    try:
        _check_events(text, name, limits)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is not None:
            _take_names(root, frozenset(names_at))
            _Check(name, limits).tree(root)
        content = None if root is None else yaml.SafeLoader("").construct_document(root)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read"
        raise DocumentError(f"{name}{line}: not YAML: {one_line(str(problem))}") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise DocumentError(f"{name}: not YAML: {one_line(str(error))}") from error
    return Document(content, root, name)


def _take_names(root: yaml.Node, keys: frozenset[str]) -> None:
    """Have the words that stand at some keys read as text, whatever YAML takes them for."""
    queue, seen = [(root, False)], set[tuple[int, bool]]()
    while queue:
        node, named = queue.pop()
        if (id(node), named) in seen:  # an alias, perhaps of what contains it
            continue
        seen.add((id(node), named))
        if isinstance(node, yaml.SequenceNode):
            queue += [(word, named) for word in node.value]
        elif isinstance(node, yaml.MappingNode):
            queue += [(value, isinstance(key, yaml.ScalarNode) and key.value in keys) for key, value in node.value]
        elif named and isinstance(node, yaml.ScalarNode) and node.style is None and node.value:
            node.tag = _TEXT


def line_of(node: yaml.Node) -> int:
    """The line of a node, from 1."""
    return int(node.start_mark.line) + 1


def _check_events(text: str, name: str, limits: Limits) -> None:
    """Depth and number before a tree is made: a loader that recurses would run out of stack on a deep text."""
    depth = items = 0
    event: yaml.Event
    for event in yaml.parse(text, Loader=_Events):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        items += isinstance(event, (yaml.ScalarEvent, yaml.AliasEvent, yaml.CollectionStartEvent))
        line = event.start_mark.line + 1 if event.start_mark else 1
        if depth > limits.depth:
            raise DocumentError(f"{name}, line {line}: more than {limits.depth} lists and mappings within each other")
        if items > limits.items:
            raise DocumentError(f"{name}, line {line}: more than {limits.items:,} values: this is no file of this kind")


class _Check:
    """Walks a tree once: sizes with aliases, tags, keys and values."""

    def __init__(self, name: str, limits: Limits) -> None:
        self._name = name
        self._limits = limits
        self._sizes: dict[int, int | None] = {}
        """By identity of a node how many values it stands for; None while it is being walked."""

    def tree(self, node: yaml.Node) -> int:
        """How many values a node stands for.

        Raises:
            DocumentError: If it holds something that is refused.
        """
        if id(node) in self._sizes:
            known = self._sizes[id(node)]
            if known is None:
                raise self._error(node, "an alias stands for something that contains it")
            return known
        self._sizes[id(node)] = None
        size = 1 + sum(self.tree(child) for child in self._children(node))
        if size > self._limits.items:
            raise self._error(node, f"aliases make more than {self._limits.items:,} values of it")
        self._sizes[id(node)] = size
        return size

    def _children(self, node: yaml.Node) -> Iterator[yaml.Node]:
        if node.tag not in _CORE | {_MERGE}:
            if node.tag == "tag:yaml.org,2002:timestamp":
                raise self._error(node, f"{_quoted(node)} is read as a date: put it in quotes")
            raise self._error(
                node, f"the tag {node.tag!r} is not supported: write plain text, numbers, lists, mappings"
            )
        if isinstance(node, yaml.MappingNode):
            self._keys(node)
            for key, value in node.value:
                yield key
                yield value
        elif isinstance(node, yaml.SequenceNode):
            yield from node.value
        elif isinstance(node, yaml.ScalarNode):
            self._scalar(node)

    def _keys(self, node: yaml.MappingNode) -> None:
        met: set[str] = set()
        for key, _ in node.value:
            if key.tag == _MERGE:
                continue
            if not isinstance(key, yaml.ScalarNode):
                raise self._error(key, "a key must be one word, not a list or a mapping")
            if key.tag != _TEXT:
                raise self._error(key, f"the key {_quoted(key)} is read as {_kind(key)}: put it in quotes")
            if key.value in met:
                raise self._error(key, f"the key {_quoted(key)} is given twice")
            met.add(key.value)

    def _scalar(self, node: yaml.ScalarNode) -> None:
        value, kind = node.value, node.tag.rpartition(":")[2]
        plain = node.style is None
        if kind == "bool" and plain and not _TRUTH.fullmatch(value):
            meaning = "true" if value.lower() in ("yes", "on") else "false"
            raise self._error(node, f"{_quoted(node)} is read as a truth value: put it in quotes, or write {meaning}")
        if kind == "int":
            if not _WHOLE.fullmatch(value):
                raise self._error(node, f"`{value}` is no plain whole number: put it in quotes if it is a name")
            if len(value) > 20 or abs(int(value)) > MOST_NUMBER:
                raise self._error(node, f"the number {value[:24]} does not fit into 64 bits")
        if kind == "float" and (not _REAL.fullmatch(value) or not math.isfinite(float(value))):
            raise self._error(node, f"{_quoted(node)} is not a finite number: put it in quotes if it is a name")
        if kind == "str" and (sign := hidden_sign(value.translate(_SPACES))):
            raise self._error(node, f"the text holds the sign {sign}, which is not shown: leave it out")

    def _error(self, node: yaml.Node, message: str) -> DocumentError:
        return DocumentError(f"{self._name}, line {line_of(node)}: {message}")


_SPACES = {ord(sign): " " for sign in "\t\n\r"}


def _quoted(node: yaml.Node) -> str:
    return f"`{one_line(str(node.value))[:40]}`"


def _kind(node: yaml.ScalarNode) -> str:
    words = {"bool": "a truth value", "int": "a number", "float": "a number", "null": "nothing"}
    return words.get(node.tag.rpartition(":")[2], "something else")


# -- JSON --------------------------------------------------------------------------------------------------------------
_HALF_PAIR = re.compile(r"\\u[dD][89abAB]|\\u[dD][c-fC-F]")


def load_json(path: Path, limits: Limits = LARGE) -> Any:
    """The content of a JSON file.

    Raises:
        DocumentError: With the file, and the line where the text is not JSON.
    """
    return parse_json(read_bytes(path, limits), str(path), limits)


def parse_json(content: bytes | str, what: str, limits: Limits = LARGE) -> Any:
    """Read a JSON text.

    Args:
        content: The text, as UTF-8 with or without a byte-order mark where it is bytes.
        what: Whence it is, for messages.
        limits: How large it may be.

    Raises:
        DocumentError: With the source, and the line where the text is not JSON.
    """
    if len(content) > limits.size_bytes:
        raise DocumentError(f"{what} is larger than {limits.size_bytes:,} bytes: this is no file of this kind")
    text = decoded(content, what) if isinstance(content, bytes) else content
    try:
        document = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_whole, parse_float=_finite
        )
    except json.JSONDecodeError as error:
        raise DocumentError(f"{what}, line {error.lineno}: not JSON: {one_line(error.msg)}") from error
    except RecursionError as error:
        raise DocumentError(f"{what}: more than {limits.depth} lists and objects within each other") from error
    except ValueError as error:
        raise DocumentError(f"{what}: {error}") from error
    if text.count("[") + text.count("{") > limits.depth:
        _check_depth(document, what, limits)
    if _HALF_PAIR.search(text):
        _check_pairs(text, document, what)
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for number, key in enumerate(keys) if key in keys[:number])
        raise ValueError(f"the key {one_line(twice)[:40]!r} is given twice")
    return mapping


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def _whole(text: str) -> int:
    number = int(text[:24])
    if len(text) > 24 or abs(number) > MOST_NUMBER:
        raise ValueError(f"the number {text[:24]} does not fit into 64 bits")
    return number


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:24]} is too large")
    return number


def _check_depth(content: Any, what: str, limits: Limits) -> None:
    level = [content] if isinstance(content, (dict, list)) else []
    for _ in range(limits.depth + 1):
        below = [container.values() if isinstance(container, dict) else container for container in level]
        level = [value for values in below for value in values if isinstance(value, (dict, list))]
        if not level:
            return
    raise DocumentError(f"{what}: more than {limits.depth} lists and objects within each other")


def _check_pairs(text: str, content: Any, what: str) -> None:
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        line = next((n for n, text_line in enumerate(text.split("\n"), start=1) if _HALF_PAIR.search(text_line)), 1)
        raise DocumentError(f"{what}, line {line}: half of a surrogate pair, which is no sign") from error
