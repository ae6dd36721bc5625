"""Runs that are killed and started again: nothing half-written, nothing lost, the same numbers.

Each run is a forked process (tests/forked.py), so it dies by a real SIGKILL without an import each.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from forked import Server
from world import SUITE, World, metrics_of, small_world, write_suite

from benchmark.records.store import RecordStore

pytest_plugins = ("world",)

KILLS = 4
MOST_RUNS = 12
"""The time of a run is known roughly, so that some end before they are killed."""


class Runs:
    """Runs the same command on a results folder each time; answers with exit status (-9 if killed) and seconds."""

    def __init__(self, world: World) -> None:
        self._server, self._world = Server(), world

    def run(self, results: Path, **job: Any) -> tuple[int, float]:
        where = ["--suite", self._world.suite, "--results", results, "--cache-dir", self._world.cache]
        chosen = ["--methods", "original,nullspace,cliperase", "--device", "cpu"]
        settings = ["--set", "cliperase.max_steps=3,cliperase.batch_size=4"]
        return self._server.run(["run", *where, *chosen, *settings], **job)

    def close(self) -> None:
        self._server.close()


@pytest.fixture(scope="module")
def serving(tiny_world: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The server, and what an uninterrupted run gives."""
    folder = tmp_path_factory.mktemp("kill")
    text = SUITE.replace(", {{concept: striped}}", "")
    server = Runs(World(write_suite(folder, tiny_world.model, text), tiny_world.cache, folder / "whole"))
    status, seconds = server.run(folder / "whole")
    assert status == 0
    records = RecordStore(folder / "whole").all()
    assert len(records) == 4
    yield SimpleNamespace(server=server, seconds=seconds, metrics={r.key: metrics_of(r) for r in records})
    server.close()


def _whole_records(results: Path) -> dict[str, bytes]:
    """Every file under a record's name, having seen that each is whole."""
    store = RecordStore(results)
    files = {path.stem: path.read_bytes() for path in sorted(results.glob("tiny/*.json"))}
    assert {record.key for record in store.all()} == set(files) and store.set_aside == []
    return files


def test_a_run_killed_at_any_moment_resumes(serving: SimpleNamespace, tmp_path: Path) -> None:
    moments = random.Random(20251120)
    results, whole, cells = tmp_path / "0", serving.seconds, len(serving.metrics)
    done: dict[str, bytes] = {}
    killed = 0
    for number in range(1, MOST_RUNS + 1):
        left = cells - len(done)
        status, took = serving.server.run(results, after=whole * left / cells * moments.uniform(0.1, 0.9))
        now = _whole_records(results)
        assert done.items() <= now.items()  # nothing finished is lost or made again
        done = now
        killed += status == -9
        if killed == KILLS:
            break
        if len(done) == cells:  # it was too fast for the kill, or died when all was done: once more, from the start
            assert status in (0, -9)
            results, whole, done = tmp_path / str(number), min(whole, took * cells / left), {}
    assert killed == KILLS
    status, _ = serving.server.run(results)
    final = _whole_records(results)
    assert status == 0 and done.items() <= final.items()
    assert {r.key: metrics_of(r) for r in RecordStore(results).all()} == serving.metrics


def test_a_run_killed_while_it_writes_a_record_resumes(serving: SimpleNamespace, tmp_path: Path) -> None:
    for number, writes in ((1, 1), (1, 2), (3, 6)):  # each record is two writes: its outputs, then itself
        before = _whole_records(tmp_path)
        status, _ = serving.server.run(tmp_path, die_after=writes)
        now = _whole_records(tmp_path)
        assert status == -9 and len(now) == len(before) + number - 1
        assert before.items() <= now.items() and list(tmp_path.glob("tiny/.*.tmp"))
    assert serving.server.run(tmp_path)[0] == 0
    assert {r.key: metrics_of(r) for r in RecordStore(tmp_path).all()} == serving.metrics


def test_what_a_killed_run_left_is_no_record(serving: SimpleNamespace, tmp_path: Path) -> None:
    from world import command

    assert serving.server.run(tmp_path, die_after=6)[0] == -9
    with small_world():
        shown = command("leaderboard", "--results", tmp_path, "--format", "json")
    assert shown.status == 0 and shown.err == ""
    assert sum(row["cells"] for board in json.loads(shown.out) for row in board["rows"]) == 2
