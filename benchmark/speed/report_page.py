"""report_page: what the page of very many records takes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

from benchmark.speed.bench import Bench
from benchmark.speed.cells import some_cells
from benchmark.speed.findings import LeftOutError, Side, SpeedFinding
from benchmark.speed.leaderboard import write_copies
from benchmark.suites.tuned.space import competes
from datamodules.common.request import ForgetRequest
from datamodules.shapes_world.vocabulary import VOCABULARY
from methods.common.registry import Registry

METHODS, REQUESTS, SEEDS = 40, 10, 25
MOST_SECONDS, MOST_MEMORY, MOST_PAGE = 30.0, 400.0, 5.0  # s, MB, MB
_MEGABYTE = 1e6


def measure(bench: Bench) -> Iterator[SpeedFinding]:
    """A real record, copied for methods, classes and seeds; the command `report` on them, in a process of its own."""
    registry = Registry()
    methods = [name for name in registry.names() if competes(registry, name)][:METHODS]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runner, cells = some_cells(bench, ("original",), folder)
        requests = [ForgetRequest(classes=(each,)) for each in VOCABULARY["shape"][:REQUESTS]]
        copies = (
            replace(cells[0], method=method, request=request, seed=seed)
            for method, request, seed in product(methods, requests, range(SEEDS))
        )
        write_copies(runner.run(cells[0]), copies, folder / "many")
        out = folder / "page.html"
        taken, memory = _command("report", "--own", "--results", str(folder / "many"), "--out", str(out))
        size = out.stat().st_size / _MEGABYTE
    what = f"{len(methods) * REQUESTS * SEEDS:,} records of {len(methods)} methods"
    yield SpeedFinding(what, (Side("to write the page", taken, "s"),), taken, "s", most=MOST_SECONDS)
    yield SpeedFinding(what, (Side("held at most", memory, "MB"),), memory, "MB", most=MOST_MEMORY)
    yield SpeedFinding(what, (Side("the page", size, "MB"),), size, "MB", most=MOST_PAGE)


_ALONE = """
import resource, subprocess, sys, time
start = time.perf_counter()
status = subprocess.run([sys.executable, "-m", "benchmark", *sys.argv[1:]], stdout=subprocess.DEVNULL).returncode
print(status, time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""A small process around the command: what a process holds is counted from what the one that forked it held."""


def _command(*arguments: str) -> tuple[float, float]:
    """Run a command of this package.

    Returns:
        Seconds by the clock, from the start of the process; the most memory that it held, in MB.

    Raises:
        LeftOutError: If it failed.
    """
    ran = subprocess.run([sys.executable, "-c", _ALONE, *arguments], capture_output=True, text=True, check=True)
    status, taken, memory = ran.stdout.split()
    if int(status):
        raise LeftOutError(f"{arguments[0]} ended with {status}: {ran.stderr.strip()}")
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there, in KiB elsewhere
    return float(taken), int(memory) * unit / _MEGABYTE
