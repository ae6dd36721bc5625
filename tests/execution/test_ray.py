"""Cells on Ray: the same records as a local run, through deaths of workers and machines; and bad input."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from world import ROOT, SHRINK, World, write_plugin

pytest_plugins = ("world",)

MB = 2**20
NICENESS = "RAY_worker_niceness"


def _left_out(reason: str) -> NoReturn:
    """Skip, or fail where Ray is there for sure: in .ci/run, where a test that is skipped is one that is not there."""
    if os.environ.get("TESTS_NEED_RAY"):
        pytest.fail(reason)
    pytest.skip(reason)


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        _left_out("Ray is not installed (extra `ray`)")
    return ray


def _ports() -> dict[str, int]:
    """Fixed ports: a raylet that chooses its own gives its agents little time to tell them."""
    names = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
    sockets = [socket.socket() for _ in names]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    found = {name: int(each.getsockname()[1]) for name, each in zip(names, sockets, strict=True)}
    for each in sockets:
        each.close()
    return found


def _node(cluster: Any) -> Any:
    return cluster.add_node(num_cpus=1, include_dashboard=False, object_store_memory=100 * MB, **_ports())


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two machines of one CPU each, as far as Ray can tell; this process is connected to them."""
    ray = _ray()
    from ray.cluster_utils import Cluster

    before = {name: os.environ.get(name) for name in ("PYTHONPATH", "OMP_NUM_THREADS", NICENESS)}
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests")])  # of the workers
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ[NICENESS] = "0"  # by default they yield to all others, such as the tests beside them
    made = Cluster()
    try:
        for attempt in range(3):
            try:
                while len(made.list_all_nodes()) < 2:
                    _node(made)
                break
            except Exception as error:  # noqa: BLE001 - a machine too busy for the half minute that Ray allows
                if attempt == 2:
                    _left_out(f"Ray could not be started here ({error})")
        hook = {"worker_process_setup_hook": "world_of_workers.set_up"}
        ray.init(address=made.address, log_to_driver=False, logging_level="error", runtime_env=hook)
        yield made
    finally:
        ray.shutdown()
        made.shutdown()
        for number, handler in handlers.items():  # Ray sets its own
            signal.signal(number, handler)
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def _numbers(world: World) -> dict[str, Any]:
    """The records by key, without what differs between two runs of one cell: times, memory, command and commit."""
    found = {}
    for key, record in world.records().items():
        content = {name: part for name, part in record.to_dict().items() if name != "digest"}
        for name in ("unlearn_seconds", "evaluate_seconds", "cpu_seconds", "load", "peak_memory_bytes"):
            content["cost"].pop(name)
        for name in ("command", "git"):
            content["provenance"].pop(name)
        found[key] = content
    return found


def _outputs(world: World) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in world.results.rglob("*.npz")}


def test_workers_import_our_packages_and_not_those_of_the_users_folder(tmp_path: Path) -> None:
    """As the installed command runs in a folder that holds files named like ours, which Ray puts on the path."""
    _ray()
    folder, script = tmp_path / "mine", tmp_path / "script.py"
    (folder / "methods").mkdir(parents=True)
    for name in ("benchmark.py", "methods/__init__.py"):
        (folder / name).write_text("raise RuntimeError('the file of the user')", encoding="utf-8")
    script.write_text(
        """
from benchmark.execution.cluster import connected
import ray
def places():
    import benchmark, datamodules, methods
    return [module.__file__ for module in (benchmark, datamodules, methods)]
if __name__ == "__main__":
    with connected(None):
        print(*ray.get(ray.remote(num_cpus=1)(places).remote()), sep="\\n")
""",
        encoding="utf-8",
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, script], cwd=folder, env=environment, capture_output=True, text=True)
    expected = [str(ROOT / package / "__init__.py") for package in ("benchmark", "datamodules", "methods")]
    assert done.stdout.splitlines() == expected, done.stderr


