"""The process of an unlearning: its end whatever it does, Ctrl-C, and nothing of a surrounding job or main script."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from world import ROOT, SUITE, small_world, write_suite

from benchmark.execution.process.child import ProcessFailure
from benchmark.execution.process.processes import ProcessError, raised
from benchmark.records.store import RecordStore
from datamodules.common.errors import RegimeViolationError

pytest_plugins = ("world",)


def _failure(error: str, message: str = "what it said") -> ProcessFailure:
    return ProcessFailure(0.0, 0, error, message, "Traceback (most recent call last): ...")


@pytest.mark.parametrize(
    ("error", "kind"),
    [("ValueError", ValueError), ("RegimeViolationError", RegimeViolationError), ("OutOfMemoryError", RuntimeError),
     ("LinAlgError", ProcessError), ("UnicodeDecodeError", UnicodeDecodeError), ("no name", ProcessError),
     ("DiskFullError", ProcessError), ("KeyboardInterrupt", ProcessError), ("SystemExit", ProcessError)],
)  # fmt: skip
def test_an_error_comes_back_by_its_name(error: str, kind: type[Exception]) -> None:
    made = raised(_failure(error))
    assert isinstance(made, kind) and made.args == ("what it said",)
    assert error == "no name" or type(made).__name__ == error
    assert "Traceback" in str(made.__cause__)


SCRIPT = """
import sys
sys.path[:0] = {paths!r}
from benchmark.__main__ import main
from world import small_world

print("once", flush=True)
sys.argv = ["benchmark", *{arguments!r}]
with small_world():
    status = main(sys.argv[1:])
sys.exit(status)
"""
"""Without the usual guard, `if __name__ == "__main__"`."""
SURROUNDING = {
    **{"SLURM_NTASKS": "4", "SLURM_PROCID": "3", "SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "job"},
    **{"RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "OMPI_COMM_WORLD_SIZE": "4", "MASTER_PORT": "1"},
}


@dataclass(frozen=True)
class Ended:
    """What a process of its own said and left: a run that was stopped in the middle of a long unlearning."""

    status: int
    out: str
    err: str
    results: Path
    cache: Path


def _begun(ledger: Path) -> int:
    return ledger.read_text().count('"began"') if ledger.exists() else 0


@pytest.fixture(scope="module")
def ended(tiny_world: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """The real thing: a script in an interpreter and a session of its own, one task of a surrounding job; Ctrl-C comes
    when the first cells are done, to the whole group, as from a terminal."""
    folder = tmp_path_factory.mktemp("process")
    suite = write_suite(folder, tiny_world.model, SUITE.replace(", {{concept: striped}}", ""))
    where = ["--suite", suite, "--results", folder / "runs", "--cache-dir", folder / "cache", "--device", "cpu"]
    chosen = ["--methods", "original,random_noise,cliperase", "--seeds", "0"]
    slow = ["--set", "cliperase.max_steps=100000,cliperase.batch_size=4"]
    arguments = [str(each) for each in ("run", *where, *chosen, *slow)]
    script = folder / "script.py"
    script.write_text(SCRIPT.format(paths=[str(ROOT), str(ROOT / "tests")], arguments=arguments))
    with (folder / "said.txt").open("w") as said, (folder / "err.txt").open("w") as complaints:
        process = subprocess.Popen(
            [sys.executable, str(script)], cwd=folder, env={**os.environ, **SURROUNDING}, start_new_session=True,
            stdout=said, stderr=complaints,
        )  # fmt: skip
        latest = time.monotonic() + 240
        # Two cells are done and the third, which never ends by itself, has begun and is handed over.
        while _begun(folder / "runs" / "begun.jsonl") < 3 or not list(folder.glob("cache/jobs/*/job-*")):
            if process.poll() is not None or time.monotonic() > latest:
                process.kill()
                pytest.fail((folder / "err.txt").read_text())
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        process.wait(timeout=60)
    out, err = ((folder / name).read_text() for name in ("said.txt", "err.txt"))
    return Ended(process.returncode, out, err, folder / "runs", folder / "cache")


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs POSIX signals")
def test_nothing_is_taken_from_a_surrounding_job(ended: Ended) -> None:
    with small_world():
        methods = [record.cell["method"] for record in RecordStore(ended.results).all()]
    assert sorted(methods) == ["original", "random_noise"], ended.err
    assert "failed" not in ended.err and not (ended.results / "failures.jsonl").exists()


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs POSIX signals")
def test_a_script_without_the_usual_guard_runs_once(ended: Ended) -> None:
    assert (ended.out + ended.err).split().count("once") == 1 and ended.out.startswith("once\n")
    assert not list((ended.cache / "jobs").iterdir())  # what was handed over is gone


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs POSIX signals")
def test_ctrl_c_ends_a_process_cleanly(ended: Ended) -> None:
    assert ended.status == 130 and "Traceback" not in ended.err
    assert "2 cells finished now" in ended.out and not list(ended.results.rglob("*.tmp"))
    *_, last = ended.out.rstrip().splitlines()
    assert last.strip().startswith("python -m benchmark run")


def test_what_a_method_started_ends_with_it(tmp_path: Path) -> None:
    from rank_work import on_ranks, starts_a_child

    (child,) = on_ranks(starts_a_child, count=1)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{child}/stat").exists() and " Z " in Path(f"/proc/{child}/stat").read_text():
            return
        time.sleep(0.05)
    pytest.fail("the child lives on")
