"""Suites, leaderboards and what there is, from Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmark.api.loading import PathLike, folder_of
from benchmark.suites.overview import (
    Overview,
    datasets_overview,
    measures_overview,
    methods_overview,
    models_overview,
    suites_overview,
)
from benchmark.utils.folders import cache_folder
from datamodules.common.errors import BenchmarkError

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.leaderboards.leaderboard import Leaderboard
    from benchmark.records.record import Record
    from benchmark.suites.expansion import Plan


@dataclass(frozen=True, repr=False)
class RunResult:
    """What running a suite gave.

    Attributes:
        records: Of all cells that are done, now or before.
        failures: The cells that failed, with their messages; whole tracebacks are in `failures.jsonl` of the folder.
    """

    records: tuple[Record, ...]
    failures: tuple[tuple[str, str], ...]
    _plan: Plan

    def leaderboard(self) -> Leaderboard:
        """The boards of these records; a row that lacks one of the suite's cells has empty means."""
        from benchmark.leaderboards.boards import boards_of
        from benchmark.leaderboards.leaderboard import Leaderboard

        boards = boards_of(self.records, self._plan.registry, cells=self._plan.cells)
        return Leaderboard(tuple(boards), self.records)

    def to_pandas(self) -> pd.DataFrame:
        """One row a record: its cell, the value of each metric, and the costs."""
        import pandas as pd

        shown = ("method", "dataset", "model", "seed")
        return pd.DataFrame(
            [
                {
                    **{name: record.cell[name] for name in shown},
                    "request": " ".join(str(value) for value in record.cell["request"].values()),
                    **{name: metric.value for name, metric in record.metrics.items()},
                    **record.cost,
                    "key": record.key,
                }
                for record in self.records
            ]
        )

    def __repr__(self) -> str:
        failed = "".join(f"\nfailed: {cell}: {message}" for cell, message in self.failures)
        return f"<{len(self.records)} records, {len(self.failures)} failures>{failed}"


def run(
    suite: str = "quick",
    methods: Sequence[str] = (),
    *,
    seeds: Sequence[int] = (),
    models: Sequence[str] = (),
    plugins: Sequence[PathLike] = (),
    settings: Sequence[str] = (),
    tuned: bool | None = None,
    results: PathLike = "results/runs",
    data_dir: PathLike | None = None,
    cache_dir: PathLike | None = None,
    device: str = "auto",
    precision: str | None = None,
    force: bool = False,
    jobs: int | None = None,
    save_weights: bool = False,
    keep_outputs: bool = True,
    wandb: Literal["off", "offline", "online"] = "off",
    loggers: Sequence[str | Mapping[str, Any]] = (),
    progress: bool = True,
) -> RunResult:
    """Run what is missing of a suite, skip what is done, and give all its records.

    Args:
        suite: A suite of the package (`list_suites`), or a YAML file.
        methods: Names, if not the suite's.
        seeds: If not the suite's.
        models: If not the suite's.
        plugins: Files of further methods.
        settings: Hyperparameters as "METHOD.NAME=VALUE".
        tuned: With the values that tuning found for the small CLIPs, or with the declared ones; by default as the suite
            says.
        results: The folder of the records.
        data_dir: The folder of the real data sets.
        cache_dir: By default the user's cache.
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "fp32", "bf16" or "auto"; by default the suite's.
        force: Run also what is done, and read again all files of data sets whose content is remembered.
        jobs: Methods that unlearn side by side; by default as many as there are cores and memory, one on a GPU.
        save_weights: Keep the edited tensors of each cell beside its record.
        keep_outputs: Keep what each model gave for each test image beside its record.
        wandb: Weights & Biases logging.
        loggers: Further Lightning loggers: "tensorboard", "csv", "mlflow", "comet", the path of a class, or
            {"class_path": ..., "init_args": {...}}; by default the suite's, else CSV files.
        progress: Whether to show progress on standard error.

    Raises:
        BenchmarkError: On anything wrong in the arguments; nothing has been run then.
        KeyboardInterrupt: If the run is interrupted; what is finished is kept, and the same call goes on.

    Examples:
        >>> done = cub.run("quick", ["nullspace"], seeds=[0], results="runs", progress=False)
        >>> done.failures
        ()
        >>> sorted(set(done.to_pandas()["method"]))
        ['nullspace']
    """
    from rich.console import Console

    from benchmark.execution.run import RunOptions, run_plan
    from benchmark.suites.expansion import make_plan
    from benchmark.suites.where import Where

    plan = make_plan(
        *(suite, Where(folder_of(data_dir), cache_folder(cache_dir), device), Path(results).expanduser()),
        methods=methods,
        seeds=seeds,
        models=models,
        settings=settings,
        tuned=tuned,
        plugins=[Path(plugin) for plugin in plugins],
        precision=precision,
        read_again=force,
    )
    options = RunOptions(
        force=force, jobs=jobs, save_weights=save_weights, keep_outputs=keep_outputs, wandb=wandb, loggers=loggers
    )
    done = run_plan(plan, options, Console(stderr=True, quiet=not progress, highlight=False))
    if done.outcome.interruption is not None:
        raise done.outcome.interruption
    if done.outcome.not_the_method:
        raise BenchmarkError(f"stopped: {done.outcome.not_the_method}; see {done.ledger}")
    failures = tuple((str(cell), message) for cell, message in done.outcome.failed)
    return RunResult(tuple(done.records), failures, plan)


def leaderboard(
    results: PathLike = "results/runs",
    *,
    suite: str | None = None,
    reference: bool = False,
    plugins: Sequence[PathLike] = (),
    device: str | None = None,
) -> Leaderboard:
    """The leaderboard of the records of a folder: `.to_pandas()` for numbers, `print` for the command line's table.

    Args:
        results: The folder.
        suite: Only this suite.
        reference: Beside them, the reference records that come with the project; of a cell that both have, the
            folder's counts.
        plugins: Files of further methods.
        device: Whose seconds and memory to show where cells ran on several chips: a chip's name or a part of it.

    Raises:
        BenchmarkError: If there are no records, or no such chip.

    Examples:
        >>> frame = cub.leaderboard("runs", suite="quick").to_pandas()
        >>> "score/kravets" in frame.columns, "original" in set(frame["method"])
        (True, True)
    """
    from benchmark.leaderboards.leaderboard import read_leaderboard

    return read_leaderboard(
        Path(results).expanduser(),
        suite=suite,
        with_reference=reference,
        plugins=[Path(plugin) for plugin in plugins],
        chip=device,
    )


def list_methods(plugins: Sequence[PathLike] = ()) -> Overview:
    """Every method: what it reads and edits, and its defaults.

    Args:
        plugins: Files of further methods.

    Examples:
        >>> "ccup" in cub.list_methods()
        True
        >>> frame = cub.list_methods().to_pandas()
        >>> frame.set_index("method").loc["ccup", "reads"]
        'names'
    """
    return methods_overview([Path(plugin) for plugin in plugins])


def list_datasets() -> Overview:
    """Every data set.

    Examples:
        >>> "cifar100" in cub.list_datasets()
        True
    """
    return datasets_overview()


def list_models() -> Overview:
    """The small CLIPs of this package, and how any other model is named.

    Examples:
        >>> "mini" in cub.list_models()
        True
    """
    return models_overview()


def list_suites() -> Overview:
    """The suites of the package.

    Examples:
        >>> "quick" in cub.list_suites()
        True
    """
    return suites_overview()


def list_measures() -> Overview:
    """Every measure: unit, range, which way is better.

    Examples:
        >>> "probe_acc1" in cub.list_measures()
        True
    """
    return measures_overview()
