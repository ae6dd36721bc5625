"""Running a plan: what is done is skipped, what older code measured is measured again, the rest is run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmark.execution.add_measures import measure_stale
from benchmark.execution.edited_weights import WeightsKeeper, has_weights
from benchmark.execution.local import RunOutcome, jobs_for, run_local
from benchmark.execution.loggers import LoggerSetting
from benchmark.execution.preview import Watcher
from benchmark.execution.progress import Progress
from benchmark.execution.ray import RayOptions, on_ray
from benchmark.execution.reference_trainings import train_missing
from benchmark.execution.runner import CellRunner
from benchmark.execution.staleness import stale_records, told
from benchmark.execution.tracking import Tracker, WandbMode
from benchmark.records.cell import Cell
from benchmark.records.failures import Ledger
from benchmark.records.lookup import expected_seconds, known_records
from benchmark.records.record import Record
from benchmark.suites.expansion import Plan
from benchmark.utils.devices import Devices
from benchmark.utils.folders import check_cache
from datamodules.common.errors import BenchmarkError


@dataclass(frozen=True)
class RunOptions:
    """How a plan is run.

    Attributes:
        force: Run also what is done.
        save_weights: Keep the edited tensors of each cell beside its record.
        keep_outputs: Keep what each model gave for each test image beside its record.
        wandb: "off", "offline" or "online".
        loggers: Lightning loggers, each a name, a class path, or a mapping of class_path and init_args.
        ray: Run on a Ray cluster; None runs the cells from this process.
        devices: Over which each cell's unlearning is spread.
        jobs: How many methods unlearn side by side in this run's processes; None for what fits this machine.
    """

    force: bool = False
    save_weights: bool = False
    keep_outputs: bool = True
    wandb: WandbMode = "off"
    loggers: Sequence[str | Mapping[str, Any]] = ()
    ray: RayOptions | None = None
    devices: Devices = field(default_factory=Devices)
    jobs: int | None = None


@dataclass(frozen=True)
class FinishedRun:
    """What running a plan did.

    Attributes:
        outcome: Records made, failures, and what ended the run before its end.
        todo: The cells that were to be run.
        skipped: How many cells were done before.
        remeasured: How many records were measured again by today's code.
        records: All records that the plan's cells now have.
        missing: The cells that have none.
        tracker: Where the run was logged.
        ledger: The file of the failures.
    """

    outcome: RunOutcome
    todo: Sequence[Cell]
    skipped: int
    remeasured: int
    records: Sequence[Record]
    missing: Sequence[Cell]
    tracker: Tracker
    ledger: Path


def run_plan(plan: Plan, options: RunOptions, console: Console) -> FinishedRun:
    """Run what is missing of a plan.

    Args:
        plan: A checked plan.
        options: How.
        console: Where progress and notes are shown; a quiet one shows nothing.

    Raises:
        BenchmarkError: If something that the cells need is not there, or results cannot be written.
    """
    if options.ray is not None and options.save_weights:
        raise BenchmarkError("--save-weights keeps the weights of cells that run here: leave out --executor ray")
    if options.save_weights and not options.keep_outputs:
        raise BenchmarkError("--save-weights keeps weights with the outputs that they give: leave out --no-outputs")
    plan.store.own()
    check_cache(plan.where.cache_dir)
    folder = plan.store.folder
    loggers = tuple(map(LoggerSetting.read, options.loggers or plan.suite.loggers))
    tracker, ledger = Tracker(folder, options.wandb, loggers), Ledger(folder)
    runner = CellRunner.of(plan, tracker, options.devices)
    runner.keep_outputs = options.keep_outputs
    present = [] if options.force else [plan.store.read(cell.key) for cell in plan.cells]
    records = {record.key: record for record in present if record is not None}
    stale = stale_records(records.values(), plan.where.digests)
    rerun = stale if options.ray is not None else {}  # a cluster runs them again from the start
    recorded = {key for key in records if key not in rerun}
    again = {key for key in recorded if options.save_weights and not has_weights(plan.store, key)}
    if options.save_weights:
        runner.keeper = WeightsKeeper(plan.store, again)
    todo = [cell for cell in plan.cells if cell.key not in recorded - again]
    if options.ray is None:
        runner.check_needs(todo)
    for note in plan.notes:
        console.print(note, markup=False)
    if again:
        console.print(f"{len(again)} cells are done without weights: they run again for them, their records stay")
    expected = expected_seconds(known_records(plan.store, plan.suite.name, plan.cells), plan.suite.every_model)
    progress = Progress(expected, console) if console.quiet else Progress(expected)
    runner.watcher = Watcher(progress.accuracy)
    skipped, remeasured = len(plan.cells) - len(todo), 0
    if options.ray is not None:
        outcome = on_ray(todo, plan, runner, options.ray, ledger, progress, skipped=skipped)
    else:
        for line in told(stale):
            console.print(f"{line}: measured again", markup=False)
        older = [(cell, stale[cell.key]) for cell in plan.cells if cell.key in stale]
        failed_again = measure_stale(older, runner, ledger, lambda line: console.print(line, markup=False))
        train_missing(todo, runner, console)
        jobs = runner.session.unlearner.jobs = jobs_for(todo, runner, options.jobs)
        outcome = run_local(todo, runner, ledger, progress, skipped=skipped, jobs=jobs)
        outcome.failed += failed_again
        remeasured = len(older) - len(failed_again)
    for message in plan.store.notes:
        console.print(message, markup=False)
    now = {cell.key: plan.store.read(cell.key, cell.suite) for cell in plan.cells}
    return FinishedRun(
        outcome=outcome,
        todo=todo,
        skipped=skipped,
        remeasured=remeasured,
        records=[record for record in now.values() if record is not None],
        missing=[cell for cell in plan.cells if now[cell.key] is None],
        tracker=tracker,
        ledger=ledger.path,
    )
