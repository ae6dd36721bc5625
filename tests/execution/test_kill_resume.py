"""Runs that are killed and started again: nothing half-written, nothing lost, the same numbers.

A server process that has imported everything forks each run, so a run dies by a real SIGKILL without an import each.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from world import ROOT, World, metrics_of, small_world, write_suite

from benchmark.records.store import RecordStore

pytest_plugins = ("world",)

KILLS = 4
MOST_RUNS = 12
"""The time of a run is known roughly, so that some end before they are killed."""
SERVER = """
import json, os, pathlib, signal, sys, time
sys.path[:0] = [sys.argv[1], sys.argv[2]]
import torch, lightning, open_clip, world
import benchmark.execution.runner, benchmark.cli.run, benchmark.execution.local, benchmark.leaderboard.tables
from multiprocessing import forkserver
from datamodules import kept_files
from benchmark.__main__ import main
from benchmark.execution.process.processes import started

def work(arguments, die_after):
    # The child. With die_after = n it kills itself when the n-th file of its records is written but not in its place.
    torch.set_num_threads(1)
    # the server that forks processes for unlearning is started once; its pid is no child of this process
    forkserver._forkserver.ensure_running = forkserver.ensure_running = lambda: None
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1), os.dup2(null, 2)
    if die_after:
        left, sync = [die_after], os.fsync
        suites = pathlib.Path(arguments[arguments.index("--results") + 1])
        def fsync(descriptor):
            # What the runner writes for the processes that unlearn is flushed too, and is none of these files.
            sync(descriptor)
            unfinished = suites.glob("*/.*.tmp")
            left[0] -= any(os.path.samestat(os.fstat(descriptor), path.stat()) for path in unfinished)
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
        kept_files.os.fsync = fsync
    with world.small_world():
        os._exit(main(arguments))

started()
for line in sys.stdin:
    job = json.loads(line)
    start = time.monotonic()
    child = os.fork()
    if not child:
        work(job["arguments"], job.get("die_after"))
    ended = 0
    while not ended:
        ended, status = os.waitpid(child, os.WNOHANG)
        if not ended and job.get("after") is not None and time.monotonic() - start >= job["after"]:
            os.kill(child, signal.SIGKILL)
            ended, status = os.waitpid(child, 0)
        time.sleep(0.002)
    print(json.dumps([os.waitstatus_to_exitcode(status), time.monotonic() - start]), flush=True)
"""


class Server:
    """Runs the command line in a forked process; answers with exit status (-9 if killed) and seconds."""

    def __init__(self, world: World) -> None:
        command = [sys.executable, "-c", SERVER, str(ROOT), str(ROOT / "tests")]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        self._world = world

    def run(self, results: Path, **job: float) -> tuple[int, float]:
        where = ["--suite", self._world.suite, "--results", results, "--cache-dir", self._world.cache]
        chosen = ["--methods", "original,nullspace,cliperase", "--device", "cpu"]
        settings = ["--set", "cliperase.max_steps=3,cliperase.batch_size=4"]
        arguments = [str(part) for part in ("run", *where, *chosen, *settings)]
        self._process.stdin.write(json.dumps({"arguments": arguments, **job}) + "\n")
        self._process.stdin.flush()
        status, seconds = json.loads(self._process.stdout.readline())
        return status, seconds

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def serving(tiny_world: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The server, and what an uninterrupted run gives."""
    folder = tmp_path_factory.mktemp("kill")
    server = Server(World(write_suite(folder, tiny_world.model), tiny_world.cache, folder / "whole"))
    status, seconds = server.run(folder / "whole")
    assert status == 0
    records = RecordStore(folder / "whole").all()
    assert len(records) == 8
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
