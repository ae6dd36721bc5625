"""Fixtures that all rooms share."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.register_assert_rewrite("world")

SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def real_data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real data sets, unpacked once a session; the test is skipped where they are not at hand."""
    unpack = SHARED_DATA / "unpack.py"
    if not unpack.is_file():
        pytest.skip("the real data (../shared/data beside the repository) are not here")
    target = tmp_path_factory.mktemp("real_data")
    done = subprocess.run([sys.executable, str(unpack), str(target)], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.fail(f"{unpack} failed: {done.stderr[-500:]}")
    return target


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of decoded images that lives as long as the session."""
    return tmp_path_factory.mktemp("cache")
