"""The page of methods: a section and a sentence for every method, with the numbers of the reference records."""

from __future__ import annotations

import csv
import io
import re

import pytest
from world import command

from benchmark.suites.tuned.space import competes
from docs.generation.cards import findings, method_cards, method_scores, tuned_scores
from methods.common.registry import Registry

LINE = re.compile(r"^\| \[`(\w+)`\]\(#\w+\) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| (.+) \|$", re.MULTILINE)
TUNED_LINE = re.compile(r"^\| `(\w+)` \| ([\d.]+) → ([\d.]+) \| ([\d.]+) → ([\d.]+) \|$", re.MULTILINE)


def scores(suite: str, *, tuned: bool = False) -> dict[tuple[str, str], str]:
    """S by method and kind of request, from the command line's CSV."""
    text = command("leaderboard", "--reference", "--suite", suite, "--format", "csv").out
    rows = [row for row in csv.DictReader(io.StringIO(text)) if bool(row["tuned"]) == tuned]
    return {(row["method"], row["kind"]): row["score/kravets"] for row in rows}


def competing() -> set[str]:
    registry = Registry()
    return {name for name in registry.names() if competes(registry, name)}


def recorded(*boards: dict[tuple[str, str], str], kinds: tuple[str, ...]) -> set[str]:
    """The methods of which the reference records have a score on every board; those that came since have none."""
    scored = [
        {name for name, of in board if of == kind and board[name, of]}
        for board, kind in zip(boards, kinds, strict=True)
    ]
    return set.intersection(*scored) & (competing() | {"original"})


def test_every_method_that_competes_has_its_sentence_and_with_records_its_line() -> None:
    assert set(findings()) == competing() | {"original"}
    assert all(len(sentence) > 30 for sentence in findings().values())
    quick = scores("quick")
    with_records = recorded(quick, quick, scores("cifar100"), kinds=("class", "concept", "class"))
    assert {name for name, *_ in LINE.findall(method_scores())} == with_records
    assert len(with_records) > 20


def test_every_method_has_its_section_with_every_hyperparameter() -> None:
    page = method_cards("competing") + "\n" + method_cards("baselines")
    registry = Registry()
    assert sorted(re.findall(r"^### (.+)$", page, re.MULTILINE)) == sorted(registry.names())
    for name in registry.names():
        _, _, section = page.partition(f"### {name}\n")
        section = section.partition("\n### ")[0]
        declaration = registry.declaration(name)
        assert declaration.card.paper in section and f"`{declaration.card.regime}`" in section
        for field in declaration.hyperparameters.__dataclass_fields__.values():
            assert f"`{field.name}`" in section and field.metadata["source"].replace("|", "\\|") in section


@pytest.mark.parametrize(
    ("place", "suite", "kind"), [(0, "quick", "class"), (1, "quick", "concept"), (2, "cifar100", "class")]
)
def test_the_numbers_are_those_of_the_records(place: int, suite: str, kind: str) -> None:
    measured = scores(suite)
    lines = LINE.findall(method_scores())
    assert len(lines) > 20
    for name, *shown in lines:
        assert shown[place] == f"{float(measured[name, kind]):.3f}", name


def test_the_tuned_numbers_are_those_of_the_records() -> None:
    untuned, tuned = scores("quick"), scores("quick", tuned=True)
    lines = TUNED_LINE.findall(tuned_scores())
    assert {name for name, *_ in lines} == recorded(tuned, tuned, kinds=("class", "concept")) - {"original"}
    assert len(lines) > 20
    for name, *shown in lines:
        measured = [board[name, kind] for kind in ("class", "concept") for board in (untuned, tuned)]
        assert shown == [f"{float(value):.3f}" for value in measured], name
