"""methods/README.md: one line for every method that competes, with the numbers of the reference records."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from world import command

from benchmark.suites.tuned.space import competes
from methods.common.registry import Registry

PAGE = Path(__file__).parents[2] / "methods" / "README.md"
LINE = re.compile(r"^\| \[?`(\w+)`.*?\| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| (.+) \|$", re.MULTILINE)

TUNED_LINE = re.compile(r"^\| `(\w+)` \| ([\d.]+) → ([\d.]+) \| ([\d.]+) → ([\d.]+) \|$", re.MULTILINE)


def rows() -> dict[str, tuple[str, ...]]:
    return {name: tuple(rest) for name, *rest in LINE.findall(PAGE.read_text(encoding="utf-8"))}


def boards(suite: str, *, tuned: bool = False) -> dict[tuple[str, str], str]:
    text = command("leaderboard", "--reference", "--suite", suite, "--format", "csv").out
    found = [row for row in csv.DictReader(io.StringIO(text)) if bool(row["tuned"]) == tuned]
    return {(row["method"], row["kind"]): row["score/kravets"] for row in found}


def test_every_method_that_competes_has_its_line() -> None:
    registry = Registry()
    competing = {name for name in registry.names() if competes(registry, name)}
    assert set(rows()) == competing | {"original"}
    assert all(len(sentence) > 30 for *_, sentence in rows().values())


@pytest.mark.parametrize(
    ("place", "suite", "kind"), [(0, "quick", "class"), (1, "quick", "concept"), (2, "cifar100", "class")]
)
def test_the_numbers_are_those_of_the_records(place: int, suite: str, kind: str) -> None:
    measured = boards(suite)
    for name, entry in rows().items():
        assert entry[place] == f"{float(measured[name, kind]):.3f}", name


def test_the_tuned_numbers_are_those_of_the_records() -> None:
    untuned, tuned = boards("quick"), boards("quick", tuned=True)
    lines = TUNED_LINE.findall(PAGE.read_text(encoding="utf-8"))
    registry = Registry()
    assert {name for name, *_ in lines} == {name for name in registry.names() if competes(registry, name)}
    for name, *shown in lines:
        measured = [board[name, kind] for kind in ("class", "concept") for board in (untuned, tuned)]
        assert shown == [f"{float(value):.3f}" for value in measured], name
