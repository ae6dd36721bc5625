"""`run`: run what is missing, skip what is done, show the leaderboard."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmark.cli.options import Execution, Kept, Places, Plugins, RunSelection
from benchmark.utils.devices import check_devices
from benchmark.utils.folders import check_cache
from benchmark.utils.project import program
from datamodules.common.errors import BenchmarkError

if TYPE_CHECKING:
    from benchmark.execution.tracking import Tracker
    from benchmark.records.record import Record
    from benchmark.suites.expansion import Plan


def run_command(
    selection: RunSelection, plugins: Plugins, places: Places, execution: Execution, keep_options: Kept
) -> int:
    """Run what is missing of a suite, skip what is done, and show the leaderboard.

    Stop it with Ctrl-C and run it again: what is done is kept, and it says how to go on.
    """
    if selection.all and selection.methods:
        raise BenchmarkError("--all runs every method: leave out --methods, or leave out --all")
    on_ray = execution.executor == "ray"
    ray = (execution.address, execution.cpus_per_cell, execution.gpus_per_cell)
    if not on_ray and ray != (None, None, None):
        raise BenchmarkError("--address, --cpus-per-cell and --gpus-per-cell need --executor ray")
    if on_ray and execution.jobs is not None:
        raise BenchmarkError("--jobs runs cells on this machine: with --executor ray give --cpus-per-cell instead")
    if execution.devices > 1 and (execution.jobs or 1) > 1:
        raise BenchmarkError("--devices spreads one cell, --jobs runs several: leave out one")
    check_cache(places.cache)  # before the plan, whose digests are kept there
    spread = check_devices(execution.devices, execution.strategy, device=execution.device, executor=execution.executor)
    plan = selection.plan(
        places,
        execution.device,
        execution.precision,
        plugins=plugins.plugin,
        keys=selection.keys,
        elsewhere=on_ray,
        read_again=execution.force,
    )
    from rich.console import Console

    from benchmark.execution.ray import RayOptions
    from benchmark.execution.run import RunOptions, run_plan
    from benchmark.utils.stopping import exit_status

    out = Console(soft_wrap=True, highlight=False, markup=False)
    err = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    options = RunOptions(
        force=execution.force,
        save_weights=keep_options.save_weights,
        keep_outputs=not keep_options.no_outputs,
        wandb=keep_options.wandb,
        loggers=keep_options.logger,
        ray=RayOptions(*ray) if on_ray else None,
        devices=spread,
        jobs=execution.jobs,
    )
    done = run_plan(plan, options, err)
    outcome, skipped = done.outcome, done.skipped
    _show_leaderboard(plan, done.records, done.tracker)
    where = f"see {done.ledger}"
    if done.remeasured:
        out.print(f"{done.remeasured} cells measured again by today's code")
    if outcome.interruption is not None:
        ended = {record.key for record in outcome.finished} | {cell.key for cell, _ in outcome.failed}
        rest = [cell.key[:12] for cell in done.todo if cell.key not in ended]
        only = ["--keys", ",".join(rest)] if execution.force else []  # the same command would begin anew
        failed = f", {len(outcome.failed)} failed ({where})" if outcome.failed else ""
        out.print(
            f"interrupted: {len(outcome.finished)} cells finished now, {skipped} were done{failed}, {len(rest)} left; "
            f"what is finished is kept in {places.results}; go on with:\n    {_same_command(only)}",
        )
        return exit_status(outcome.interruption)
    if outcome.finished or outcome.failed:
        out.print(f"{len(outcome.finished)} cells run, {skipped} were done, {len(outcome.failed)} failed")
    if outcome.not_the_method:
        err.print(
            f"stopped: {outcome.not_the_method}: no method is the cause, but the model, the data or this machine; "
            f"{where}, then run the same command again",
            markup=False,
        )
        return 1
    if outcome.failed:
        err.print(f"the whole tracebacks are in {done.ledger}; mend the method and run the same command again")
        return 1
    if missing := done.missing:
        some = "; ".join(f"{cell.key[:12]} {cell}" for cell in missing[:3])
        err.print(
            f"{len(missing)} of {len(plan.cells)} cells have no record though none failed: {some}"
            f"{'; ...' if len(missing) > 3 else ''}; run the same command again",
            markup=False,
        )
        return 1
    if not outcome.finished and not done.remeasured:
        out.print(
            f"nothing to do: all {len(plan.cells)} cells of suite {plan.suite.name} are done (in {places.results})"
        )
    return 0


def _same_command(further: Sequence[str]) -> str:
    """The command line of this process as it can be pasted, with further arguments at its end."""
    return f"{program()} {shlex.join([*sys.argv[1:], *further])}"


def _show_leaderboard(plan: Plan, records: Sequence[Record], tracker: Tracker) -> None:
    from benchmark.leaderboards.boards import boards_of
    from benchmark.leaderboards.leaderboard import Leaderboard
    from benchmark.leaderboards.pareto import pareto_points

    if not records:
        return
    board = Leaderboard(tuple(boards_of(records, plan.registry, cells=plan.cells)), tuple(records))
    print(board)
    rows = board.to_pandas()
    tracker.leaderboard(plan.suite.name + ("-tuned" if plan.suite.tuned else ""), rows, pareto_points(rows))
