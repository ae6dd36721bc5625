"""Models trained side by side are those trained one after another; nothing is lost when they stop or fail."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from dataclasses import replace
from itertools import chain, repeat
from multiprocessing import get_context
from multiprocessing.context import SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import forked
import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file
from tiny import ARCHITECTURES
from world import small_world

from benchmark.execution import reference_trainings as trainings
from benchmark.execution.process.processes import started
from benchmark.execution.runner import CellRunner
from benchmark.execution.tracking import Tracker
from benchmark.pretraining.recipe import Recipe, load_recipe
from benchmark.pretraining.retrained import RetrainedTraining, Retraining
from benchmark.pretraining.shadows import ShadowModels, ShadowTraining
from benchmark.pretraining.side_by_side import WORKER_BYTES, Shares, shares, train_side_by_side
from benchmark.records.store import RecordStore
from benchmark.suites.expansion import expand
from benchmark.suites.suite_file import load_suite
from benchmark.suites.where import Where
from datamodules.common.request import ForgetRequest
from methods.common.registry import Registry

STAR = {"few_shapes": ForgetRequest(classes=("star",))}


def tiny_recipe(**changes: object) -> Recipe:
    recipe = replace(load_recipe("few-shapes"), architecture=ARCHITECTURES["vit"], epochs=0.25, batch_size=8)
    return replace(recipe, **changes)


def one_of_each(folder: Path, **changes: object) -> tuple[RetrainedTraining, ShadowTraining]:
    recipe = tiny_recipe(**changes)
    retrained = RetrainedTraining(Retraining(recipe, None, folder, "cpu"), STAR, 1)
    return retrained, ShadowModels(recipe, None, folder, "cpu").trainings()[3]


@pytest.mark.parametrize(
    ("wanted", "cores", "memory", "expected"),
    [
        (12, 2, 100, Shares(2, 1)),
        (12, 16, 100, Shares(12, 1)),
        (3, 16, 100, Shares(3, 5)),
        (12, 16, 4, Shares(4, 4)),
        (12, 16, 0.5, Shares(1, 16)),
        (1, 8, 100, Shares(1, 8)),
        (0, 8, 100, Shares(1, 8)),
    ],
)
def test_a_machine_is_shared_out_by_cores_and_memory(wanted: int, cores: int, memory: float, expected: Shares) -> None:
    assert shares(wanted, cores=cores, memory=int(memory * WORKER_BYTES)) == expected


def test_side_by_side_gives_the_models_of_one_after_another_and_names_what_fails(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for training in one_of_each(tmp_path / "one"):
            training.train()
    finally:
        torch.set_num_threads(threads)
    said: list[tuple[int, float]] = []
    bad, both = one_of_each(tmp_path / "bad", data=("nowhere",))[0], one_of_each(tmp_path / "both")
    started()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multiprocessing, "get_context", lambda _: OneBeginsAnew())
        failed = train_side_by_side([bad, *both], Shares(2, 1), lambda done, part: said.append((done, part)))
    assert [training for training, _ in failed] == [bad] and "nowhere" in failed[0][1]
    assert bad.title == "few-shapes without star, seed 1" and not list((tmp_path / "bad").rglob("*.safetensors"))
    for alone, beside in zip(one_of_each(tmp_path / "one"), both, strict=True):
        one, other = load_file(alone.path), load_file(beside.path)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert said[-1] == (3, 1.0)
    assert [done for done, _ in said] == sorted(done for done, _ in said)


class OneBeginsAnew(SpawnContext):
    """Its first process begins anew, as all workers do, and imports everything; the next ones are forked."""

    def __init__(self) -> None:
        super().__init__()
        forked_ones = repeat(get_context("forkserver").Process)
        self._kinds = chain([super().Process], forked_ones)

    def Process(self, *arguments: Any, **named: Any) -> BaseProcess:
        return next(self._kinds)(*arguments, **named)


def fork_workers() -> pytest.MonkeyPatch:
    """Let workers be forked from the server that has imported PyTorch, where how they begin is not what is tested."""
    patch, context = pytest.MonkeyPatch(), multiprocessing.get_context("forkserver")
    patch.setattr(multiprocessing, "get_context", lambda _: context)
    return patch


def test_ctrl_c_stops_all_of_them(tmp_path: Path) -> None:
    started()
    patch = fork_workers()
    endless = one_of_each(tmp_path, epochs=10_000.0)
    try:
        with pytest.raises(KeyboardInterrupt):
            train_side_by_side(endless, Shares(2, 1), lambda *_: os.kill(os.getpid(), signal.SIGINT))
    finally:
        patch.undo()
    assert not multiprocessing.active_children()
    assert not any(training.path.exists() for training in endless)


def endless_run(folder: Path) -> None:
    """In a process of its own: two trainings that do not end; says which processes work on them."""
    fork_workers()

    def say(*_: object) -> None:
        workers = " ".join(str(worker.pid) for worker in multiprocessing.active_children())
        (folder / "workers.tmp").write_text(workers)
        (folder / "workers.tmp").replace(folder / "workers")

    train_side_by_side(one_of_each(folder, epochs=10_000.0), Shares(2, 1), say)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_workers_end_with_a_run_that_is_killed(tmp_path: Path) -> None:
    run = forked.process(endless_run, tmp_path)
    while not (tmp_path / "workers").exists():
        assert run.is_alive()
        time.sleep(0.05)
    workers = [int(word) for word in (tmp_path / "workers").read_text().split()]
    assert len(workers) == 2 and all(map(is_running, workers))
    run.kill()
    run.join()
    deadline = time.monotonic() + 30.0
    while any(map(is_running, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(is_running, workers))


def is_running(process: int) -> bool:
    """Whether a process is there and no zombie, which may wait for ever for a parent to ask for it."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_model_that_another_process_trains_is_awaited(tmp_path: Path) -> None:
    training, _ = one_of_each(tmp_path)
    training.path.parent.mkdir()
    other = FileLock(training.path.with_name(f".{training.path.name}.lock"))
    other.acquire()
    asked = []

    def progress(step: int, steps: int, _: float) -> None:
        asked.append((step, steps))
        other.release()

    training.train(progress)
    assert asked[0] == (0, 1) and asked[-1][0] == asked[-1][1] > 1
    assert training.path.is_file()


def test_what_a_suite_needs_is_found_once_and_not_again(tmp_path: Path) -> None:
    registry, where = Registry(), Where(None, tmp_path, "cpu")
    runner = CellRunner(registry, where, RecordStore(tmp_path / "results"), Tracker(tmp_path / "results", "off"))
    with small_world():
        cells = expand(load_suite("oracle"), registry, where)
        missing = trainings.missing_trainings(cells, runner)
    titles = [training.title for training in missing]
    assert len(set(titles)) == len(titles) == 4 * 3 + 3 + 8
    assert "shapes-resnet without ring, seed 2" in titles and "shadow model 7 of few-shapes" in titles
    missing[0].path.parent.mkdir(parents=True)
    missing[0].path.touch()
    with small_world():
        rest = trainings.missing_trainings(cells, runner)
    assert [training.title for training in rest] == titles[1:]
