"""Findings of speed by commit: one line a run in a file, so that a slowdown shows where it came in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.speed.findings import SpeedFinding
from benchmark.utils.project import git_commit
from datamodules.common.documents import DocumentError, parse_json
from datamodules.common.errors import BenchmarkError
from datamodules.common.kept_files import replace_file

WORSE = 1.2
"""From this factor on a number counts as worse than before: ratios of two sides that take turns move by a tenth from
run to run on a busy machine; our choice."""
_MACHINE = ("device", "cores", "threads")

Values = dict[str, dict[str, float | str | bool | None]]


def line_of(about: Mapping[str, Any], findings: Mapping[str, Sequence[SpeedFinding]]) -> dict[str, Any]:
    """A run as one line: commit, time, machine, and the number of each finding with the way that is better.

    Args:
        about: The machine, see `benchmark.speed.report.machine`.
        findings: By measurement.
    """
    values: Values = {
        f"{name}: {finding.what}": {"value": finding.value, "unit": finding.unit, "higher": _higher(finding)}
        for name, group in findings.items()
        for finding in group
    }
    machine = {name: about[name] for name in (*_MACHINE, "load_average")}
    return {"commit": git_commit(), "time": about["time"], **machine, "values": values}


def _higher(finding: SpeedFinding) -> bool | None:
    """Whether higher is better; None where the finding has no bound that says so."""
    if finding.least is not None or finding.unit.endswith("/s"):
        return True
    return False if finding.most is not None else None


def read_history(path: Path) -> list[dict[str, Any]]:
    """The runs of a file, the oldest first; none where there is no file.

    Raises:
        BenchmarkError: If it holds something else.
    """
    if not path.exists():
        return []
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        runs = [parse_json(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1)]
        if not all(isinstance(run, dict) and isinstance(run.get("values"), dict) for run in runs):
            raise BenchmarkError(f"{path} is no file of `speed --history`: name another one")
    except (OSError, UnicodeError, DocumentError) as error:
        raise BenchmarkError(f"{path} cannot be read as a file of `speed --history`: {error}") from error
    return runs


def slower(runs: Sequence[Mapping[str, Any]], now: Mapping[str, Any]) -> list[str]:
    """What is worse than when it was last measured on such a machine, one line each.

    Args:
        runs: The oldest first.
        now: The run to compare.
    """
    alike = [run for run in runs if all(run.get(name) == now[name] for name in _MACHINE)]
    lines = []
    for what, about in now["values"].items():
        before = next((run for run in reversed(alike) if what in run["values"]), None)
        if before is None or about["higher"] is None:
            continue
        value, old = float(about["value"]), float(before["values"][what]["value"])
        better, worse = (old, value) if about["higher"] else (value, old)
        if worse > 0 and better / worse >= WORSE:
            lines.append(f"{what}: {value:.3g} {about['unit']}, {old:.3g} at commit {before['commit'] or 'unknown'}")
    return lines


def append(path: Path, now: Mapping[str, Any]) -> None:
    """Add a run to a file.

    Raises:
        BenchmarkError: If the file holds something else, or cannot be written.
    """
    lines = [json.dumps(run, sort_keys=True) for run in [*read_history(path), now]]
    replace_file(path, ("\n".join(lines) + "\n").encode())
