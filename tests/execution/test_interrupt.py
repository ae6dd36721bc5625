"""Ctrl-C: a clean end that says what is done and how to go on. A process of its own: test_processes.py."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from world import World

from benchmark.execution.runner import CellRunner
from benchmark.execution.tracking import Tracker
from benchmark.records.record import Record
from benchmark.records.store import RecordStore

pytest_plugins = ("world",)


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the third cell unlearns."""
    unlearn, calls = CellRunner._unlearn, []

    def third(self: Any, *arguments: Any) -> Any:
        calls.append(0)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return unlearn(self, *arguments)

    monkeypatch.setattr(CellRunner, "_unlearn", third)


def _typed(world: World, monkeypatch: pytest.MonkeyPatch, *options: str) -> list[str]:
    typed = ["run", "--suite", str(world.suite), "--results", str(world.results), "--device", "cpu", *options]
    monkeypatch.setattr(sys, "argv", ["benchmark", *typed])
    return options


def test_it_says_what_is_done_and_how_to_go_on(
    short_world: World, monkeypatch: pytest.MonkeyPatch, stopped: None, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark", "run", "--set", "nullspace.alpha=0.5, random_noise.scale=1"])
    answer = short_world.run()
    assert answer.status == 130 and "Traceback" not in answer.err
    assert (
        "interrupted: 2 cells finished now, 0 were done, 2 left" in answer.out
        and str(short_world.results) in answer.out
    )
    *_, last = answer.out.splitlines()
    assert shlex.split(last) == ["python", "-m", "benchmark", *sys.argv[1:]]
    assert "original" in answer.out  # the leaderboard of what is there
    assert len(RecordStore(short_world.results).all()) == 2 and not list(short_world.results.rglob("*.tmp"))
    again = short_world.run()
    assert again.status == 0 and "2 cells run, 2 were done, 0 failed" in again.out


def test_a_record_that_is_written_is_counted_whenever_the_stop_comes(
    short_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop while the tracker hears of the second record."""
    heard: list[Record] = []

    def second(self: Tracker, record: Record, weights: Path | None = None) -> None:
        heard.append(record)
        if len(heard) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Tracker, "summarise", second)
    answer = short_world.run()
    assert answer.status == 130 and len(RecordStore(short_world.results).all()) == 2
    assert "interrupted: 2 cells finished now, 0 were done, 2 left" in answer.out


def test_a_forced_run_goes_on_with_the_cells_that_are_left(
    short_world: World, monkeypatch: pytest.MonkeyPatch, stopped: None
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark", "run", "--force"])
    answer = short_world.run("--force")
    *_, last = answer.out.splitlines()
    *_, option, keys = shlex.split(last)
    assert answer.status == 130 and option == "--keys" and len(keys.split(",")) == 2
    again = short_world.run("--force", "--keys", keys)
    assert again.status == 0 and "2 cells run" in again.out and len(short_world.records()) == 4
