"""A Ray cluster: joined or started, what a cell takes of it, and how many cells it can run at once.

Light to import: a process that only joins a cluster waits for neither PyTorch nor Lightning.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.utils.project import PACKAGES_ROOT
from benchmark.utils.stopping import handlers_kept
from datamodules.common.errors import BenchmarkError

OBJECT_STORE_BYTES = 512 * 2**20
"""Of a cluster that we start: what travels is records and test outputs, a few MB a cell."""


@dataclass(frozen=True)
class Share:
    """What one cell takes of the cluster: CPUs, which are also its threads, and GPUs, perhaps a part of one."""

    cpus: int = 1
    gpus: float = 0.0


def check_share(share: Share) -> None:
    """Check a share before anything is started.

    Raises:
        BenchmarkError: If it is one that no cluster can give.
    """
    if share.cpus < 1:
        raise BenchmarkError(f"--cpus-per-cell {share.cpus}: a cell needs at least 1")
    if share.gpus < 0 or (share.gpus > 1 and share.gpus != int(share.gpus)):
        raise BenchmarkError(f"--gpus-per-cell {share.gpus:g}: name a part of one GPU, such as 0.5, or a whole number")


_TOKEN = " (newer versions of Ray ask for a token: set RAY_AUTH_MODE=token on every machine, see docs/scaling.md)"
_ANSWERS_IN = 10.0
"""Seconds within which a cluster's address must accept a connection; Ray itself tries for many minutes."""


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Join the cluster at an address, or start one on this machine; a session that is connected already is used.

    Args:
        address: HOST:PORT, "auto" for the cluster that runs on this machine, or None for one of our own.

    Raises:
        BenchmarkError: If Ray is not installed, or there is no cluster.
    """
    try:
        import ray
    except ImportError as error:
        raise BenchmarkError(
            "--executor ray needs Ray, which is not installed: pip install 'clip-unlearning-benchmark[ray]'"
        ) from error
    if ray.is_initialized():
        yield
        return
    # "local": never a cluster that happens to run on this machine, which would refuse a memory of its own.
    new_cluster: dict[str, Any] = {
        "address": "local",
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE_BYTES,
    }
    target: dict[str, Any] = new_cluster if address is None else {"address": address}
    try:
        _knock(address)
        # Ray puts the working folder before all others on its workers' path: a user's benchmark.py or methods/ would be
        # imported in the place of ours. Its own handler of SIGTERM would end this process with status 15.
        with contextlib.chdir(PACKAGES_ROOT), handlers_kept():
            ray.init(log_to_driver=False, logging_level="error", **target)
    except Exception as error:
        where = "Ray could not be started here" if address is None else f"no Ray cluster answers at {address!r}"
        advice = "" if address is None else f"; start one with `ray start --head`, or leave out --address{_TOKEN}"
        reason = str(error).splitlines()[0] if str(error) else ""
        raise BenchmarkError(f"{where} ({type(error).__name__}: {reason}){advice}") from error
    try:
        yield
    finally:
        ray.shutdown()


def slots(share: Share) -> int:
    """How many cells the connected cluster can run at once.

    Raises:
        BenchmarkError: If not one of its machines can run a cell.
    """
    import ray

    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = sum(float(resources.get("GPU", 0)) for resources in alive)
    if share.gpus > gpus:
        raise BenchmarkError(
            f"--gpus-per-cell {share.gpus:g}: the cluster has {gpus:g} GPUs; ask for fewer, or use --device cpu"
        )
    fitting = 0
    for resources in alive:
        fitting_here = int(resources.get("CPU", 0) // share.cpus)
        if share.gpus:
            a_card = int(1 / share.gpus) if share.gpus < 1 else 1 / share.gpus
            fitting_here = min(fitting_here, int(float(resources.get("GPU", 0)) * a_card))
        fitting += fitting_here
    if not fitting:
        raise BenchmarkError(
            f"no machine of the cluster has {share.cpus} CPUs{f' and {share.gpus:g} GPUs' if share.gpus else ''} "
            "for a cell: ask for fewer with --cpus-per-cell or --gpus-per-cell"
        )
    return fitting


def _knock(address: str | None) -> None:
    """Raise OSError where nothing listens at HOST:PORT, or at what "auto" stands for."""
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or _last_cluster()
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWERS_IN):
            pass


def _last_cluster() -> str:
    """The address that Ray wrote down of the cluster started last on this machine, which may be gone; or nothing."""
    try:
        return (Path(os.environ.get("RAY_TMPDIR") or "/tmp") / "ray" / "ray_current_cluster").read_text().strip()
    except OSError:
        return ""
