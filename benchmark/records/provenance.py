"""Where a record comes from: versions, hashes, device, and the command that repeats it. No path, no host name."""

from __future__ import annotations

import json
import os
import platform
import shlex
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Any

from benchmark.records.cell import Cell
from benchmark.utils.devices import Devices
from benchmark.utils.project import DISTRIBUTION, VERSION, git_commit
from datamodules.common.card import MEMORY_SCHEME
from datamodules.common.image_request import images_of

PACKAGES = ("torch", "torchvision", "lightning", "open_clip_torch", "numpy")
ONE = Devices()
OPTIONAL_PACKAGES = ("transformers",)  # of the extras: named only where they are installed


def provenance(
    cell: Cell,
    *,
    regime: str,
    paper: str,
    weights: str,
    device: str,
    command: str,
    devices: Devices = ONE,
    skipped: Mapping[str, int] = MappingProxyType({}),
    threads: int | None = None,
) -> dict[str, Any]:
    """The provenance of a cell run now, on this machine.

    Args:
        cell: The cell.
        regime: The method's data regime.
        paper: The method's paper.
        weights: The hash of the model's weights.
        device: By its name.
        command: What repeats the cell.
        devices: Those of the unlearning.
        skipped: By data set how many images were left out because they could not be read.
        threads: Of torch on the CPU in the process that unlearned; by default those of this process.
    """
    return {
        "git": git_commit(),
        "code": cell.code,
        "data_revisions": dict(cell.data_revisions),
        **({"images_skipped": dict(skipped)} if skipped else {}),
        "weights": f"sha256:{weights}",
        "packages": package_versions(),
        "python": platform.python_version(),
        "device": processor() if device == "cpu" else device,
        **devices.to_provenance(),
        "cpu_threads": threads or _threads(),
        "precision": cell.precision,
        "regime": regime,
        "paper": paper,
        "command": command,
    }


def command(
    cell: Cell,
    *,
    suite: str,
    settings: Mapping[str, Any],
    plugins: tuple[Path, ...] = (),
    tuned_values: str = "",
    devices: Devices = ONE,
    skip_unreadable: bool = False,
) -> str:
    """The command line that repeats a cell. Real data sets need `--data-dir` added.

    Args:
        cell: The cell.
        suite: The suite's name or file, as it was given.
        settings: The hyperparameters that differ from the method's defaults.
        plugins: Files of further methods.
        tuned_values: The file of a tuned cell's values, if not the project's.
        devices: Those of the unlearning.
        skip_unreadable: Whether images that could not be read were left out.
    """
    options = [("--suite", suite), ("--model", cell.model), ("--methods", cell.method), ("--seeds", str(cell.seed))]
    options += _hardware_options(cell)
    options += [("--plugin", str(file)) for file in plugins]
    if cell.tuned and tuned_values:
        options.append(("--tuned-values", tuned_values))
    elif not cell.tuned:
        options += [("--set", f"{cell.method}.{name}={json.dumps(value)}") for name, value in settings.items()]
    if devices.count > 1:
        options += [("--devices", str(devices.count)), ("--strategy", devices.strategy)]
    flags = ["--tuned"] if cell.tuned and not tuned_values else []
    flags += ["--untuned"] if cell.scale == "small" and not cell.tuned else []  # the suite may ask for tuned values
    flags += ["--skip-unreadable"] if skip_unreadable else []
    words = [*(word for option in options for word in option), *flags, "--keys", cell.key[:12], "--force"]
    return f"python -m benchmark run {shlex.join(words)}"


def audit_command(cell: Cell, *, suite: str) -> str:
    """The command line that measures a brought model again, where its checkpoint is at hand.

    Args:
        cell: The cell.
        suite: The suite's name or file, as it was given.
    """
    options = [("--model", cell.model), ("--unlearned", "CHECKPOINT"), ("--name", cell.method), ("--suite", suite)]
    options += [*_request_options(cell), ("--seed", str(cell.seed)), *_hardware_options(cell)]
    return f"python -m benchmark audit {shlex.join(word for option in options for word in option)}"


def unlearn_command(cell: Cell, method: str, hparams: Mapping[str, Any], *, names_only: bool) -> str:
    """The command line that unlearns one request again; where a model or images are in memory, no command can.

    Args:
        cell: The cell.
        method: The method as it was given: a name or a file.
        hparams: The hyperparameters that were given.
        names_only: Whether there was no data set, only names.
    """
    named = [cell.model, *cell.others, *([] if names_only else [cell.dataset])]
    if any(name.startswith(MEMORY_SCHEME) for name in named):
        return "from Python, with a model or images in memory: benchmark.unlearn(...)"
    options = [("--model", cell.model), ("--method", method), *_request_options(cell)]
    options += [] if names_only else [("--data", cell.dataset)]
    options += [("--others", name) for name in cell.others]
    options += [("--set", f"{cell.method}.{name}={json.dumps(value)}") for name, value in hparams.items()]
    options += [("--seed", str(cell.seed)), *_hardware_options(cell)]
    return f"python -m benchmark unlearn {shlex.join(word for option in options for word in option)} --out DIR"


def _request_options(cell: Cell) -> list[tuple[str, str]]:
    concept = cell.request.concept
    names = [("--concept", concept)] if concept else [("--classes", name) for name in cell.request.classes]
    return names + [("--images", str(image)) for image in images_of(cell.request)]


def _hardware_options(cell: Cell) -> list[tuple[str, str]]:
    return [("--precision", cell.precision), ("--device", cell.device)]


@cache
def package_versions() -> dict[str, str]:
    """The versions of this project and of the packages that can change a number."""
    versions = {DISTRIBUTION: VERSION}
    for name in (*PACKAGES, *OPTIONAL_PACKAGES):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            if name in PACKAGES:
                versions[name] = "not installed"
    return versions


@cache
def processor() -> str:
    """What the CPU calls itself."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _threads() -> int:
    import torch

    return int(torch.get_num_threads()) or os.cpu_count() or 1
