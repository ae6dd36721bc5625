"""Running cells on Ray: one task a cell, on one machine or a cluster; Ray places them and repeats those that died.

Only the driver writes records, so a run that is stopped at any moment can go on; and only Ray schedules: a cell takes
the answers of its references as arguments and starts when they are there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from benchmark.execution.cluster import Share, check_share, connected, slots
from benchmark.execution.local import RunOutcome, write_down
from benchmark.execution.progress import Progress
from benchmark.execution.ray_worker import WorkerReply, WorkerSetting, run_cell
from benchmark.execution.runner import CellRunner
from benchmark.records.cell import Cell
from benchmark.records.failures import Ledger
from benchmark.suites.expansion import ORIGINAL
from benchmark.utils.stopping import stop_if_asked
from datamodules.common.errors import BenchmarkError

if TYPE_CHECKING:
    from benchmark.evaluation.evaluate import Metrics
    from benchmark.execution.progress import Progress
    from benchmark.execution.runner import CellRunner
    from benchmark.records.cell import Cell
    from benchmark.records.failures import Ledger
    from benchmark.suites.expansion import Plan

RETRIES = 3
"""How often a cell is started again whose worker or machine died; our choice. A method that raises is not repeated."""
POLL_SECONDS = 1.0


def run_ray(
    todo: Sequence[Cell],
    runner: CellRunner,
    ledger: Ledger,
    progress: Progress,
    *,
    setting: WorkerSetting,
    share: Share,
    skipped: int = 0,
) -> RunOutcome:
    """Run cells on the connected Ray cluster.

    A cell that raises goes to the ledger, as in a local run. One whose worker died is started again, `RETRIES` times.
    Ctrl-C and signals cancel what is running; what was finished stays. A worker that dies takes nothing else with it,
    so no beginnings are written down.

    Args:
        todo: The cells to run.
        runner: Knows references and holds the store; it runs nothing itself.
        ledger: Where failures go.
        progress: Shows what happens.
        setting: What the workers must know.
        share: What a cell takes.
        skipped: How many cells of the plan were done before, for the progress shown.

    Raises:
        BenchmarkError: If no machine of the cluster has a cell's share.
    """
    import ray

    run = _Run(runner, ledger, progress, {cell.key: cell for cell in todo})
    progress.start(todo, skipped=skipped, at_once=slots(share))
    try:
        shared = ray.put(setting)
        options = {"num_cpus": share.cpus, "num_gpus": share.gpus, "max_retries": RETRIES, "num_returns": 2}
        task = ray.remote(**options)(run_cell)
        for cell in todo:
            run.submit(cell, task, shared)
        while run.open:
            ready, _ = ray.wait(list(run.open), timeout=POLL_SECONDS)
            for answer in ready:
                run.take(answer)
            stop_if_asked()
            if run.outcome.not_the_method:
                break
    except KeyboardInterrupt as stop:
        run.outcome.interruption = stop
    finally:
        for answer in run.open:
            ray.cancel(answer, force=True)
        progress.stop()
    return run.outcome


@dataclass
class _Run:
    """The tasks of a run, and what became of them.

    Attributes:
        wanted: The cells to run, by key; references beside them are written but not counted.
        open: The cell and the outputs of each task that has not answered yet.
    """

    runner: CellRunner
    ledger: Ledger
    progress: Progress
    wanted: dict[str, Cell]
    open: dict[Any, tuple[Cell, Any]] = field(default_factory=dict)
    outcome: RunOutcome = field(default_factory=RunOutcome)
    _answers: dict[str, Any] = field(default_factory=dict)

    def submit(self, cell: Cell, task: Any, setting: Any) -> Any:
        """Hand a cell to Ray, and before it those of its references that have no record; each only once."""
        if cell.key not in self._answers:
            known: dict[str, Metrics] = {}
            awaited = []
            for reference in self.runner.reference_cells(cell):
                record = None if reference.key in self.wanted else self.runner.store.read(reference.key)
                if record is None:
                    awaited.append(self.submit(reference, task, setting))
                else:
                    known[reference.key] = record.metrics
            answer, outputs = task.remote(setting, cell, known, *awaited)
            self._answers[cell.key] = answer
            self.open[answer] = cell, outputs
        return self._answers[cell.key]

    def take(self, answer: Any) -> None:
        """Write down what became of a cell."""
        import ray
        from ray.exceptions import RayError

        cell, outputs = self.open.pop(answer)
        counted = cell.key in self.wanted
        try:
            reply: WorkerReply = ray.get(answer)
            if reply.record is not None:
                self.runner.write(reply.record, ray.get(outputs))
        except RayError as error:
            self.ledger.append(cell.key, cell.identity(), error)
            self._failed(cell, f"its worker died, {RETRIES + 1} times ({_summary(error)})", counted)
        except BenchmarkError as error:
            self._failed(cell, write_down(error, cell, self.ledger, self.runner.store.folder), counted)
        else:
            if reply.failure is not None:
                self.ledger.append_failure(reply.failure)
                self._failed(cell, f"{reply.failure.error}: {reply.failure.message}", counted)
            elif reply.record is not None and counted:
                self.outcome.finished.append(reply.record)
                self.progress.done(cell, reply.record, seconds=reply.seconds)

    def _failed(self, cell: Cell, message: str, counted: bool) -> None:
        if counted or cell.method == ORIGINAL:
            self.outcome.failed.append((cell, message))
            self.progress.failed(cell, message)
            self.outcome.not_the_method = self.outcome.blame_elsewhere()


def _summary(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


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
) -> RunOutcome:
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
    from benchmark.execution.ray import run_ray
    from benchmark.execution.tracking import Tracker

    if plan.where.device.startswith("cuda:"):
        raise BenchmarkError(
            f"with --executor ray each cell gets its GPU from Ray: use --device cuda, not {plan.where.device}"
        )
    if not todo:
        return RunOutcome()
    device = todo[0].device
    gpus = options.gpus_per_cell if options.gpus_per_cell is not None else float(device == "cuda")
    share = Share(1 if options.cpus_per_cell is None else options.cpus_per_cell, gpus)
    check_share(share)
    where = replace(plan.where, device=device, elsewhere=False, cache_dir=plan.where.cache_dir.absolute())
    if where.data_dir is not None:
        where = replace(where, data_dir=where.data_dir.absolute())
    setting = WorkerSetting(
        where=where,
        plugins=tuple((file, file.absolute()) for file in runner.plugins),
        suite_file=runner.suite_file,
        tuned_values=runner.tuned_values,
        results=plan.store.folder.absolute(),
        wandb=runner.tracker.wandb,
        loggers=runner.tracker.loggers,
        threads=share.cpus,
    )
    here = replace(runner, where=replace(where, device="cpu"), tracker=Tracker(None), keeper=None, watcher=None)
    with connected(options.address):
        slots(share)
        here.check_needs(todo)
        return run_ray(todo, here, ledger, progress, setting=setting, share=share, skipped=skipped)
