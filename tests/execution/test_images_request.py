"""A request by chosen images through the command line: plan, run, what is measured and what is n/a, and unlearn."""

from __future__ import annotations

from pathlib import Path

import pytest
from world import World, command, write_suite

pytest_plugins = ("world",)
SUITE = """title: chosen images
models: [{model}]
seeds: [0]
methods: [original, nullspace, salun]
measures: [linear_probe, synonyms]
hparams: {{salun: {{max_steps: 2, batch_size: 4}}}}
tasks:
  - dataset: shapes
    requests: [{{images: [4, 9]}}, {{images: [9], classes: [star]}}]
"""


@pytest.fixture
def images_world(world: World, tmp_path: Path) -> World:
    model = world.suite.read_text().split("models: [")[1].split("]")[0]
    return World(write_suite(tmp_path, model, SUITE, "images.yaml"), world.cache, tmp_path / "images")


def test_plan_says_who_cannot_and_run_measures_the_images_themselves(images_world: World) -> None:
    plan = images_world("plan")
    assert plan.status == 0, plan.err
    told = [line for line in plan.err.splitlines() if line.startswith("n/a: ")]
    assert [line.split()[1] for line in told] == ["nullspace", "salun"]
    assert all("add classes or a concept" in line for line in told)
    answer = images_world.run()
    assert answer.status == 0, answer.err
    records = list(images_world.records().values())
    methods = {(r.cell["method"], "classes" in r.cell["request"]) for r in records}
    assert methods == {("original", False), ("original", True), ("nullspace", True), ("salun", True)}
    for record in records:
        count = len(record.cell["request"]["images"])
        forget, retain = record.metrics["forget/acc1"], record.metrics["retain/acc1"]
        assert forget.n == count and forget.value * count == pytest.approx(round(forget.value * count))
        assert retain.n == 96, "the test images, stars among them"
        assert record.metrics["forget/probe_acc1"].value is None
        reasons = record.report["not_measured"]
        assert reasons["linear_probe"] == "the request chooses images: this measure needs whole classes"
        assert reasons["synonyms"] == "the request chooses images: this measure needs a concept"
    (one,) = {r.references["original"] for r in records if r.cell["method"] == "salun"}
    assert images_world.records()[one].cell["request"] == {"images": [9], "classes": ["star"]}
    board = command("leaderboard", "--results", images_world.results).out
    assert "2 images" in board and "1 image" in board
    again = images_world.run()
    assert "nothing to do: all 4 cells" in again.out, "spelling and order make no other key"


def test_what_is_not_there_is_one_line(images_world: World, tmp_path: Path) -> None:
    text = images_world.suite.read_text()
    images_world.suite.write_text(text.replace("[4, 9]", "[4, 100000]"))
    assert "no row 100000" in images_world("plan").error
    images_world.suite.write_text(text.replace("[4, 9]", "[9]").replace(", classes: [star]", ""))
    assert "stands twice" in images_world("plan").error
    where = ("--model", "shapes-resnet", "--out", tmp_path / "out", "--cache-dir", images_world.cache)
    told = command("unlearn", *where, "--method", "ccup", "--data", "shapes", "--images", "4").error
    assert "ccup" in told and "add classes or a concept" in told
    assert "give it (load_dataset, --data)" in command("unlearn", *where, "--method", "ccup", "--images", "4").error
    assert "--images FILE" in command("unlearn", *where, "--method", "ccup", "--data", "shapes").error
