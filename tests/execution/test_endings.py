"""However a run ends, its status tells the truth: nothing is missing beside status 0, and the cause is named."""

from __future__ import annotations

import errno
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from world import SHRINK, World, command, write_plugin

from benchmark.execution.local import blame_elsewhere, disk_refusal
from benchmark.execution.runner import CellRunner
from benchmark.records.failures import Ledger
from benchmark.records.store import RecordStore
from datamodules.common.kept_files import cannot_write

pytest_plugins = ("world",)
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_method_that_exits_is_told_by_measure_and_verify_too(short_world: World, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    body = f"import pathlib; exit(0) if pathlib.Path({str(mark)!r}).exists() else {SHRINK}"
    plugin = write_plugin(tmp_path, body=body)
    assert short_world.run("--plugin", plugin, "--methods", "original,stranger").status == 0
    mark.touch()
    where = ("--results", short_world.results, "--cache-dir", short_world.cache, "--plugin", plugin)
    measured = command("measure", "knn_probe", *where)
    assert measured.status == 1 and "1 failed (see" in measured.out and "failed: stranger forgets" in measured.err
    assert all("SystemExit" in failure.error for failure in Ledger(short_world.results).failures().values())
    key = next(key for key, record in short_world.records().items() if record.cell["method"] == "stranger")
    verified = command("verify", key, *where)
    assert verified.status == 1 and "not run: SystemExit" in verified.out


def test_the_run_stops_where_the_model_as_it_came_cannot_be_run(
    short_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Any, cell: Any, *_: Any) -> Any:
        raise RuntimeError("no kernel image is available")

    monkeypatch.setattr(CellRunner, "_unlearn", broken)
    answer = short_world.run()
    assert answer.status == 1 and "0 cells run, 0 were done, 1 failed" in answer.out
    assert "stopped: the model as it came cannot be run (RuntimeError: no kernel image" in answer.err
    assert "no method is the cause" in answer.err
    alone = short_world.run("--methods", "nullspace")  # the original is not in this plan, but needed
    assert alone.status == 1 and "stopped: the model as it came cannot be run" in alone.err


def test_the_run_stops_where_all_methods_fail_with_one_error(
    short_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert short_world.run("--methods", "original").status == 0
    unlearn, calls = CellRunner._unlearn, []

    def broken(self: Any, cell: Any, *rest: Any) -> Any:
        if cell.method == "original":
            return unlearn(self, cell, *rest)
        calls.append(cell.method)
        raise RuntimeError(f"out of memory: tried to allocate {len(calls)} GiB")

    monkeypatch.setattr(CellRunner, "_unlearn", broken)
    answer = short_world.run("--methods", "original,ccup,nullspace,nullspace_edit,random_noise,uce", "--seeds", "0")
    assert answer.status == 1 and len(set(calls)) == 3 and "3 methods fail with one error" in answer.err


def test_failures_that_may_be_the_methods_are_not_blamed_elsewhere(world: World) -> None:
    cells = {cell.method: cell for cell in world.plan("--methods", "original,ccup,uce,nullspace,diet").cells}

    def blame(*failed: tuple[str, str], none_finished: bool = True) -> str:
        return blame_elsewhere([(cells[name], message) for name, message in failed], none_finished=none_finished)

    three = (("ccup", "E: 1 GiB"), ("uce", "E: 2 GiB"), ("nullspace", "E: 3 GiB"))
    assert blame(*three) and not blame(*three, none_finished=False)
    assert not blame(*three[:2]) and not blame(*three[:2], ("diet", "E: another"))
    assert not blame(*[three[0]] * 5) and not blame()
    assert blame(("ccup", "E"), ("original", "E"), none_finished=False)


def test_a_full_disk_ends_the_run_at_once_in_one_line(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmark.records import store as record_store

    write, calls = record_store.replace_file, []

    def full(path: Path, content: bytes) -> None:
        if len(path.stem) == 64:  # not the probe of the folder
            calls.append(path)
        if len(calls) > 2:
            raise cannot_write(path, FULL)
        write(path, content)

    monkeypatch.setattr(record_store, "replace_file", full)
    answer = world.run()
    assert answer.status == 2 and len(calls) == 3
    (line,) = [line for line in answer.err.splitlines() if line.startswith("error: ")]
    assert "No space left on device" in line and "what is finished is kept" in line and "same command again" in line
    monkeypatch.undo()
    with_room = RecordStore(world.results)
    assert len(with_room.all()) == 2 and with_room.set_aside == []


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (FULL, True),
        (cannot_write(Path("x"), PermissionError(errno.EACCES, "Permission denied")), True),
        (OSError(errno.EROFS, "Read-only file system"), True),
        (OSError(errno.ENOENT, "No such file"), False),
        (RuntimeError("I/O error: No space left on device (os error 28)"), True),
        (ValueError("a space left"), False),
    ],
)
def test_a_disk_that_takes_no_more_is_seen_through_causes(error: BaseException, refused: bool) -> None:
    try:
        try:
            raise error
        except BaseException as cause:
            raise KeyError("outer") from cause
    except KeyError as outer:
        assert bool(disk_refusal(outer)) == refused == bool(disk_refusal(error))


def test_a_cell_that_took_its_process_with_it_is_named_and_tried_last(short_world: World) -> None:
    cells = short_world.plan().cells
    needed, killer = cells[0], next(cell for cell in cells if cell.method == "nullspace")
    assert needed.method == "original"
    ledger = Ledger(short_world.results)
    running = [ledger.running(cell.key) for cell in (needed, killer)]
    for each in running:
        each.__enter__()  # and never left: the process died
    assert set(ledger.unended()) == {needed.key, killer.key}
    answer = short_world.run()
    assert answer.status == 0 and ledger.unended() == {}
    told = answer.err.splitlines()
    assert any(str(killer) in line and "never ended" in line and "tried last" in line for line in told)
    assert any(str(needed) in line and "others need it" in line for line in told)
    order = [r.key for r in sorted(short_world.records().values(), key=lambda r: _made(short_world, r.key))]
    assert order[-1] == killer.key and order[0] == needed.key


def _made(world: World, key: str) -> int:
    return next(world.results.rglob(f"{key}.json")).stat().st_mtime_ns


def test_cells_that_end_in_any_way_are_not_called_killers(
    short_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = write_plugin(tmp_path, "broken", body="raise ValueError")
    assert short_world.run("--plugin", broken, "--methods", "original,broken").status == 1

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(CellRunner, "_unlearn", stop)
    assert short_world.run("--methods", "nullspace").status == 130
    assert Ledger(short_world.results).unended() == {} and (short_world.results / "begun.jsonl").exists()


def test_status_0_never_stands_beside_a_missing_record(short_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    write = RecordStore.write

    def lossy(self: RecordStore, record: Any, outputs: Any = None) -> Path:
        path = write(self, record, outputs)
        if record.cell["method"] == "nullspace":
            path.unlink()
        return path

    monkeypatch.setattr(RecordStore, "write", lossy)
    answer = short_world.run("--methods", "original,nullspace")
    assert answer.status == 1 and "1 of 2 cells have no record though none failed" in answer.err
    assert "nullspace forgets" in answer.err


def test_a_run_that_is_told_to_end_says_how_to_go_on(short_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    unlearn, calls = CellRunner._unlearn, []

    def third(self: Any, *arguments: Any) -> Any:
        calls.append(0)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return unlearn(self, *arguments)

    monkeypatch.setattr(CellRunner, "_unlearn", third)
    monkeypatch.setattr(sys, "argv", ["benchmark", "run"])
    answer = short_world.run()
    assert answer.status == 143 and "interrupted: 2 cells finished now, 0 were done, 2 left" in answer.out
    assert answer.out.rstrip().splitlines()[-1].strip() == "python -m benchmark run"
    assert short_world.run().status == 0
