"""Cards: what a data set or a method says of itself, readable without importing it.

A file in a registry declares its card as one top-level expression, `CARD = SomeCard(...)`, of literals.
`read_declarations` evaluates only that expression (and the dataclasses that it is asked for), so `list`,
`plan` and `--help` need neither torch nor the optional packages that one method may import.
"""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Task = Literal["classification", "retrieval"]


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
    tasks: tuple[Task, ...]
    source: str
    folder: str = ""


def read_declarations(path: Path, wanted: Collection[str], namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Evaluate the named top-level assignments and classes of a file, and nothing else of it.

    Args:
        path: A Python file.
        wanted: Names of top-level assignments or classes to evaluate, in the file's order.
        namespace: The only names that these may use, beside `dataclass` and `field`.

    Returns:
        The values found; a name that the file does not declare is absent.

    Raises:
        SyntaxError: If the file is not Python.
        NameError: If a declaration uses a name outside `namespace`.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    scope: dict[str, Any] = {
        "__name__": __name__,
        "dataclass": dataclasses.dataclass,
        "field": dataclasses.field,
        "Literal": Literal,
        **namespace,
    }
    future = ast.parse("from __future__ import annotations").body
    found: dict[str, Any] = {}
    for node in tree.body:
        names = _declared(node) & set(wanted)
        if not names:
            continue
        module = ast.Module(body=[*future, node], type_ignores=[])
        exec(compile(module, str(path), "exec"), scope)
        found.update({name: scope[name] for name in names})
    return found


def _declared(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Assign):
        return {t.id for t in node.targets if isinstance(t, ast.Name)}
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return {node.target.id}
    return set()
