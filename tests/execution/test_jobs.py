"""Methods side by side (`--jobs`): the numbers, failures, ends and logs of one after another."""

from __future__ import annotations

import csv
import io
import os
import signal
import threading
import time
import zipfile
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psutil
import pytest
import torch
from world import Answer, World, command, metrics_of, write_plugin

from benchmark.execution.local import _threads_shared, jobs_for
from benchmark.execution.process.processes import METHOD
from benchmark.execution.process.unlearner import Unlearner
from benchmark.execution.runner import CellRunner
from benchmark.execution.tracking import Tracker
from benchmark.records.failures import Ledger
from benchmark.records.record import Record
from datamodules.common.kept_files import read_sealed

pytest_plugins = ("world",)


def _side_by_side(world: World, *options: object) -> Answer:
    return world.run("--jobs", 3, *options)


def test_the_numbers_are_those_of_one_after_another(
    short_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = short_world.with_results(tmp_path / "one after another")
    assert world.run("--jobs", 1).status == 0
    one = world.records()
    begun: list[int] = []
    begin = CellRunner.begin

    def counted(self: CellRunner, *arguments: Any) -> Any:
        begun.append(len(self._begun))
        return begin(self, *arguments)

    monkeypatch.setattr(CellRunner, "begin", counted)
    earlier = set((short_world.cache / "jobs").glob("*/job-*"))  # of other tests: the cache is one for all
    answer = _side_by_side(short_world)
    assert answer.status == 0 and "4 cells run, 0 were done, 0 failed" in answer.out, answer.err
    assert max(begun) > 1, "several were begun before the first was measured"
    several = short_world.records()
    assert one.keys() == several.keys()
    assert {key: metrics_of(record) for key, record in one.items()} == {
        key: metrics_of(record) for key, record in several.items()
    }
    threads = {record.provenance["cpu_threads"] for record in (*one.values(), *several.values())}
    assert threads == {1}, "bit-equal where the processes have as many threads"
    for name in ("flops", "edited_bytes", "items_read", "items_distinct"):
        assert [one[key].cost[name] for key in one] == [several[key].cost[name] for key in one]
    assert all(record.cost["cpu_seconds"] > 0 and record.cost["load"] >= 0 for record in several.values())
    assert Ledger(short_world.results).unended() == {} and set((short_world.cache / "jobs").glob("*/job-*")) <= earlier
    again = _side_by_side(short_world)
    assert again.status == 0 and "nothing to do: all 4 cells" in again.out


def test_what_is_measured_beside_methods_leaves_them_their_threads(tmp_path: Path) -> None:
    unlearner, before = Unlearner(tmp_path, jobs=2), torch.get_num_threads()
    runner = SimpleNamespace(session=SimpleNamespace(unlearner=unlearner))
    torch.set_num_threads(4)
    try:
        for jobs, here, theirs in ((1, 4, 2), (2, 2, 2)):  # with one job nothing runs beside
            with pytest.raises(KeyError), _threads_shared(cast(CellRunner, runner), jobs):
                assert (torch.get_num_threads(), unlearner.threads_each("cpu")) == (here, theirs)
                raise KeyError
            assert (torch.get_num_threads(), unlearner.threads) == (4, None)
    finally:
        torch.set_num_threads(before)


def test_what_a_method_logs_is_logged_all_the_same(short_world: World) -> None:
    options = ("--methods", "gradient_ascent", "--set", "gradient_ascent.max_steps=3,gradient_ascent.batch_size=4")
    assert _side_by_side(short_world, *options).status == 0
    logs = list((short_world.results / "logs").rglob("metrics.csv"))
    losses = [[row["loss"] for row in csv.DictReader(log.open()) if row.get("loss")] for log in logs]
    assert sorted(map(len, losses)) == [0, 3, 3], "of the original, and of two seeds"


def test_a_failure_is_that_of_its_cell_alone(short_world: World, tmp_path: Path) -> None:
    broken = write_plugin(tmp_path, "broken", body="raise ValueError('no such luck')")
    killer = write_plugin(tmp_path, "killer", body="import os; os.kill(os.getpid(), 9)")
    answer = _side_by_side(
        short_world, "--plugin", f"{broken},{killer}", "--methods", "original,broken,killer,nullspace"
    )
    assert answer.status == 1 and "2 cells run, 0 were done, 2 failed" in answer.out
    failures = {failure.cell["method"]: failure for failure in Ledger(short_world.results).failures().values()}
    assert failures["broken"].error == "ValueError" and "no such luck" in failures["broken"].traceback
    assert "signal 9" in failures["killer"].message and failures.keys() == {"broken", "killer"}


def test_the_run_stops_where_no_method_is_the_cause(short_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any, *_: Any) -> Any:
        raise RuntimeError("no kernel image is available")

    monkeypatch.setattr(CellRunner, "_measured", broken)
    earlier = _children()
    answer = _side_by_side(short_world)
    assert answer.status == 1 and "stopped: the model as it came cannot be run (RuntimeError: no kernel" in answer.err
    assert _children() <= earlier and Ledger(short_world.results).unended() == {}


def test_a_stop_ends_what_runs_and_says_how_to_go_on(
    short_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while the second record is logged and others, which would take a minute, unlearn."""
    heard: list[Record] = []

    def second(self: Tracker, record: Record, weights: Path | None = None) -> None:
        heard.append(record)
        if len(heard) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    slow = write_plugin(tmp_path, "slow", body="import time; time.sleep(60)", stochastic=True)
    monkeypatch.setattr(Tracker, "summarise", second)
    earlier, began = _children(), time.monotonic()
    answer = _side_by_side(short_world, "--plugin", slow, "--methods", "original,nullspace,slow")
    assert answer.status == 130 and "interrupted: 2 cells finished now, 0 were done, 2 left" in answer.out
    assert time.monotonic() - began < 50, "nobody waits for the slow ones"
    assert _children() <= earlier and Ledger(short_world.results).unended() == {}
    monkeypatch.undo()
    names = [thread.name for thread in threading.enumerate()]
    assert not any(name.startswith("unlearning") for name in names)


def _children() -> set[int]:
    """Sessions of their own below this process that still live: methods' processes, and what other tests keep."""
    mine = psutil.Process()
    below = mine.children(recursive=True)
    assert METHOD in ("forkserver", "spawn")
    return {child.pid for child in below if child.is_running() and _leads(child.pid)}


def _leads(process: int) -> bool:
    try:
        return os.getsid(process) == process
    except ProcessLookupError:
        return False


def test_a_cell_is_measured_after_what_it_is_compared_with(
    short_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others have long ended when the original, which is held up here, is done."""
    order: list[str] = []
    measured, begin = CellRunner._measured, CellRunner.begin

    def noted(self: CellRunner, cell: Any, *arguments: Any) -> Any:
        order.append(cell.method)
        return measured(self, cell, *arguments)

    def held_up(self: CellRunner, cell: Any, shown: Any) -> Any:
        end = begin(self, cell, shown)
        if cell.method != "original":
            return end
        late: Future[None] = Future()
        threading.Timer(1.5, late.set_result, [None]).start()
        return late

    monkeypatch.setattr(CellRunner, "_measured", noted)
    monkeypatch.setattr(CellRunner, "begin", held_up)
    assert _side_by_side(short_world).status == 0
    assert order[0] == "original" and len(order) == 4


def test_how_many_run_side_by_side(short_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmark.pretraining import side_by_side

    plan = short_world.plan()
    runner = CellRunner.of(plan, Tracker(None))
    monkeypatch.setattr(side_by_side, "usable_cores", lambda: 4)
    monkeypatch.setattr(side_by_side, "free_memory", lambda: 100 * 2**30)
    assert jobs_for(plan.cells, runner) == 4 and jobs_for(plan.cells[:2], runner) == 2 and jobs_for([], runner) == 1
    assert jobs_for(plan.cells, runner, 3) == 3 and jobs_for(plan.cells[:1], runner, 3) == 1
    monkeypatch.setattr(side_by_side, "free_memory", lambda: 5 * 2**30)
    assert jobs_for(plan.cells, runner) == 2, "as the memory allows"


def test_outputs_are_kept_unless_nobody_wants_them(short_world: World) -> None:
    only = ("--methods", "original")
    assert short_world.run(*only).status == 0
    (outputs,) = short_world.results.rglob("*.npz")
    with zipfile.ZipFile(io.BytesIO(read_sealed(outputs) or b"")) as content:
        assert {part.compress_type for part in content.infolist()} == {zipfile.ZIP_STORED}
    before = short_world.records()
    assert short_world.run(*only, "--force", "--no-outputs").status == 0
    assert not outputs.exists() and {key: metrics_of(record) for key, record in before.items()} == {
        key: metrics_of(record) for key, record in short_world.records().items()
    }
    assert "leave out --no-outputs" in short_world.run("--no-outputs", "--save-weights").error


def test_options_that_do_not_go_together(short_world: World) -> None:
    assert "--jobs runs several: leave out one" in short_world.run("--jobs", 2, "--devices", 2).error
    assert "give --cpus-per-cell instead" in short_world.run("--jobs", 2, "--executor", "ray").error
    assert "--jobs" in command("run", "--jobs", 0).error
