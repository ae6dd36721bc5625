"""Running cells on Ray: one task a cell, on one machine or a cluster; Ray places them and repeats those that died.

Only the driver writes records, so a run that is stopped at any moment can go on; and only Ray schedules: a cell takes
the answers of its references as arguments and starts when they are there.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.execution.local import RunOutcome, write_down
from benchmark.execution.progress import Progress
from benchmark.execution.ray_worker import WorkerReply, WorkerSetting, run_cell
from benchmark.execution.runner import CellRunner
from benchmark.records.cell import Cell
from benchmark.records.failures import Ledger
from benchmark.suites.expansion import ORIGINAL
from benchmark.utils.project import PACKAGES_ROOT
from benchmark.utils.stopping import handlers_kept, stop_if_asked
from datamodules.common.errors import BenchmarkError

if TYPE_CHECKING:
    from benchmark.evaluation.evaluate import Metrics
    from benchmark.execution.progress import Progress
    from benchmark.execution.runner import CellRunner
    from benchmark.records.cell import Cell
    from benchmark.records.failures import Ledger
    from benchmark.suites.expansion import Plan

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