@pytest.mark.parametrize("last", ["", "127.0.0.1:9"], ids=["none", "one that is gone"])
@pytest.mark.parametrize("address", ["auto", "127.0.0.1:9", "[::1]:9"])
def test_no_cluster_at_the_address_is_one_line(
    address: str, last: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    if last:  # a cluster that was killed has left its address
        (tmp_path / "ray").mkdir()
        (tmp_path / "ray" / "ray_current_cluster").write_text(last)
    ray = _ray()
    from benchmark.execution.cluster import connected
    from datamodules.common.errors import BenchmarkError

    if ray.is_initialized():
        pytest.skip("this process is connected to a cluster already")
    message = rf"no Ray cluster answers at '{re.escape(address)}'.*ray start --head"
    with pytest.raises(BenchmarkError, match=message), connected(address):
        pass


def test_two_workers_give_the_records_of_a_local_run(cluster: Any, world: World, finished: World) -> None:
    local = finished.with_results(finished.results)
    answer = World(local.suite, local.cache, world.results).run("--executor", "ray")
    assert answer.status == 0, answer.err
    assert _numbers(world) == _numbers(local) and len(_numbers(world)) == 8
    assert _outputs(world) == _outputs(local)
    again = World(local.suite, local.cache, world.results).run("--executor", "ray")
    assert again.status == 0 and "nothing to do" in again.out


def test_the_original_that_a_plan_leaves_out_is_run_first(cluster: Any, short_world: World) -> None:
    answer = short_world.run("--executor", "ray", "--methods", "nullspace")
    assert answer.status == 0 and "1 cells run" in answer.out, answer.err
    assert sorted(record.cell["method"] for record in short_world.records().values()) == ["nullspace", "original"]


def test_a_cell_that_raises_is_in_the_ledger_and_the_others_go_on(
    cluster: Any, short_world: World, tmp_path: Path
) -> None:
    plugin = write_plugin(tmp_path, "broken", body="raise ValueError('it cannot be done')")
    answer = short_world.run("--executor", "ray", "--plugin", plugin, "--methods", "original,broken,nullspace")
    assert answer.status == 1 and "2 cells run, 0 were done, 1 failed" in answer.out
    line = (short_world.results / "failures.jsonl").read_text().splitlines()[0]
    assert "it cannot be done" in line and "broken.py" in line


def test_a_worker_killed_in_mid_cell_costs_that_cell_only(cluster: Any, short_world: World, tmp_path: Path) -> None:
    mark = tmp_path / "tried"
    pid = tmp_path / "pid"
    body = f"""import os, pathlib, time
        mark = pathlib.Path({str(mark)!r})
        with mark.open("a") as stream:
            stream.write("x")
        if len(mark.read_text()) == 1:
            pathlib.Path({str(pid)!r}).write_text(str(os.getppid()))
            time.sleep(600)
        {SHRINK}"""
    plugin = write_plugin(tmp_path, "unlucky", body=body)

    def kill() -> None:
        """Ray's worker started the server from which the method's process was forked."""
        while not (pid.exists() and pid.read_text()):
            time.sleep(0.05)
        os.kill(int(Path(f"/proc/{pid.read_text()}/stat").read_text().rpartition(")")[2].split()[1]), signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    answer = short_world.run("--executor", "ray", "--plugin", plugin, "--methods", "original,unlucky,nullspace")
    assert answer.status == 0 and "3 cells run" in answer.out, answer.err
    assert mark.read_text() == "xx"  # one cell, twice
    assert not (short_world.results / "failures.jsonl").exists()


def test_ctrl_c_leaves_what_is_finished_and_a_state_to_go_on_from(
    cluster: Any, short_world: World, tmp_path: Path
) -> None:
    body = f"""import time
        time.sleep(600)
        {SHRINK}"""
    plugin = write_plugin(tmp_path, "endless", body=body)
    threading.Thread(target=_interrupt_when_finished, args=(short_world.results, 1), daemon=True).start()
    answer = short_world.run("--executor", "ray", "--plugin", plugin, "--methods", "original,endless")
    assert answer.status == 130 and "interrupted: 1 cells finished now, 0 were done, 1 left" in answer.out, answer.out
    assert {record.cell["method"] for record in short_world.records().values()} == {"original"}
    after = short_world.run("--executor", "ray", "--methods", "original,nullspace")
    assert after.status == 0 and "1 cells run, 1 were done" in after.out, after.err


def _interrupt_when_finished(results: Path, count: int) -> None:
    while len(list(results.glob("tiny/*.json"))) < count:
        time.sleep(0.05)
    time.sleep(0.3)  # the driver takes the record that it has just written
    os.kill(os.getpid(), signal.SIGINT)


def test_what_the_cluster_does_not_have_is_refused_before_any_work(cluster: Any, world: World) -> None:
    for options, expected in (
        (("--gpus-per-cell", 1), "the cluster has 0 GPUs"),
        (("--gpus-per-cell", 1.5), "a part of one GPU, such as 0.5, or a whole number"),
        (("--cpus-per-cell", 64), "no machine of the cluster has 64 CPUs"),
        (("--cpus-per-cell", 0), "from 1 to 4096"),
        (("--shard", "3/2"), "shard '3/2' is not of the form i/n"),
    ):
        assert expected in world.run("--executor", "ray", *options).error
    assert world.files() == set()


def test_a_run_goes_on_when_a_machine_dies(cluster: Any, world: World, tmp_path: Path) -> None:
    """The cell waits on the machine that is to die; once that is gone, it is run on the other one.

    The last that is done on the cluster: a machine in the place of the dead one would have to import everything.
    """
    doomed = cluster.list_all_nodes()[-1]
    marks = tmp_path / "marks"
    marks.mkdir()
    (raylet,) = (str(info.process.pid) for info in doomed.all_processes["raylet"])
    body = f"""import os, pathlib, time
        node = os.environ["RAY_RAYLET_PID"]
        (pathlib.Path({str(marks)!r}) / node).touch()
        while node == {raylet!r}:
            time.sleep(0.05)
        while not (pathlib.Path({str(marks)!r}) / {raylet!r}).exists():
            time.sleep(0.05)
        {SHRINK}"""
    plugin = write_plugin(tmp_path, "waiting", body=body)
    killer = threading.Thread(target=_remove_when_marked, args=(cluster, doomed, marks / raylet))
    killer.start()
    try:
        answer = world.run("--executor", "ray", "--plugin", plugin, "--methods", "original,waiting,nullspace")
    finally:
        killer.join(timeout=60)
    assert answer.status == 0 and "6 cells run" in answer.out, answer.err
    assert len(list(marks.iterdir())) == 2 and not (world.results / "failures.jsonl").exists()


def _remove_when_marked(cluster: Any, node: Any, mark: Path) -> None:
    while not mark.exists():
        time.sleep(0.05)
    cluster.remove_node(node, allow_graceful=False)


def test_options_of_ray_without_ray_are_refused(world: World) -> None:
    assert "need --executor ray" in world.run("--address", "auto").error
    assert "need --executor ray" in world.run("--gpus-per-cell", 0.5).error


def test_ray_that_is_not_installed_is_one_line(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "pip install 'clip-unlearning-benchmark[ray]'" in world.run("--executor", "ray").error
    assert world.files() == set()
