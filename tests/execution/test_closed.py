"""What a method cannot open: the modules that draw or open images, and the folders of a run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from world import ROOT

from benchmark.execution.process.closed import Closed, closed_modules
from datamodules.common.errors import RegimeViolationError
from datamodules.common.registry import dataset_cards


def test_every_data_set_is_closed() -> None:
    assert {f"datamodules.{name}" for name in dataset_cards()} <= closed_modules()


@pytest.mark.parametrize(
    "name",
    [
        *("common.registry", "shapes_world.drawing", "shapes_world", "shapes_world.unseen", "image_folder"),
        *("common.shadow_pool", "common.captioned", "common.split_file", "common.download"),
    ],
)
def test_what_draws_or_opens_images_is_closed(name: str) -> None:
    assert f"datamodules.{name}" in closed_modules()


def test_the_server_of_processes_has_imported_nothing_that_is_closed() -> None:
    code = """
import importlib, pathlib, re, sys, threading
import torch
from benchmark.execution.process.closed import closed_modules
from benchmark.execution.process.processes import PRELOADED
for name in PRELOADED:
    importlib.import_module(name)
print(sorted(closed_modules() & set(sys.modules)))
files = pathlib.Path("methods").glob("*.py")
methods = [f"methods.{file.stem}" for file in files if re.search("^CARD = Method", file.read_text(), re.M)]
print(len(methods) > 30, sorted(set(methods) & set(sys.modules)))
print(threading.active_count(), torch.cuda.is_initialized())
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "True []", "1 False"]


def test_paths_are_seen_through(tmp_path: Path) -> None:
    secret, spare, job = tmp_path / "cache", tmp_path / "spare", tmp_path / "cache" / "job"
    for folder in (secret, spare, job):
        folder.mkdir()
    (spare / "link").symlink_to(secret)
    closed = Closed.of("names", [secret], [job])
    for path in (
        secret,
        secret / "a",
        str(secret / "a"),
        bytes(secret / "a"),
        spare / "link" / "a",
        spare / ".." / "cache",
    ):
        with pytest.raises(RegimeViolationError, match="data regime 'names'"):
            closed.check_path(path)
    for path in (job / "a", spare / "a", tmp_path / "cache-of-another", 3, None):
        closed.check_path(path)
