"""Threads that wait for work sleep: it is said to every process before PyTorch is imported, and a user's word stays."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from world import ROOT

from benchmark.utils.waiting import THREADS, let_threads_sleep

CODE = """
import json, os, sys
import benchmark.__main__
print(json.dumps([os.environ["OMP_WAIT_POLICY"], os.environ["OPENBLAS_NUM_THREADS"], "torch" in sys.modules]))
"""


def test_it_is_said_before_pytorch_is_imported() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in THREADS}
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == ["PASSIVE", "1", False]


def test_what_a_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    let_threads_sleep()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE" and os.environ["OPENBLAS_NUM_THREADS"] == "1"
