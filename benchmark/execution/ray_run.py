"""`run --executor ray`: from a checked plan to a run on a Ray cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from benchmark.execution.local import Outcome
from benchmark.execution.ray_cluster import Share, check_share, connected, slots
from benchmark.execution.ray_worker import Setting
from datamodules.common.errors import BenchmarkError

if TYPE_CHECKING:
    from benchmark.execution.progress import Progress
    from benchmark.execution.runner import CellRunner
    from benchmark.records.cell import Cell
    from benchmark.records.failures import Ledger
    from benchmark.suites.plan import Plan


@dataclass(frozen=True)
class RayOptions:
    """What the command line says of Ray.

    Attributes:
        address: Of the cluster; None for a new one on this machine.
        cpus_per_cell: None for 1.
        gpus_per_cell: None for one where the cells run on GPUs, else none.
    """

    address: str | None = None
    cpus_per_cell: int | None = None
    gpus_per_cell: float | None = None


def on_ray(
    todo: Sequence[Cell],
    plan: Plan,
    runner: CellRunner,
    options: RayOptions,
    ledger: Ledger,
    progress: Progress,
    *,
    skipped: int,
) -> Outcome:
    """Check what can be checked here, reach the cluster, and run the cells on it.

    Args:
        todo: The cells to run.
        plan: Of which they are.
        runner: As a local run would use it: the workers make their own like it.
        options: Where and with how much.
        ledger: Where failures go.
        progress: Shows what happens.
        skipped: How many cells of the plan were done before.

    Raises:
        BenchmarkError: If Ray, the cluster or what the cells ask of it is not there; nothing has been run.
    """
    from benchmark.execution.ray_executor import run_ray
    from benchmark.execution.tracking import Tracker

    if plan.where.device.startswith("cuda:"):
        raise BenchmarkError(
            f"with --executor ray each cell gets its GPU from Ray: use --device cuda, not {plan.where.device}"
        )
    if not todo:
        return Outcome()
    device = todo[0].device
    gpus = options.gpus_per_cell if options.gpus_per_cell is not None else float(device == "cuda")
    share = Share(1 if options.cpus_per_cell is None else options.cpus_per_cell, gpus)
    check_share(share)
    where = replace(plan.where, device=device, elsewhere=False, cache_dir=plan.where.cache_dir.absolute())
    if where.data_dir is not None:
        where = replace(where, data_dir=where.data_dir.absolute())
    setting = Setting(
        where=where,
        plugins=tuple((file, file.absolute()) for file in runner.plugins),
        suite_file=runner.suite_file,
        tuned_values=runner.tuned_values,
        results=plan.store.folder.absolute(),
        wandb=runner.tracker.wandb,
        threads=share.cpus,
    )
    here = replace(runner, where=replace(where, device="cpu"), tracker=Tracker(None), keeper=None, watcher=None)
    with connected(options.address):
        slots(share)
        here.check_needs(todo)
        return run_ray(todo, here, ledger, progress, setting=setting, share=share, skipped=skipped)
