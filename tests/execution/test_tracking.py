"""Experiment tracking: CSV logs, and Weights & Biases offline, read back from what was written."""

from __future__ import annotations

import csv
import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from world import SHORT, World, command, small_world, write_suite

from benchmark.execution.tracking import LONGEST_RUN_NAME, run_name

pytest_plugins = ("world",)
ROOT = Path(__file__).resolve().parents[2]
BLOCK = 32768
TWO_STEPS = ("--methods", "original,cliperase", "--set", "cliperase.max_steps=3,cliperase.batch_size=4", "--seeds", "0")


def _losses(results: Path, key: str) -> list[float]:
    with (results / "logs" / "tiny" / key[:12] / "metrics.csv").open() as stream:
        return [float(row["loss"]) for row in csv.DictReader(stream) if row["loss"]]


@pytest.fixture(scope="module")
def logged(tiny_world: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A tiny suite after a run with an iterative method; not to be changed."""
    folder = tmp_path_factory.mktemp("logged")
    with small_world():
        world = World(write_suite(folder, tiny_world.model, SHORT), tiny_world.cache, folder / "results")
        answer = world.run(*TWO_STEPS)
        assert answer.status == 0, answer.err
        yield world


def test_an_iterative_method_leaves_its_losses(logged: World) -> None:
    (key,) = [r.key for r in logged.records().values() if r.cell["method"] == "cliperase"]
    assert len(_losses(logged.results, key)) == 3
    assert not (logged.results / "wandb").exists()


def test_verify_leaves_the_logs(logged: World) -> None:
    key = next(r.key for r in logged.records().values() if r.cell["method"] == "cliperase")
    before = {path: (logged.results / path).stat().st_mtime_ns for path in logged.files()}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(logged.results.parent)
        answer = command("verify", key, "--results", logged.results, "--cache-dir", logged.cache)
    assert answer.status == 0, answer.out
    assert {path: (logged.results / path).stat().st_mtime_ns for path in logged.files()} == before


def test_a_forced_run_writes_its_log_anew_and_is_quiet(short_world: World, recwarn: pytest.WarningsRecorder) -> None:
    for options in ((), ("--force",)):
        answer = short_world.run(*TWO_STEPS, *options)
        assert answer.status == 0
    keys = [r.key for r in short_world.records().values() if r.cell["method"] == "cliperase"]
    assert all(len(_losses(short_world.results, key)) == 3 for key in keys)
    assert not [str(warning.message) for warning in recwarn if "log" in str(warning.message).lower()]


# -- Weights & Biases ----------------------------------------------------------------------------------------


def test_a_run_imports_wandb_only_where_it_is_asked_for(
    short_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """wandb is broken in a way of its own, as with another version of protobuf."""
    broken = tmp_path / "broken"
    (broken / "wandb").mkdir(parents=True)
    (broken / "wandb" / "__init__.py").write_text("raise TypeError('descriptors\\ncannot be created')")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(broken)
        patch.delitem(sys.modules, "wandb", raising=False)
        asked = short_world.run("--methods", "original", "--wandb", "offline")
    assert asked.status == 2 and not short_world.records()
    assert "wandb cannot be imported (TypeError: descriptors" in asked.error and "leave out --wandb" in asked.error

    # All that a run imports, here and in the processes that unlearn; tests/test_wheel.py runs one.
    code = """
import importlib, sys
from benchmark.execution.process.processes import PRELOADED
from benchmark.execution.runner import CellRunner
from benchmark.models.loading import load_clip
load_clip("shapes-resnet")
for name in (*PRELOADED, "lightning.pytorch.loggers", "timm.utils.summary"):
    importlib.import_module(name)
print("open_clip" in sys.modules, "wandb" in sys.modules, hasattr(sys.modules["timm.utils.summary"], "wandb"))
sys.path.remove(sys.argv[1])
import wandb
print(wandb.__name__)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(broken), str(ROOT)])}
    words = [sys.executable, "-c", code, str(broken)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["True False False", "wandb"], done.stderr


def _chunks(file: Path) -> Iterator[bytes]:
    """The records of a `.wandb` file: LevelDB's log format after a head of 7 bytes (wandb's own reader has moved)."""
    data, place, parts = file.read_bytes(), 7, []
    assert not data or data[:4] == b":W&B"
    while place + 7 <= len(data):
        left = BLOCK - place % BLOCK
        if left < 7:
            place += left
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        if place + 7 + length > len(data):  # not written to its end yet
            return
        parts.append(data[place + 7 : place + 7 + length])
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield b"".join(parts)
            parts = []


def _read(folder: Path) -> dict[str, Any]:
    """What an offline run holds: its identity, its last summary, its history."""
    from wandb.proto import wandb_internal_pb2

    (file,) = folder.glob("*.wandb")
    found: dict[str, Any] = {"summary": {}, "config": {}, "history": [], "folder": folder, "ended": None}
    found["artifacts"] = []
    for data in _chunks(file):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found |= {"id": record.run.run_id, "group": record.run.run_group, "project": record.run.project}
            found["config"] |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        elif kind == "config":
            found["config"] |= {item.key: json.loads(item.value_json) for item in record.config.update}
        elif kind == "summary":
            found["summary"] |= {_key(item): json.loads(item.value_json) for item in record.summary.update}
        elif kind == "history":
            found["history"].append({_key(item): json.loads(item.value_json) for item in record.history.item})
        elif kind == "artifact":
            content = record.artifact
            entries = content.manifest.contents or []
            found["artifacts"].append({"name": content.name, "type": content.type, "files": {e.path for e in entries}})
        elif kind == "exit":
            found["ended"] = record.exit.exit_code == 0
    return found


def _written(folder: Path) -> list[dict[str, Any]]:
    """Every offline run of a folder: its file is written by a process of its own, a little after the run ends."""
    latest = time.monotonic() + 30
    while True:
        runs = [_read(each) for each in folder.glob("offline-run-*")]
        if all("id" in run and run["ended"] is not None for run in runs) or time.monotonic() > latest:
            return runs
        time.sleep(0.1)


def _key(item: Any) -> str:
    return item.key or ".".join(item.nested_key)


@pytest.fixture(scope="module")
def tracked_world(tiny_world: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A tiny suite after a run that logged to Weights & Biases offline."""
    folder = tmp_path_factory.mktemp("tracked")
    with pytest.MonkeyPatch.context() as patch, small_world():
        for variable in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
            patch.setenv(variable, str(folder / "home"))
        patch.setenv("WANDB_SILENT", "true")
        world = World(write_suite(folder, tiny_world.model), tiny_world.cache, folder / "results")
        answer = world.run(*TWO_STEPS, "--wandb", "offline", "--save-weights")
        assert answer.status == 0, answer.err
        yield world


@pytest.fixture(scope="module")
def tracked(tracked_world: World) -> dict[str, dict[str, Any]]:
    """Its offline runs, by identity."""
    return {run["id"]: run for run in _written(tracked_world.results / "wandb")}


def test_wandb_offline_holds_every_cell(tracked_world: World, tracked: dict[str, dict[str, Any]]) -> None:
    records = tracked_world.records()
    assert set(tracked) == {*records, "leaderboard-tiny"} and len(records) == 4
    assert {run["group"] for run in tracked.values()} == {"tiny"}
    assert {run["project"] for run in tracked.values()} == {"clip-unlearning-benchmark"}
    assert all(run["ended"] for run in tracked.values())
    for key, record in records.items():
        run = tracked[key]
        expected = {name: metric.value for name, metric in record.metrics.items() if metric.value is not None}
        assert {name: run["summary"].get(name) for name in expected} == pytest.approx(expected)
        assert run["summary"]["cost/unlearn_seconds"] == pytest.approx(record.cost["unlearn_seconds"])
        assert run["config"]["method"] == record.cell["method"] and run["config"]["hparams"] == record.cell["hparams"]
        losses = [row["loss"] for row in run["history"] if "loss" in row]
        assert len(losses) == (3 if record.cell["method"] == "cliperase" else 0)
    board = tracked["leaderboard-tiny"]
    assert board["summary"]["leaderboard._type"] == "table-file"
    content = json.loads((board["folder"] / "files" / board["summary"]["leaderboard.path"]).read_text())
    rows = [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]
    assert {row["method"] for row in rows} == {"original", "cliperase"}
    assert {row["rank"] for row in rows if row["method"] == "original"} == {None}
    assert all(row["score/kravets"] is not None for row in rows)
    assert not (tracked_world.results / "logs").exists()


@pytest.mark.usefixtures("tracked_world")
def test_an_offline_run_does_not_keep_later_ones_of_the_process_offline() -> None:
    assert "WANDB_MODE" not in os.environ


def test_wandb_offline_holds_the_pareto_plots(tracked_world: World, tracked: dict[str, dict[str, Any]]) -> None:
    board = tracked["leaderboard-tiny"]
    summary = board["summary"]
    content = json.loads((board["folder"] / "files" / summary["pareto.path"]).read_text())
    points = [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]
    board_rows = json.loads(command("leaderboard", "--results", tracked_world.results, "--format", "json").out)
    assert {point["front"] for point in points} == {row["front"] for each in board_rows for row in each["rows"]}
    by_class = [point for point in points if " · class · " in point["board"]]
    assert len(points) == 4 and len(by_class) == 2
    records = [record for record in tracked_world.records().values() if "classes" in record.cell["request"]]
    for record in records:
        (point,) = [point for point in by_class if point["method"] == record.cell["method"]]
        assert point["forget"] == pytest.approx(record.metrics["forget/acc1"].value)
        assert point["retain"] == pytest.approx(record.metrics["retain/acc1"].value)
    plots = [name for name in summary if name.startswith("pareto/") and name.endswith("._type")]
    assert len(plots) == 2 and len({point["board"] for point in points}) == 2


def test_wandb_offline_holds_the_models(tracked_world: World, tracked: dict[str, dict[str, Any]]) -> None:
    for key in tracked_world.records():
        (model,) = [each for each in tracked[key]["artifacts"] if each["type"] == "model"]
        assert model["name"] == f"model-{key[:12]}"
        assert model["files"] == {f"{key}.json", f"{key}.npz", f"{key}.safetensors"}
    assert not [each for each in tracked["leaderboard-tiny"]["artifacts"] if each["type"] == "model"]


def test_wandb_offline_holds_the_forgetting_curve(tracked_world: World, tracked: dict[str, dict[str, Any]]) -> None:
    for key, record in tracked_world.records().items():
        looks = [row for row in tracked[key]["history"] if "watch/forget_accuracy" in row]
        steps = [row["trainer/global_step"] for row in looks]
        assert steps == sorted(steps) and steps[0] == 0
        assert steps[-1] == (3 if record.cell["method"] == "cliperase" else 1)
        assert all(0 <= row[f"watch/{part}_accuracy"] <= 1 for row in looks for part in ("forget", "retain"))


def test_an_attempt_that_is_repeated_is_uploaded_once(tracked_world: World, tracked: dict[str, dict[str, Any]]) -> None:
    """As after a kill: `wandb sync` of all offline runs finds each identity once, and the last attempt's is it."""
    before = {run["folder"].name for run in tracked.values()}
    options = ("--methods", "original", "--seeds", "0", "--force", "--wandb", "offline")
    assert tracked_world.run(*options).status == 0
    logs = tracked_world.results / "wandb"
    runs = _written(logs)
    assert sorted(run["id"] for run in runs) == sorted(tracked)
    set_aside = {folder.name for folder in (logs / "superseded").iterdir()}
    assert set_aside == before - {run["folder"].name for run in runs} and len(set_aside) == 3


def test_the_log_holds_the_accuracy_as_it_falls(logged: World) -> None:
    for record in logged.records().values():
        steps = 3 if record.cell["method"] == "cliperase" else 1
        with (logged.results / "logs" / "tiny" / record.key[:12] / "metrics.csv").open() as stream:
            rows = [row for row in csv.DictReader(stream) if row["watch/forget_accuracy"]]
        looks = [int(row["step"]) for row in rows]
        assert looks == sorted({0, *looks, steps}), "a busy machine may skip one between: see test_a_few_looks_are_free"
        assert all(0 <= float(row[f"watch/{part}_accuracy"]) <= 1 for row in rows for part in ("forget", "retain"))
        if record.cell["method"] == "original":
            assert rows[0]["watch/forget_accuracy"] == rows[-1]["watch/forget_accuracy"]


@pytest.mark.parametrize("length", [3, 126, 127, 400])
def test_names_of_runs_are_within_the_server_s_limit_and_stay_apart(length: int) -> None:
    first, second = (run_name("cliperase-" + "apple+" * length + last, "-12") for last in "ab")
    assert first != second and first.endswith("-12") and max(len(first), len(second)) <= LONGEST_RUN_NAME == 128
    assert run_name("lip-apple", "-0") == "lip-apple-0"
    assert len(run_name("x" * 128)) == 128 and run_name("x" * 128) == "x" * 128
