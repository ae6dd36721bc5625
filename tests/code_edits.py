"""Edits of the project's sources, in memory: those that change what code does, and those that do not."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from unittest import mock

from benchmark.evaluation.families import BASE, FAMILIES, SCORES
from benchmark.pretraining.identity import training_code
from benchmark.suites.digests import family_code, unlearning_code
from datamodules.common import code_closure
from datamodules.common.code_closure import ROOT, Code
from datamodules.common.registry import dataset_cards, dataset_class
from methods.common.registry import Registry

_FETCHING = ("download", "_fetch_images")
ROOMS = ("benchmark", "methods", "datamodules")
METHODS = ("original", "lip", "ccup", "cliperase", "black_box_forgetting", "retrain")
"""For edits outside the methods' own files: one of each kind."""


def sources() -> dict[Path, str]:
    """Every module of the project."""
    return {path: path.read_text(encoding="utf-8") for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))}


@contextmanager
def code(changed: dict[Path, str], base: Code | None = None) -> Iterator[Code]:
    """Digests of other sources, while the block runs; the code that runs stays as it is."""
    other = (base or code_closure.project_code()).with_changed(changed)
    # No file changes meanwhile: to look at 400 of them for each digest would be most of the time.
    other._forget_what_changed = lambda: None  # type: ignore[method-assign]
    with mock.patch.object(code_closure, "_CODE", [other]):
        yield other


@cache
def _registry() -> Registry:
    return Registry()


def digests(methods: tuple[str, ...] | None = None) -> dict[str, str]:
    """All digests that keys and records hold, by name; `methods` leaves out all other methods."""
    every = _makers(_registry())
    left_out = {f"unlearns: {name}" for name in _registry().names() if methods is not None and name not in methods}
    return {name: digest() for name, digest in every.items() if name not in left_out}


def _makers(registry: Registry) -> dict[str, Callable[[], str]]:
    """What makes each digest: of methods, families, data sets and trainings."""
    found: dict[str, Callable[[], str]] = {
        f"unlearns: {name}": partial(unlearning_code, registry, name, "shapes-resnet") for name in registry.names()
    }
    found |= {f"measures: {name}": partial(family_code, name, "shapes") for name in (BASE, SCORES, *FAMILIES)}
    found |= {f"reads: {name}": dataset_class(name).code for name in dataset_cards()}
    return found | {"trains": training_code}


@dataclass(frozen=True)
class Definition:
    """A definition of a module at top level that can be made to do something else."""

    path: Path
    name: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT).as_posix()}: {self.name}"


@cache
def definitions() -> tuple[Definition, ...]:
    """Every definition of the project in which `mutated` finds something to change."""
    found = []
    for path, text in sources().items():
        for node in ast.parse(text).body:
            for name in _names(node):
                if _mutable(node) is not None:
                    found.append(Definition(path, name))
    return tuple(found)


def mutated(definition: Definition) -> str:
    """The module's source with one change of what a definition does."""
    tree = ast.parse(definition.path.read_text(encoding="utf-8"))
    for node in tree.body:
        if definition.name in _names(node):
            place = _mutable(node)
            assert place is not None
            _mutate(place)
    return ast.unparse(tree)


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
        return [node.target.id]
    return []


def _mutable(node: ast.stmt) -> ast.AST | None:
    """The first comparison, operation or number that does something; none in prose, annotations or messages."""
    queue: list[ast.AST] = [node]
    while queue:
        each = queue.pop(0)
        if isinstance(each, ast.Compare | ast.BinOp | ast.BoolOp) and not isinstance(
            getattr(each, "op", None), ast.BitOr
        ):
            return each
        if isinstance(each, ast.Constant) and type(each.value) in (int, float, bool):
            return each
        if isinstance(each, ast.Raise) or (isinstance(each, ast.FunctionDef) and each.name in _FETCHING):
            continue
        for name, value in ast.iter_fields(each):
            if name not in ("annotation", "returns"):
                queue += [
                    child for child in (value if isinstance(value, list) else [value]) if isinstance(child, ast.AST)
                ]
    return None


def _mutate(node: ast.AST) -> None:
    if isinstance(node, ast.Compare):
        flipped = {ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE}
        flipped |= {ast.LtE: ast.Gt, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In}
        node.ops[0] = flipped[type(node.ops[0])]()
    elif isinstance(node, ast.BoolOp):
        node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    elif isinstance(node, ast.BinOp):
        node.op = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        node.value = not node.value
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        node.value += 1


def reworded(text: str) -> str:
    """The same code in other words: reformatted, without comments, with other docstrings and annotations."""
    tree = _Rewording().visit(ast.parse(text))
    tree.body.insert(_after_future(tree), ast.parse("'another first line'").body[0])
    return "# another comment\n" + ast.unparse(ast.fix_missing_locations(tree))


def _after_future(tree: ast.Module) -> int:
    future = [n for n, node in enumerate(tree.body) if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    return future[-1] + 1 if future else 0


class _Rewording(ast.NodeTransformer):
    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.body.insert(0, ast.parse("'another docstring'").body[0])
        node.returns = ast.parse("Another | None", mode="eval").body
        for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
            argument.annotation = ast.parse("dict[str, Another]", mode="eval").body
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self.generic_visit(node)
        node.body.insert(0, ast.parse("'another docstring'").body[0])
        return node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        changed = copy.deepcopy(node)
        for each in ast.walk(changed):
            if isinstance(each, ast.Constant) and isinstance(each.value, str):
                each.value += " in other words"
        return changed

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if not any(kind in ast.dump(node.annotation) for kind in ("ClassVar", "InitVar")):
            node.annotation = ast.parse("another.Type[int]", mode="eval").body
        return node


class _Recording(Code):
    """Notes which definitions the digests are over."""

    def __init__(self) -> None:
        super().__init__()
        self.reached: set[Definition] = set()

    def digest(self, *starts: str | Path, stops: Collection[str] = ()) -> str:
        places = self.places(*starts, stops=stops)
        self.reached |= {Definition(path, name) for path, names in places.items() for name in names}
        return super().digest(*starts, stops=stops)


@cache
def members() -> dict[str, frozenset[Definition]]:
    """The definitions that each digest of `digests` is over."""
    recorder, registry = _Recording(), _registry()
    found = {}
    with mock.patch.object(code_closure, "_CODE", [recorder]):
        for name, digest in _makers(registry).items():
            recorder.reached = set()
            digest()
            found[name] = frozenset(recorder.reached)
    return found
