"""Standard output and error: any encoding, a reader that goes, a disk that is full. Processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A line of the shell in which BENCHMARK is the command line."""
    line = line.replace("BENCHMARK", f"{sys.executable} -m benchmark")
    known = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        ["bash", "-c", line], env=known, capture_output=True, text=True, errors="replace", check=False
    )


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_terminal_of_another_encoding(encoding: str) -> None:
    answer = shell("BENCHMARK leaderboard --reference --suite quick", PYTHONIOENCODING=encoding)
    assert (answer.returncode, answer.stderr) == (0, "") and "shapes-small" in answer.stdout


def test_a_reader_that_goes() -> None:
    answer = shell("BENCHMARK leaderboard --reference | head -1; exit ${PIPESTATUS[0]}")
    assert answer.returncode in (0, 141) and answer.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_a_disk_that_is_full() -> None:
    answer = shell("BENCHMARK list models > /dev/full")
    assert answer.returncode == 2 and len(answer.stderr.splitlines()) == 1 and "No space" in answer.stderr
