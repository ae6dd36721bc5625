"""ceiling: what the chip can do, as measured now: its matrix-product rate in each precision, its copy bandwidth."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from benchmark.speed.bench import Bench
from benchmark.speed.findings import Side, SpeedFinding, seconds
from benchmark.utils.hardware import Precision

REPEATS = 7
SIDE = {"cpu": 1536, "cuda": 8192}
COPY_BYTES = {"cpu": 2**28, "cuda": 2**31}


def measure(bench: Bench) -> Iterator[SpeedFinding]:
    """The best of some runs each: a ceiling is what is possible."""
    for precision in bench.precisions:
        work, flops = matrix_product(bench, precision)
        rate = flops / min(seconds(work, bench.device) for _ in range(REPEATS)) / 1e9
        sides = (Side("matrix products", rate, "GFLOP/s"),)
        yield SpeedFinding(f"{precision}, {SIDE[bench.device.type]} a side", sides, rate, "GFLOP/s")
    source = torch.ones(COPY_BYTES[bench.device.type] // 4, device=bench.device)
    target = torch.empty_like(source)
    best = min(seconds(lambda: target.copy_(source), bench.device) for _ in range(REPEATS))
    bandwidth = 2 * source.numel() * 4 / best / 1e9
    yield SpeedFinding("read and written", (Side("copies in memory", bandwidth, "GB/s"),), bandwidth, "GB/s")


def matrix_product(bench: Bench, precision: Precision) -> tuple[Callable[[], object], float]:
    """One product of square matrices that the chip does at its full rate, and its floating-point operations."""
    side = SIDE[bench.device.type]
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b, out = (torch.ones(side, side, dtype=kind, device=bench.device) for _ in range(3))
    return (lambda: torch.mm(a, b, out=out)), 2.0 * side**3
