"""Variants and settings by request: what runs, what a record says, and how rows are made of it."""

from __future__ import annotations

import numpy as np
import pytest
from world import SUITE, World, command, write_suite

from benchmark.records.lookup import cell_of, find_record
from benchmark.records.store import RecordStore
from benchmark.suites.suite_file import load_suite
from datamodules.common.request import ForgetRequest

pytest_plugins = ("world",)

MORE = """variants:
  - {{method: nullspace, hparams: {{alpha: 0.5}}}}
by_request:
  - {{classes: [star], hparams: {{random_noise: {{scale: 0.01}}}}}}
  - {{model: ViT-B-32, hparams: {{random_noise: {{scale: 9}}}}}}
"""


@pytest.fixture
def settings(world: World) -> World:
    """The small world with a suite that has both."""
    write_suite(world.suite.parent, _model(world), SUITE + MORE)
    return world


def _model(world: World) -> str:
    return next(line for line in world.suite.read_text().splitlines() if line.startswith("models"))[9:-1]


def test_cells(settings: World) -> None:
    cells = settings.plan().cells
    found = {(c.method, str(c.request), c.seed, c.hparams.get("alpha"), c.hparams.get("scale")) for c in cells}
    expected = {("original", request, 0, None, None) for request in ("star", "striped")}
    expected |= {("nullspace", request, 0, a, None) for request in ("star", "striped") for a in (1.0, 0.5)}
    expected |= {("random_noise", "star", seed, None, 0.01) for seed in (0, 1)}
    expected |= {("random_noise", "striped", seed, None, 0.2) for seed in (0, 1)}
    assert found == expected and len(cells) == len(expected)
    assert {c.by_request for c in cells if c.method == "random_noise"} == {("scale",)}
    assert all("by_request" not in c.identity() for c in cells if c.method != "random_noise")


def test_without_them_nothing_changes(world: World) -> None:
    before = {cell.key for cell in world.plan().cells}
    write_suite(world.suite.parent, _model(world), SUITE + MORE)
    after = {cell.key for cell in world.plan().cells if cell.hparams.get("alpha") != 0.5 and not cell.by_request}
    assert after < before and len(before) - len(after) == 4  # the noise cells alone are others now


def test_the_command_line_wins(settings: World) -> None:
    plan = settings.plan("--methods", "random_noise", "--seeds", "0", "--set", "random_noise.scale=0.3")
    assert {cell.hparams["scale"] for cell in plan.cells} == {0.3}


def test_rows_and_repetition(settings: World) -> None:
    answer = settings.run("--methods", "original,nullspace,random_noise", "--seeds", "0")
    assert answer.status == 0, answer.err
    board = command("leaderboard", "--results", settings.results, "--format", "csv").out
    assert "nullspace alpha=0.5" in board and "nullspace alpha=1.0" in board
    assert "random_noise scale" not in board, "settings by request do not split a row"
    for key, record in settings.records().items():
        assert cell_of(find_record(key, settings.results)).key == key
        typed = [word for word in record.provenance["command"].split()[4:-1] if word != "--untuned"]
        asked = dict(zip(*[iter(typed)] * 2, strict=True))
        names = [name for name in ("--methods", "--seeds", "--set", "--keys") if name in asked]
        plan = settings.plan(*(item for name in names for item in (name, asked[name])))
        assert [cell.key for cell in plan.cells] == [key], "the command in the record names this cell"


def test_a_method_may_know_the_names_of_the_other_data_sets(short_world: World) -> None:
    """More names in CCUP's objective make another W (tests/methods/test_projection.py), so other embeddings. Accuracies
    may well be the same, and without the names the two runs would be one computation, equal to the last bit."""
    for names in ("dataset", "all"):
        assert short_world.run("--methods", "ccup", "--set", f"ccup.retain_names={names}").status == 0
    store = RecordStore(short_world.results)
    chosen = [r for r in store.all() if r.cell["method"] == "ccup" and "classes" in r.cell["request"]]
    outputs = {r.cell["hparams"]["retain_names"]: store.outputs(r.cell["suite"], r.key) for r in chosen}
    one, other = outputs["dataset"], outputs["all"]
    assert one is not None and other is not None
    assert np.abs(one.images - other.images).max() > 0.01  # half precision rounds to 0.0005


@pytest.mark.parametrize("model", ["RN50/openai", "RN50-quickgelu:RN50.pt", "RN50"])
def test_a_protocol_holds_wherever_the_weights_come_from(model: str) -> None:
    suite = load_suite("paper-lip")
    own, names = suite.overrides("lip", model, "stanford_dogs", ForgetRequest(classes=("Pekinese",)))
    letter = {"lowered_for": "later", "tries": None, "without_improvement": "last attempt"}  # as the official code does
    assert own == [{**letter, "threshold": 0.98, "threshold_decay": 0.0}] and names == {"threshold", "threshold_decay"}
    other, _ = suite.overrides("lip", "ViT-B-16/openai", "stanford_dogs", ForgetRequest(classes=("Pekinese",)))
    assert other == [{**letter, "threshold": 0.99}]
    assert suite.overrides("lip", "mini", "stanford_dogs", ForgetRequest(classes=("Pekinese",)))[0] == [letter]


def test_a_method_may_have_seeds_of_its_own_and_all_leaves_out_what_trains_again(world: World) -> None:
    text = SUITE.replace("methods: [original, nullspace, random_noise]", "methods: [all, retrain]")
    text = text.replace("seeds: [0, 1]", "seeds: [0, 1]\nseeds_of: {{random_noise: [4]}}")
    write_suite(world.suite.parent, _model(world), text)
    cells = world.plan().cells
    assert {c.seed for c in cells if c.method == "random_noise"} == {4}
    assert {c.seed for c in cells if c.method == "retrain"} == {0, 1}
    assert {c.seed for c in world.plan("--seeds", "2").cells if c.method in ("random_noise", "retrain")} == {2}
    assert [c.method for c in cells[:3]] == ["original", "retrain", "retrain"]
    write_suite(world.suite.parent, _model(world), SUITE.replace("methods: [original, nullspace, random_noise]\n", ""))
    names = {c.method for c in world.plan().cells}
    assert "retrain" not in names and {"original", "lip"} <= names


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("measures: [linear_prob]", "did you mean 'linear_probe'"),
        ("seeds_of: {random_noise: 4}", "seeds_of.random_noise must be a list, not 4"),
        ("seeds_of: {random_nois: [4]}", "did you mean 'random_noise'"),
    ],
)
def test_bad_measures_and_seeds_are_one_line(world: World, line: str, message: str) -> None:
    write_suite(world.suite.parent, _model(world), SUITE + line.replace("{", "{{").replace("}", "}}") + "\n")
    assert message in world.run().error
