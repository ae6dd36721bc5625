"""The process of an unlearning: its end whatever it does, and nothing of a surrounding job or main script."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from world import ROOT, World

from benchmark.execution.process.child import ProcessFailure
from benchmark.execution.process.processes import ProcessError, raised
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


def test_nothing_is_taken_from_a_surrounding_job(world: World, tmp_path: Path) -> None:
    surrounding = {"SLURM_NTASKS": "4", "SLURM_PROCID": "3", "SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "job"}
    surrounding |= {"RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "OMPI_COMM_WORLD_SIZE": "4", "MASTER_PORT": "1"}
    where = ("--suite", world.suite, "--results", tmp_path / "runs", "--cache-dir", world.cache, "--device", "cpu")
    line = [sys.executable, ROOT / "tests" / "world.py", "run", *where, "--methods", "original,random_noise"]
    environment = {**os.environ, **surrounding}
    done = subprocess.run(
        [*map(str, line), "--seeds", "0"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "runs").glob("*/*.json"))) == 4


SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
from tiny import APPLE, TinyDataset, tiny_clip
from benchmark.execution.process.unlearner import Unlearner, Work
from methods.common.registry import Registry

print("once")
unlearner = Unlearner(Path({cache!r}))
work = Work(Registry().declaration("random_noise"), {{"scale": 1.0}}, tiny_clip("vit"), TinyDataset(), APPLE, 0)
print(len(unlearner.unlearn(work).edited) > 0)
"""


def test_a_script_without_the_usual_guard_runs_once(tmp_path: Path) -> None:
    file = tmp_path / "script.py"
    cache = str(tmp_path / "cache")
    file.write_text(SCRIPT.format(root=str(ROOT), tests=str(ROOT / "tests"), cache=cache))
    done = subprocess.run([sys.executable, str(file)], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.split()) == (0, ["once", "True"]), done.stderr
    assert not list((tmp_path / "cache" / "jobs").iterdir())  # what was handed over is gone


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
