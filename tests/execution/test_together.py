"""Requests that stand together: sequences, whose steps start where the last one ended, and groups."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from world import World, command, small_world, write_suite

from benchmark.execution.runner import CellRunner
from benchmark.execution.sequences import Sequences
from benchmark.execution.session import work_of
from benchmark.execution.tracking import Tracker
from benchmark.records.cell import Cell
from benchmark.records.lookup import cell_of
from benchmark.records.store import RecordStore
from benchmark.suites.expansion import Plan
from benchmark.unlearning.unlearn import Unlearned
from datamodules.common.dataset import Dataset, SplitName
from datamodules.common.narrowed import whole
from datamodules.common.request import ForgetRequest
from methods.common.clip import Clip

pytest_plugins = ("world",)
SEQUENCE = """title: one after another
models: [{model}]
seeds: [0]
methods: [original, random_noise]
tasks:
  - dataset: shapes
    others: [shapes_colours]
    in_sequence: true
    requests: [{{classes: [star]}}, {{classes: [hexagon, ring]}}, {{classes: [heart]}}]
"""
TITLES = ("class, step 1 of 3", "class, step 3 of 3: the first request", "2 classes, step 2 of 3: the last request")


@dataclass
class Finished:
    """A finished run of the suite; not to be changed."""

    world: World
    plan: Plan

    def runner(self, results: Path) -> CellRunner:
        return CellRunner(self.plan.registry, self.plan.where, RecordStore(results), Tracker(None))

    def cell(self, step: int, request: str, method: str = "random_noise") -> Cell:
        (cell,) = [c for c in self.plan.cells if (c.method, c.step, str(c.request)) == (method, step, request)]
        return cell


@pytest.fixture(scope="module")
def sequence(tiny_world: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    folder = tmp_path_factory.mktemp("sequence")
    world = World(write_suite(folder, tiny_world.model, SEQUENCE), tiny_world.cache, folder / "results")
    with small_world():
        answer = world.run()
        assert answer.status == 0, answer.err
        yield Finished(world, world.plan())


def same(first: Clip, second: Clip) -> bool:
    return all(torch.equal(value, second.model.state_dict()[name]) for name, value in first.model.state_dict().items())


def test_each_step_is_measured_on_the_first_and_on_its_own_request_by_method(sequence: Finished) -> None:
    cells = sequence.plan.cells
    asked = [(1, "star"), (2, "star"), (2, "hexagon+ring"), (3, "star"), (3, "heart")]
    assert [(cell.step, str(cell.request)) for cell in cells] == asked * 2
    assert [cell.method for cell in cells] == ["original"] * 5 + ["random_noise"] * 5
    assert len({cell.key for cell in cells}) == 10


def test_records_tell_their_place_and_can_be_run_again(sequence: Finished) -> None:
    records = sequence.world.records().values()
    assert len(records) == 10
    for record in records:
        cell = cell_of(record)
        assert cell in sequence.plan.cells
        place = record.report["sequence"]
        assert (place["step"], place["of"], len(place["unlearn_seconds"])) == (cell.step, 3, cell.step)
        assert place["unlearned"] == ["star", "hexagon+ring", "heart"][: cell.step]
        assert record.cost["unlearn_seconds"] == pytest.approx(place["unlearn_seconds"][-1], abs=1e-3)


def test_a_step_starts_on_the_model_that_the_previous_request_left(sequence: Finished, tmp_path: Path) -> None:
    runner = sequence.runner(tmp_path)
    session = runner.session
    first, second = sequence.cell(1, "star"), sequence.cell(2, "hexagon+ring")
    pristine = session.pristine(first.model)[0].model.state_dict()
    after_first = session.unlearner.unlearn(work_of(first, session)).clip
    by_hand = session.unlearner.unlearn(work_of(second, session, clip=after_first)).clip
    result = runner.unlearned(second)
    assert same(result.clip, by_hand) and not same(by_hand, after_first)
    state = result.clip.model.state_dict()
    assert set(result.edited) == {name for name in state if not torch.equal(state[name], pristine[name])}


def test_the_order_of_cells_does_not_matter(sequence: Finished, tmp_path: Path) -> None:
    """The steps of a later cell are not taken for those of an earlier one, and not made again for the same one."""
    runner = sequence.runner(tmp_path)
    made: list[int] = []
    unlearn_from = runner._unlearn_from

    def counted(cell: Cell, start: Clip | None) -> Unlearned:
        made.append(cell.step)
        return unlearn_from(cell, start)

    sequences = Sequences()
    last = sequences.unlearned(sequence.cell(3, "star"), counted).clip
    assert made == [1, 2, 3] and sequences.unlearned(sequence.cell(3, "heart"), counted).clip is last
    middle = sequences.unlearned(sequence.cell(2, "star"), counted).clip
    assert made == [1, 2, 3, 1, 2] and not same(middle, last)
    again = sequences.unlearned(sequence.cell(3, "heart"), counted).clip
    assert made == [1, 2, 3, 1, 2, 3] and same(again, last)


def test_what_was_deleted_is_not_read_again_and_what_is_measured_stays_the_same(
    sequence: Finished, tmp_path: Path
) -> None:
    session = sequence.runner(tmp_path).session
    everyone = ("star", "hexagon", "ring", "heart")
    for step, request, earlier in ((1, "star", 0), (2, "star", 1), (2, "hexagon+ring", 1), (3, "heart", 3)):
        cell = sequence.cell(step, request)
        measured, given = session.datasets(cell)[0], session.dataset_to_unlearn(cell)
        names = set(whole(measured).class_names)
        assert set(measured.class_names) == set(given.class_names) == names
        assert _classes(given, "train") == names - set(everyone[:earlier])
        assert _classes(measured, "test") == (names - set(everyone)) | set(cell.request.classes)
        mask = measured.forget_mask(measured.split("test"), cell.request)
        assert mask.sum() == whole(measured).forget_mask(whole(measured).split("test"), cell.request).sum()
        assert cell.never_seen.classes == everyone[: {1: 1, 2: 3, 3: 4}[step]]


def _classes(dataset: Dataset, split: SplitName) -> set[str]:
    labels = dataset.split(split).labels
    assert labels is not None
    return {dataset.class_names[label] for label in np.unique(labels)}


def test_images_of_a_narrowed_data_set_are_those_of_the_whole_one(sequence: Finished, tmp_path: Path) -> None:
    measured = sequence.runner(tmp_path).session.datasets(sequence.cell(1, "star"))[0]
    part, everything = measured.split("test"), whole(measured).split("test")
    assert part.labels is not None and everything.labels is not None
    rows = np.flatnonzero(np.isin(everything.labels, np.unique(part.labels)))
    assert 0 < len(rows) < len(everything.images)
    assert torch.equal(part.images.read(np.arange(len(rows))), everything.images.read(rows))
    assert part.labels.tolist() == everything.labels[rows].tolist()
    assert part.captions == tuple(everything.captions[row] for row in rows.tolist())  # type: ignore[index]
    assert measured.revision != whole(measured).revision and measured.split("val") is whole(measured).split("val")


def test_each_step_has_its_boards_with_the_original_on_each(sequence: Finished) -> None:
    shown = command("leaderboard", "--results", sequence.world.results, "--format", "csv")
    assert shown.status == 0
    assert all(title in shown.out for title in TITLES)
    assert shown.out.count("original") == 5
    steps = command("leaderboard", "--results", sequence.world.results, "--steps", "--format", "json")
    (table,) = json.loads(steps.out)
    rows = {row["method"]: row for row in table["rows"]}
    assert table["key"]["kind"] == "3 requests one after another" and set(rows) == {"original", "random_noise"}
    for record in sequence.world.records().values():
        cell, row = record.cell, rows[record.cell["method"]]
        part = "first" if cell["request"] == {"classes": ["star"]} else "latest"
        assert row[f"{part}/{cell['step']}"] == record.metrics["forget/acc1"].value
        assert row[f"retained/{cell['step']}"] == record.metrics["retain/acc1"].value
    assert rows["original"]["first/1"] == rows["original"]["latest/1"]
    nothing = command("leaderboard", "--reference", "--suite", "quick", "--steps")
    assert "run --suite sequence" in nothing.error
    retain = {record.metrics["retain/acc1"].n for record in sequence.world.records().values()}
    assert len(retain) == 1, "the same retained images at every step"


def test_a_sequence_is_for_several_requests_by_class(world: World) -> None:
    for wrong, message in (
        ("in_sequence: true\n    requests: [{classes: [star]}]", "several requests by class"),
        ("in_sequence: true\n    requests: [{classes: [star]}, {concept: ring}]", "several requests by class"),
        ("retrained: joint\n    requests: [{classes: [star]}, {classes: [star, ring]}]", "'star' stands in two"),
        (
            "retrained: joint\n    in_sequence: true\n    requests: [{classes: [star]}, {classes: [ring]}]",
            "leave out retrained",
        ),
        ("retrained: both\n    requests: [{classes: [star]}, {classes: [ring]}]", "retrained"),
    ):
        text = world.suite.read_text()
        start = text.index("    requests:")
        world.suite.with_name("wrong.yaml").write_text(text[:start] + f"    {wrong}\n")
        assert message in World(world.suite.with_name("wrong.yaml"), world.cache, world.results).run().error


# -- groups --------------------------------------------------------------------------------------------------------

GROUP = """title: together
models: [{model}]
seeds: [0]
seeds_of: {{retrain: [0, 1]}}
methods: [original, retrain]
tasks:
  - dataset: shapes
    retrained: single
    requests: &classes [{{classes: [star]}}, {{classes: [ring]}}]
  - dataset: shapes
    retrained: joint
    requests: *classes
