"""The measurements by name, and their findings as text and as JSON."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import torch

from benchmark.records.provenance import package_versions, processor
from benchmark.speed.findings import SpeedFinding

MEASUREMENTS: dict[str, str] = {
    "ceiling": "the chip's matrix-product rate and copy bandwidth",
    "encoding": "images through the tower, against the matrix-product rate",
    "lip_step": "a step of Lip, against a loop over the noise draws",
    "gradient_step": "a step of GradDiff and of CLIPErase, against plain loops; the Trainer, against a bare loop",
    "synthetic_images": "64 synthetic images together, against one at a time",
    "overhead": "what the suite adds to a cell",
    "leaderboard": "10,000 records as a leaderboard",
    "report_page": "10,000 records as a page",
    "memory": "200 cells in one process",
    "projection_edits": "20 projection edits evaluated, against clip_benchmark",
    "evaluation": "zero-shot and retrieval evaluation, against clip_benchmark",
}
"""Modules of this package, in the order in which they run."""
_WIDTH = 44


def module(name: str) -> ModuleType:
    """The module of a measurement."""
    return importlib.import_module(f"benchmark.speed.{name}")


def machine(device: torch.device) -> dict[str, Any]:
    """Where and when the numbers were taken, and what else the machine was doing."""
    from benchmark.utils.hardware import device_name

    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": processor() if device.type == "cpu" else device_name(device),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "packages": package_versions(),
    }


def headline(about: dict[str, Any]) -> str:
    """The machine in one line."""
    load = about["load_average"]
    busy = f" · load {load[0]:.1f}" if load else ""
    return f"{about['device']} · {about['threads']} threads on {about['cores']} cores{busy}"


def lines(finding: SpeedFinding) -> list[str]:
    """A finding as text."""
    shown = [f"  {finding.what}"]
    shown += [f"    {side.name:<{_WIDTH}}{_number(side.value):>12} {side.unit}" for side in finding.sides]
    if finding.met is not None:
        bound = f"at least {finding.least:g}" if finding.least is not None else f"at most {finding.most:g}"
        name = "ratio" if finding.unit == "times" else "share" if finding.unit == "%" else "result"
        verdict = f"{bound}: {'met' if finding.met else 'MISSED'}"
        shown.append(f"    {name:<{_WIDTH}}{_number(finding.value):>12} {finding.unit} ({verdict})")
    if finding.note:
        shown.append(f"    {finding.note}")
    return shown


def summary(findings: Sequence[SpeedFinding], left_out: Sequence[str]) -> str:
    """How many bounds were kept."""
    bound = [finding for finding in findings if finding.met is not None]
    missed = sum(not finding.met for finding in bound)
    end = f"; left out: {', '.join(left_out)}" if left_out else ""
    return f"{len(bound) - missed} of {len(bound)} bounds met{end}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"
