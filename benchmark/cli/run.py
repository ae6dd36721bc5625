"""`run`: run what is missing, skip what is done, show the leaderboard."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from benchmark.cli.common import plan_of, same_command
from benchmark.cli.listing import Listed, paths
from benchmark.utils.devices import check_devices
from benchmark.utils.folders import cache_folder
from datamodules.common.content import forget_digests
from datamodules.common.errors import BenchmarkError

if TYPE_CHECKING:
    from benchmark.execution.tracking import Tracker
    from benchmark.records.record import Record
    from benchmark.suites.plan import Plan


def run_command(
    all: bool = False,
    suite: str = "quick",
    methods: Listed = None,
    seeds: Listed = None,
    model: Listed = None,
    results: str = "results/runs",
    data_dir: str | None = None,
    cache_dir: str | None = None,
    device: str = "auto",
    precision: str | None = None,
    force: bool = False,
    shard: str | None = None,
    keys: Listed = None,
    wandb: Literal["off", "offline", "online"] = "off",
    plugin: Listed = None,
    set: Listed = None,
    tuned: bool = False,
    tuned_values: str | None = None,
    save_weights: bool = False,
    executor: Literal["local", "ray"] = "local",
    address: str | None = None,
    cpus_per_cell: int | None = None,
    gpus_per_cell: float | None = None,
    devices: int = 1,
    strategy: str | None = None,
) -> int:
    """Run what is missing of a suite, skip what is done, and show the leaderboard.

    Stop it with Ctrl-C and run it again: what is done is kept, and it says how to go on.

    Args:
        all: Every registered method; the same as naming none.
        suite: A suite of the package, or a YAML file.
        methods: Names, separated by commas.
        seeds: Seeds, separated by commas; by default the suite's.
        model: Models, separated by commas: shapes-resnet, ViT-B-32/openai, ViT-B-16:FILE; by default the suite's.
        results: The folder of records, logs and failures.
        data_dir: The folder of the real data sets.
        cache_dir: The folder of decoded images and features; by default the user's cache.
        device: auto, cpu, cuda or cuda:N.
        precision: fp32, bf16 or auto; by default the suite's.
        force: Run also what is done, and read again all files of data sets whose content is remembered.
        shard: i/n: only the i-th of n parts of the cells.
        keys: Only the cells whose keys begin so.
        wandb: Weights & Biases logging; offline needs no account.
        plugin: Files of further methods, separated by commas; may be repeated.
        set: A hyperparameter as METHOD.NAME=VALUE; may be repeated.
        tuned: With the values that `tune` found, on boards of their own; small CLIPs only.
        tuned_values: The same with the values of a file that `tune --out` wrote.
        save_weights: Keep the edited tensors of each cell beside its record (KEY.safetensors), for `export`; cells
            that are done without them run again, their records stay.
        executor: local, one cell after another in this process; ray, one task a cell on this machine or a cluster.
        address: HOST:PORT of a Ray cluster, or auto for the one that runs here; by default a new one on this machine.
        cpus_per_cell: With ray, CPUs (and threads) of each cell; by default 1.
        gpus_per_cell: With ray, GPUs of each cell, such as 0.5; by default 1 with --device cuda, else 0.
        devices: Devices of this machine over which each cell's unlearning is spread, for a cell that is too large for
            one: a process each, batches split, in-batch negatives gathered; the result is the same but for rounding.
        strategy: How they work together: ddp, Lightning's; the default with several devices.
    """
    if all and methods:
        raise BenchmarkError("--all runs every method: leave out --methods, or leave out --all")
    if executor == "local" and (address, cpus_per_cell, gpus_per_cell) != (None, None, None):
        raise BenchmarkError("--address, --cpus-per-cell and --gpus-per-cell need --executor ray")
    spread = check_devices(devices, strategy, device=device, executor=executor)
    if force:
        forget_digests(cache_folder(cache_dir))
    plan = plan_of(
        suite=suite,
        methods=methods,
        seeds=seeds,
        model=model,
        results=results,
        data_dir=data_dir,
        cache_dir=cache_dir,
        device=device,
        precision=precision,
        shard=shard,
        plugin=plugin,
        settings=set,
        keys=keys,
        tuned=tuned,
        tuned_values=tuned_values,
        elsewhere=executor == "ray",
    )
    for note in plan.notes:
        print(note, file=sys.stderr)
    from rich.console import Console

    from benchmark.execution.ray import RayOptions
    from benchmark.execution.run import RunOptions, run_plan
    from benchmark.utils.stopping import exit_status

    out = Console(soft_wrap=True, highlight=False, markup=False)
    err = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    options = RunOptions(
        force=force,
        save_weights=save_weights,
        wandb=wandb,
        ray=RayOptions(address, cpus_per_cell, gpus_per_cell) if executor == "ray" else None,
        devices=spread,
        plugins=paths(plugin),
        suite=suite,
        tuned_values=tuned_values or "",
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
        only = ["--keys", ",".join(rest)] if force else []  # the same command would begin anew
        failed = f", {len(outcome.failed)} failed ({where})" if outcome.failed else ""
        out.print(
            f"interrupted: {len(outcome.finished)} cells finished now, {skipped} were done{failed}, {len(rest)} left; "
            f"what is finished is kept in {results}; go on with:\n    {same_command(only)}",
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
        out.print(f"nothing to do: all {len(plan.cells)} cells of suite {plan.suite.name} are done (in {results})")
    return 0


def _show_leaderboard(plan: Plan, records: Sequence[Record], tracker: Tracker) -> None:
    from benchmark.leaderboard.boards import boards_of
    from benchmark.leaderboard.leaderboard import Leaderboard
    from benchmark.leaderboard.pareto import pareto_points

    if not records:
        return
    board = Leaderboard(tuple(boards_of(records, plan.registry, cells=plan.cells)), tuple(records))
    print(board)
    rows = board.to_pandas()
    tracker.leaderboard(plan.suite.name + ("-tuned" if plan.suite.tuned else ""), rows, pareto_points(rows))
