"""A module's source, taken apart into its definitions by name."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datamodules.common.errors import BenchmarkError
from datamodules.common.meaning import Import, is_type_checking

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class CodeError(BenchmarkError):
    """A file of code that cannot be read as Python."""


@dataclass
class CodeModule:
    """A module's statements.

    Attributes:
        path: Its file.
        definitions: By name the statements that define it or change it.
        at_once: What its import runs and defines nothing.
        imports: Its import statements at the top.
        lazy: What it hands on by `__getattr__`: the imports that it shows to type checkers alone.
    """

    path: Path
    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    at_once: list[ast.stmt] = field(default_factory=list)
    imports: list[Import] = field(default_factory=list)
    lazy: list[Import] = field(default_factory=list)

    @property
    def binds(self) -> tuple[set[str], list[str]]:
        """What other modules see of it: the names that it defines, and its imports."""
        return set(self.definitions), [ast.dump(statement) for statement in (*self.imports, *self.lazy)]


def taken_apart(path: Path, tree: ast.Module) -> CodeModule:
    """The definitions of a module by name; a statement that changes one belongs to it."""
    module = CodeModule(path)
    for statement in tree.body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            if not (isinstance(statement, ast.ImportFrom) and statement.module == "__future__"):
                module.imports.append(statement)
        elif isinstance(statement, _DEFINITIONS):
            module.definitions.setdefault(statement.name, []).append(statement)
        elif isinstance(statement, ast.AnnAssign):
            if statement.value is not None:
                _attach(module, statement, [statement.target])
        elif isinstance(statement, ast.Assign):
            _attach(module, statement, statement.targets)
        elif isinstance(statement, ast.AugAssign):
            _attach(module, statement, [statement.target])
        elif is_type_checking(statement):
            module.lazy += [node for node in ast.walk(statement) if isinstance(node, ast.Import | ast.ImportFrom)]
        elif _runs_as_a_program(statement):
            continue
        elif not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
            module.at_once.append(statement)
            for node in ast.walk(statement):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    module.imports.append(node)
                elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    module.definitions.setdefault(node.id, []).append(statement)
                elif isinstance(node, _DEFINITIONS):
                    module.definitions.setdefault(node.name, []).append(statement)
    if "__getattr__" not in module.definitions:
        module.lazy.clear()
    return module


def _attach(module: CodeModule, statement: ast.stmt, targets: Sequence[ast.expr]) -> None:
    for target in targets:
        names = {node.id for node in ast.walk(target) if isinstance(node, ast.Name)}
        plain = all(isinstance(node, ast.Name | ast.Tuple | ast.List | ast.Starred | ast.expr_context)
                    for node in ast.walk(target))  # fmt: skip
        for name in names if plain else {_root(target)}:
            if plain or name in module.definitions:
                module.definitions.setdefault(name, []).append(statement)
            else:
                module.at_once.append(statement)


def _root(target: ast.expr) -> str:
    """The name that begins `name.attribute[index]`; empty if it does not begin with a name."""
    while isinstance(target, ast.Attribute | ast.Subscript | ast.Starred):
        target = target.value
    return target.id if isinstance(target, ast.Name) else ""


def _runs_as_a_program(statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.If) or not isinstance(statement.test, ast.Compare):
        return False
    return isinstance(statement.test.left, ast.Name) and statement.test.left.id == "__name__"


def read_source(path: Path) -> bytes:
    """The bytes of a file of code.

    Raises:
        CodeError: If it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise CodeError(f"cannot read {path}: {error.strerror or error}") from error
