"""Ctrl-C: a clean end that says what is done and how to go on."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from world import ROOT, World, small_world

from benchmark.execution.runner import CellRunner
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
    world: World, monkeypatch: pytest.MonkeyPatch, stopped: None, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark", "run", "--set", "nullspace.alpha=0.5, random_noise.scale=1"])
    answer = world.run()
    assert answer.status == 130 and "Traceback" not in answer.err
    assert "interrupted: 2 cells finished now, 0 were done, 6 left" in answer.out and str(world.results) in answer.out
    *_, last = answer.out.splitlines()
    assert shlex.split(last) == ["python", "-m", "benchmark", *sys.argv[1:]]
    assert "original" in answer.out  # the leaderboard of what is there
    assert len(RecordStore(world.results).all()) == 2 and not list(world.results.rglob("*.tmp"))
    again = world.run()
    assert again.status == 0 and "6 cells run, 2 were done, 0 failed" in again.out


def test_a_forced_run_goes_on_with_the_cells_that_are_left(
    finished: World, world: World, monkeypatch: pytest.MonkeyPatch, stopped: None
) -> None:
    mine = World(finished.suite, finished.cache, world.results)
    monkeypatch.setattr(sys, "argv", ["benchmark", "run", "--force"])
    answer = mine.run("--force")
    *_, last = answer.out.splitlines()
    *_, option, keys = shlex.split(last)
    assert answer.status == 130 and option == "--keys" and len(keys.split(",")) == 6
    again = mine.run("--force", "--keys", keys)
    assert again.status == 0 and "6 cells run" in again.out and len(mine.records()) == 8


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs POSIX signals")
def test_a_process_ends_cleanly(finished: World, tmp_path: Path) -> None:
    """The real thing: a process of its own, stopped in the middle of a long unlearning."""
    where = ["--suite", finished.suite, "--results", tmp_path, "--cache-dir", finished.cache, "--device", "cpu"]
    slow = ["--methods", "original,cliperase", "--set", "cliperase.max_steps=100000,cliperase.batch_size=4"]
    command = [sys.executable, str(ROOT / "tests" / "world.py"), "run", *map(str, where), *slow]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stderr is not None
    while "[1/" not in process.stderr.readline():  # the original is done; the next cell never ends by itself
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err
    assert "1 cells finished now" in out and out.rstrip().splitlines()[-1].strip().startswith("python -m benchmark run")
    with small_world():
        assert len(RecordStore(tmp_path).all()) == 1 and not list(tmp_path.rglob("*.tmp"))
