"""Weights & Biases online, against a server of this test: what arrives there, and that a repeated cell is one run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import wandb
from wandb_server import Received, wandb_server
from world import SHORT, World, small_world, write_suite

from benchmark.execution.tracking import LONGEST_RUN_NAME

pytest_plugins = ("world",)
CELLS = ("--methods", "original,cliperase", "--set", "cliperase.max_steps=3,cliperase.batch_size=4", "--seeds", "0")


@pytest.fixture(scope="module")
def online(tiny_world: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Received]]:
    """A tiny suite after a run and a repeated cell, as after a kill, all of it sent to a server."""
    folder = tmp_path_factory.mktemp("online")
    with pytest.MonkeyPatch.context() as patch, small_world(), wandb_server() as received:
        for variable in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
            patch.setenv(variable, str(folder / "home"))
        for variable, value in (
            ("WANDB_BASE_URL", received.address),
            ("WANDB_API_KEY", "0" * 40),
            ("WANDB_SILENT", "true"),
            ("WANDB_CONSOLE", "off"),
            ("WANDB_ERROR_REPORTING", "false"),
        ):
            patch.setenv(variable, value)
        wandb.teardown()  # one session a process: that of earlier tests has read where its server is
        world = World(write_suite(folder, tiny_world.model, SHORT), tiny_world.cache, folder / "results")
        for options in (CELLS, ("--methods", "original", "--seeds", "0", "--force")):
            answer = world.run(*options, "--wandb", "online")
            assert answer.status == 0, answer.err
        wandb.teardown()
        yield world, received


def test_every_cell_arrives_as_one_run_also_after_a_repeat(online: tuple[World, Received]) -> None:
    world, received = online
    records = world.records()
    assert sorted(received.created) == sorted([*records, "leaderboard-tiny"]) and len(records) == 2
    for key, record in records.items():
        run = received.runs[key]
        assert (run["groupName"], run["project"]) == ("tiny", "clip-unlearning-benchmark")
        assert run["displayName"] == f"{record.cell['method']}-star-0"
        names = (key, run["displayName"], run["groupName"])
        assert max(map(len, names)) <= LONGEST_RUN_NAME


def test_losses_and_summary_arrive(online: tuple[World, Received]) -> None:
    world, received = online
    for key, record in world.records().items():
        losses = [row["loss"] for row in received.history[key] if "loss" in row]
        assert len(losses) == (3 if record.cell["method"] == "cliperase" else 0)
        summary = json.loads(received.files[key]["wandb-summary.json"])
        for name in ("forget/acc1", "retain/acc1"):
            assert summary[name] == pytest.approx(record.metrics[name].value)
        assert summary["cost/unlearn_seconds"] == pytest.approx(record.cost["unlearn_seconds"])


def test_the_leaderboard_arrives_as_a_table(online: tuple[World, Received]) -> None:
    _, received = online
    tables = [
        json.loads(content)
        for file, content in received.files["leaderboard-tiny"].items()
        if file.startswith("media/table/leaderboard")
    ]
    assert tables
    for table in tables:
        rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
        assert {row["method"] for row in rows} <= {"original", "cliperase"}


def test_nothing_is_left_to_sync(online: tuple[World, Received]) -> None:
    world, _ = online
    logs = Path(world.results) / "wandb"
    assert not list(logs.glob("offline-run-*")) and list(logs.glob("run-*"))