"""


@pytest.fixture
def group(world: World, tiny_world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> World:
    """A suite with both kinds of retraining; the tiny model passes for one of a tiny recipe."""
    from safetensors import safe_open

    from benchmark.execution import references
    from benchmark.models.compact import Architecture
    from benchmark.pretraining.recipe import load_recipe

    with safe_open(tiny_world.model, framework="pt") as stored:
        architecture = Architecture(**json.loads(stored.metadata()["architecture"]))
    recipe = dataclasses.replace(
        load_recipe("shapes-resnet"), epochs=0.1, batch_size=12, further_cycles=(), architecture=architecture
    )
    monkeypatch.setattr(references, "recipe_of", lambda _: recipe)
    return World(write_suite(world.suite.parent, tiny_world.model, GROUP), world.cache, world.results)


def test_one_joint_model_stands_for_all_requests_and_a_single_one_for_each(group: World, tmp_path: Path) -> None:
    plan = group.plan()
    retrained = CellRunner(plan.registry, plan.where, RecordStore(tmp_path), Tracker(None)).session.retrained
    cells = [cell for cell in plan.cells if cell.method == "retrain" and cell.seed == 0]
    trainings = {(cell.retrained, str(cell.request)): retrained.training(cell) for cell in cells}
    joint, single = ([trainings[way, name] for name in ("star", "ring")] for way in ("joint", "single"))
    assert len({training.path for training in joint}) == 1 and len({training.path for training in single}) == 2
    assert joint[0].exclude == {"shapes": ForgetRequest(classes=("star", "ring"))}
    assert [training.exclude["shapes"].classes for training in single] == [("star",), ("ring",)]
    plain = dataclasses.replace(cells[0], group=(), retrained="")
    assert retrained.training(plain).path == single[0].path, "single models are those of requests that stand alone"


def test_a_group_is_trained_measured_and_compared(group: World) -> None:
    answer = group.run()
    assert answer.status == 0, answer.err
    records = list(group.records().values())
    assert len(records) == 2 * (2 + 4)
    joint = [r for r in records if (r.cell["method"], r.cell["retrained"], r.cell["seed"]) == ("retrain", "joint", 0)]
    assert len(joint) == 2 and len({record.report["training_seconds"] for record in joint}) == 1, (
        "one training for both"
    )
    assert {record.metrics["retain/acc1"].n for record in records} == {96 - 2 * 4}, "neither class is retained"
    table = command("leaderboard", "--results", group.results, "--joint")
    assert table.status == 0 and "joint against single retraining" in table.out and "too few requests" in table.out
    boards = command("leaderboard", "--results", group.results)
    assert "class, retrained joint" in boards.out and "class, retrained single" in boards.out
