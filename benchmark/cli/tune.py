"""`tune`: search a method's hyperparameters, with the same budget as every other's."""

from __future__ import annotations

import shlex
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.cli.common import plan_of
from benchmark.cli.listing import Listed, paths, words
from benchmark.records.lookup import expected_seconds, known_records
from benchmark.tuning.search import MODEL, SEARCH_SEED, SUITE, TRIALS
from benchmark.utils.folders import check_cache
from datamodules.common.errors import BenchmarkError

if TYPE_CHECKING:
    from methods.common.registry import Registry

FOLDER = "tuning"
"""Trials are kept in this folder of the results, so that no leaderboard of runs shows them."""


def tune_command(
    method: str | None = None,
    all: bool = False,
    model: str = MODEL,
    suite: str = SUITE,
    trials: int = TRIALS,
    search_seed: int = SEARCH_SEED,
    out: str | None = None,
    results: str = "results/runs",
    data_dir: str | None = None,
    cache_dir: str | None = None,
    device: str = "auto",
    plugin: Listed = None,
) -> int:
    """Search a method's hyperparameters for the small CLIPs, with the same number of trials as every other's.

    The first trial is the untuned default, the others are spread over the method's search space; the objective is the
    mean of S over forget classes that no other suite reports. What is done is kept: run the same command to go on.
    `run --tuned` takes the values found.

    Args:
        method: Names, separated by commas.
        all: Every ranked method, one after the other.
        model: A small CLIP.
        suite: A suite, or a YAML file, of which no other suite reports a forget class.
        trials: How many settings are tried, the untuned default among them.
        search_seed: Of the settings tried.
        out: The file of the values found. Left out: the project's for a search with every other option as it is,
            none for another search, of which only the trials are kept.
        results: The folder of records, logs and failures; those of trials are in its folder `tuning`.
        data_dir: The folder of the real data sets.
        cache_dir: The folder of decoded images and features.
        device: auto, cpu, cuda or cuda:N.
        plugin: Files of further methods, separated by commas; may be repeated.
    """
    from methods.common.registry import Registry

    registry = Registry(paths(plugin))
    names = _names(registry, method, all)
    _check_model(model)
    plan = plan_of(
        suite=suite,
        methods=",".join(names),
        seeds=None,
        model=model,
        results=str(Path(results) / FOLDER),
        data_dir=data_dir,
        cache_dir=cache_dir,
        device=device,
        precision=None,
        shard=None,
        plugin=plugin,
        settings=None,
    )
    from benchmark.execution.runner import CellRunner
    from benchmark.execution.tracking import Tracker
    from benchmark.suites.tuned.values import TUNED, budget_of, check_room
    from benchmark.tuning.search import check_unreported
    from benchmark.tuning.tuner import Tuner, plan_search

    check_unreported(plan.suite)
    plan.store.own()
    check_cache(plan.where.cache_dir)
    usual = (model, suite, trials, search_seed, plugin) == (MODEL, SUITE, TRIALS, SEARCH_SEED, None)
    file = Path(out).expanduser() if out else TUNED if usual else None
    if file is not None:
        check_room(file, budget_of(trials, plan.suite.name, model))
    else:
        shared = f"({TRIALS} trials, {SUITE}, {MODEL})"
        print(f"not the search that all methods share {shared}: its values are not kept; name a file with --out")
    files = paths(plugin)
    runner = CellRunner(plan.registry, plan.where, plan.store, Tracker(plan.store.folder), files, suite)
    searches = [plan_search(runner, name, plan.cells, count=trials, seed=search_seed) for name in names]
    expected = expected_seconds(known_records(plan.store), plan.suite.every_model)
    given = {"model": model, "suite": suite, "trials": trials, "search_seed": search_seed, "out": out}
    options = _options({**given, "data_dir": data_dir, "device": device})
    options += "".join(f" --plugin {shlex.quote(str(each))}" for each in files)
    return Tuner(runner, plan.suite, expected, file, options, print).run(searches)


def _names(registry: Registry, method: str | None, every: bool) -> tuple[str, ...]:
    from benchmark.suites.tuned.space import competes

    if every == bool(method):
        raise BenchmarkError("name a method, such as `tune ccup`, or all of them with `tune --all`")
    if every:
        return tuple(name for name in registry.names() if competes(registry, name))
    for name in words(method):
        if not competes(registry, name):
            raise BenchmarkError(f"{name!r} is a reference row, which does not compete: it is not tuned")
    return tuple(dict.fromkeys(words(method)))


def _check_model(model: str) -> None:
    from benchmark.suites.expansion import scale_of
    from benchmark.suites.tuned.space import SMALL

    if len(words(model)) != 1:
        raise BenchmarkError(f"--model {model}: tuning takes one model")
    if scale_of(model) != SMALL:
        raise BenchmarkError(f"model {model!r} keeps the published defaults: tuning is for the small CLIPs")


def _options(given: dict[str, Any]) -> str:
    """Those options that are not as they are by default, as on the command line."""
    declared = signature(tune_command).parameters
    changed = {name: value for name, value in given.items() if value != declared[name].default}
    return "".join(f" --{name.replace('_', '-')} {shlex.quote(str(value))}" for name, value in changed.items())
