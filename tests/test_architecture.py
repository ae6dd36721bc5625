"""The house: which part may import which, told from the imports themselves."""

from __future__ import annotations

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from world import ROOT

from datamodules.common.registry import SCHEMES

PACKAGES = ("datamodules", "methods", "benchmark")
"""From the ground up: none imports one that stands after it."""
MOST_FLOORS, MOST_AT_THE_TOP = 9, 4


@cache
def imports() -> dict[str, set[str]]:
    """The modules of this project that each module imports, at its top or within a function."""
    files = {_name(path): path for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    arrows: dict[str, set[str]] = {}
    for name, path in files.items():
        arrows[name] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                named = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                named = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            for dotted in named:
                while dotted and dotted not in files:
                    dotted = dotted.rpartition(".")[0]
                if dotted and dotted != name:
                    arrows[name].add(dotted)
    return arrows


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def part(module: str) -> str:
    """The part of the house that a module is in: a package of `benchmark`, or a package beside it."""
    top, *rest = module.split(".")
    return f"{top}.{rest[0]}" if top == "benchmark" and rest else top


def arrows_between(parts: dict[str, set[str]], start: str, end: str) -> list[str]:
    return [
        f"{a} -> {b}" for a, named in sorted(imports().items()) for b in named if (part(a), part(b)) == (start, end)
    ]


@cache
def part_imports() -> dict[str, set[str]]:
    """The parts that each part imports; the bare packages hand names on and are no floor of their own."""
    arrows: dict[str, set[str]] = {}
    for module, named in imports().items():
        if module != "benchmark":
            arrows.setdefault(part(module), set()).update(
                part(other) for other in named if part(other) not in (part(module), "benchmark")
            )
    return arrows


def test_no_package_imports_one_above_it() -> None:
    height = {package: floor for floor, package in enumerate(PACKAGES)}
    upwards = [
        f"{module} -> {other}"
        for module, named in imports().items()
        for other in named
        if height[other.partition(".")[0]] > height[module.partition(".")[0]]
    ]
    assert upwards == []


def test_no_part_imports_another_in_a_circle() -> None:
    try:
        tuple(TopologicalSorter(part_imports()).static_order())
    except CycleError as error:
        steps = list(zip(error.args[1][1:], error.args[1], strict=False))
        pytest.fail("\n".join(line for a, b in steps for line in arrows_between(part_imports(), a, b)[:3]))


def test_no_module_imports_another_in_a_circle_when_it_is_loaded() -> None:
    """Imports at the top of modules alone: those within functions run later, and may name what imports them."""
    arrows: dict[str, set[str]] = {}
    for module in imports():
        path = ROOT.joinpath(*module.split("."))
        file = path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"
        top = {
            f"{node.module}.{alias.name}"
            for node in ast.parse(file.read_text(encoding="utf-8")).body
            if isinstance(node, ast.ImportFrom) and node.module
            for alias in node.names
        }
        arrows[module] = {
            other for other in imports()[module] for dotted in top if dotted == other or dotted.startswith(f"{other}.")
        } - {"benchmark", "methods", "datamodules"}
    tuple(TopologicalSorter(arrows).static_order())


def test_the_house_has_few_floors() -> None:
    floors: dict[str, int] = {}
    for name in TopologicalSorter(part_imports()).static_order():
        floors[name] = 1 + max((floors[below] for below in part_imports().get(name, ())), default=0)
    assert max(floors.values()) <= MOST_FLOORS, sorted(floors.items(), key=lambda item: item[1])


def test_few_modules_stand_at_the_top() -> None:
    at_the_top = [path.name for path in (ROOT / "benchmark").glob("*.py")]
    assert len(at_the_top) <= MOST_AT_THE_TOP, at_the_top


def test_methods_and_data_sets_are_alone_in_their_folders() -> None:
    former = {"base.py", "cards.py", "projection.py"}
    schemes = {"in_memory.py", *(f"{module}.py" for module, _ in SCHEMES.values())}
    for package, extra in (("methods", former), ("datamodules", schemes)):
        for path in (ROOT / package).glob("*.py"):
            if path.name not in {"__init__.py", *extra}:
                assert "\nCARD = " in path.read_text(encoding="utf-8"), path
