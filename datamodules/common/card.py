"""Cards: what a data set or a method says of itself, readable without importing it.

A file in a registry declares its card as one top-level expression, `CARD = SomeCard(...)`, of literals.
`read_declarations` evaluates only that expression (and the dataclasses that it is asked for), so `list`,
`plan` and `--help` need neither torch nor the optional packages that one method may import.
"""

from __future__ import annotations
import __future__

import ast
import builtins
import dataclasses
import importlib
import typing
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, Literal

from datamodules.common.documents import Limits, read_text

TaskKind = Literal["classification", "retrieval"]
FOLDER_SCHEME = "folder:"
"""What stands before the name of a folder of one's own images."""
CAPTIONS_SCHEME = "captions:"
"""What stands before the name of a file that lists one's own images with captions."""
SHARDS_SCHEME = "shards:"
"""What stands before the name of a folder of WebDataset shards."""
TORCHVISION_SCHEME = "torchvision:"
"""What stands before the name of a data set of torchvision."""
HUB_SCHEME = "hf:"
"""What stands before the name of a data set of the Hugging Face hub."""
DEVELOPMENT_SCHEME = "development:"
"""What stands before the name of a data set of which no test image is read: settings are chosen on it."""
MEMORY_SCHEME = "memory:"
"""What stands before the name of a model or a data set that exists in one Python process only."""


@dataclass(frozen=True)
class DatasetCard:
    """What a data set is.

    Attributes:
        name: Registry name, equal to the file's name.
        title: One line for `list datasets`.
        tasks: Which evaluations it serves.
        source: Where its files come from (a paper or an address), or "generated".
        folder: What must lie below `--data-dir`; empty for a generated data set.
    """

    name: str
    title: str
    tasks: tuple[TaskKind, ...]
    source: str
    folder: str = ""


Names = Mapping[str, Any]


def read_declarations(
    path: Path, wanted: Collection[str], namespace: Names, modules: Mapping[str, Names] = MappingProxyType({})
) -> dict[str, Any]:
    """Evaluate the named top-level assignments and classes of a file, and nothing of it that these do not need.

    They may use literals, the file's own top-level constants and dataclasses, and what the file imports, under the
    names that it gives them, from `dataclasses`, `math`, `typing`, `collections.abc` and `modules`; no import is run.
    The annotations of a dataclass are types afterwards, not text.

    Args:
        path: A Python file.
        wanted: Names of top-level assignments or classes to evaluate, in the file's order.
        namespace: Names that these may use without importing them.
        modules: By the name of a module what of it may be imported.

    Returns:
        The values found; a name that the file does not declare is absent.

    Raises:
        DocumentError: If the file cannot be read.
        SyntaxError: If the file is not Python, or declares a name twice.
        NameError: If a declaration uses another name.
    """
    tree = _parsed(path)
    declared: dict[str, ast.stmt] = {}
    for node in tree.body:
        for name in _declared(node):
            if name in declared and name in wanted:
                raise SyntaxError(f"{name} is declared twice, in lines {declared[name].lineno} and {node.lineno}")
            declared[name] = node
    scope: dict[str, Any] = {"__builtins__": _BUILTINS, "__name__": __name__, "Literal": Literal}
    scope |= {"dataclass": dataclasses.dataclass, "field": dataclasses.field, **namespace}
    for node in tree.body:
        scope |= _imported(node, {**_MODULES, **modules})
    needed = _needed(wanted, declared)
    as_text = __future__.annotations.compiler_flag
    values: dict[str, Any] = {}
    for node in tree.body:
        names = _declared(node) & needed
        if not names:
            continue
        module = ast.Module(body=[node], type_ignores=[])
        exec(compile(module, str(path), "exec", flags=as_text, dont_inherit=True), scope)
        for name in names:
            if dataclasses.is_dataclass(scope[name]) and isinstance(scope[name], type):
                scope[name].__annotations__ = typing.get_type_hints(scope[name], globalns=scope)
            if name in wanted:
                values[name] = scope[name]
    return values


_MODULES: dict[str, Names] = {
    name: vars(importlib.import_module(name)) for name in ("dataclasses", "math", "typing", "collections.abc")
}
_SAFE: tuple[str, ...] = (
    *("bool", "dict", "float", "frozenset", "int", "list", "object", "set", "str", "tuple", "__build_class__"),
    *("abs", "len", "max", "min", "range", "round", "sum", "property", "staticmethod", "classmethod"),
)
_BUILTINS = {name: getattr(builtins, name) for name in _SAFE}
"""What a declaration may use of Python itself: nothing that opens a file or imports."""


def _parsed(path: Path) -> ast.Module:
    try:
        return ast.parse(read_text(path, Limits(4 * 1024 * 1024)), filename=str(path))
    except (RecursionError, MemoryError) as error:
        raise SyntaxError("expressions within each other are too deep") from error
    except ValueError as error:  # a null character
        raise SyntaxError(str(error)) from error


def _declared(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Assign):
        return {t.id for t in node.targets if isinstance(t, ast.Name)}
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return {node.target.id}
    return set()


def _imported(node: ast.stmt, modules: Mapping[str, Names]) -> Names:
    """What an import gives, under the file's own names, as far as it is from these modules."""
    if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "") in modules:
        known = modules[node.module or ""]
        return {alias.asname or alias.name: known[alias.name] for alias in node.names if alias.name in known}
    if isinstance(node, ast.Import):
        imported = {alias.asname or alias.name: modules[alias.name] for alias in node.names if alias.name in modules}
        return {name: SimpleNamespace(**known) for name, known in imported.items() if "." not in name}
    return {}


def _needed(wanted: Collection[str], declared: Mapping[str, ast.stmt]) -> set[str]:
    """The names that the wanted declarations are made of, directly or through others."""
    needed: set[str] = set()
    queue = [name for name in wanted if name in declared]
    while queue:
        name = queue.pop()
        if name in needed:
            continue
        needed.add(name)
        queue.extend(used for used in _used(declared[name]) if used in declared)
    return needed


def _used(node: ast.AST) -> set[str]:
    """The names in a statement, those in annotations that are text included."""
    names = {child.id for child in ast.walk(node) if isinstance(child, ast.Name)}
    for child in ast.walk(node):
        if isinstance(child, ast.AnnAssign) and isinstance(child.annotation, ast.Constant):
            try:
                names |= _used(ast.parse(str(child.annotation.value), mode="eval"))
            except SyntaxError:  # `typing.get_type_hints` says so, with the text
                continue
    return names
