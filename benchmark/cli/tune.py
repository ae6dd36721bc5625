"""`tune`: search a method's hyperparameters, with the same budget as every other's."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

from benchmark.cli.arguments import Option, title_of
from benchmark.cli.listing import words
from benchmark.cli.options import Device, Name, NameList, Places, Plugins, Selection, WhereFile
from benchmark.records.lookup import expected_seconds, known_records
from benchmark.tuning.search import MODEL, SEARCH_SEED, SUITE, TRIALS
from benchmark.utils.folders import check_cache
from datamodules.common.documents import MOST_NUMBER
from datamodules.common.errors import BenchmarkError

if TYPE_CHECKING:
    from methods.common.registry import Registry

FOLDER = "tuning"
"""Trials are kept in this folder of the results, so that no leaderboard of runs shows them."""


@dataclass(frozen=True)
class SearchBudget:
    """What to search.

    Attributes:
        model: A small CLIP.
        suite: A suite, or a YAML file, of which no other suite reports a forget class.
        trials: How many settings are tried, the untuned one among them.
        search_seed: Of the settings tried.
    """

    model: Name = MODEL
    suite: Name = SUITE
    trials: Annotated[int, Option("N", low=1, high=10_000)] = TRIALS
    search_seed: Annotated[int, Option("N", low=0, high=MOST_NUMBER)] = SEARCH_SEED


def tune_command(
    method: NameList = (),
    /,
    *,
    all: Annotated[bool, Option(title=title_of(SearchBudget))] = False,
    search: SearchBudget,
    plugins: Plugins,
    out: WhereFile | None = None,
    places: Places,
    hardware: Device,
) -> int:
    """Search a method's hyperparameters for the small CLIPs, with the same number of trials as every other's.

    The first trial is the untuned default, the others are spread over the method's search space; the objective is the
    mean of S over forget classes that no other suite reports. What is done is kept, in the folder `tuning` of the
    results: run the same command to go on. `run --tuned` takes the values found.

    Args:
        method: Names, separated by commas.
        all: Every ranked method, one after the other.
        out: The file of the values found. Left out: the project's for a search with every other option as it is,
            none for another search, of which only the trials are kept.
    """
    from methods.common.registry import Registry

    names = _names(Registry(plugins.plugin), method, all)
    _check_model(search.model)
    selection = Selection(suite=search.suite, methods=names, model=(search.model,))
    trials = replace(places, results=places.results / FOLDER)
    plan = selection.plan(trials, hardware.device, plugins=plugins.plugin)
    from benchmark.execution.runner import CellRunner
    from benchmark.execution.tracking import Tracker
    from benchmark.suites.tuned.values import TUNED, budget_of, check_room
    from benchmark.tuning.search import check_unreported
    from benchmark.tuning.tuner import Tuner, plan_search

    check_unreported(plan.suite)
    plan.store.own()
    check_cache(plan.where.cache_dir)
    usual = search == SearchBudget() and not plugins.plugin
    file = out or (TUNED if usual else None)
    if file is not None:
        check_room(file, budget_of(search.trials, plan.suite.name, search.model))
    else:
        shared = f"({TRIALS} trials, {SUITE}, {MODEL})"
        print(f"not the search that all methods share {shared}: its values are not kept; name a file with --out")
    runner = CellRunner.of(plan, Tracker(plan.store.folder))
    count, seed = search.trials, search.search_seed
    searches = [plan_search(runner, name, plan.cells, count=count, seed=seed) for name in names]
    expected = expected_seconds(known_records(plan.store), plan.suite.every_model)
    chosen = {**vars(search), "out": out, "data_dir": places.data_dir, "device": hardware.device}
    usually = {**vars(SearchBudget()), **vars(Device()), "out": None, "data_dir": None}
    changed = [(f"--{name.replace('_', '-')}", value) for name, value in chosen.items() if value != usually[name]]
    options = [*changed, *(("--plugin", plugin) for plugin in plugins.plugin)]
    again = "".join(f" {name} {shlex.quote(str(value))}" for name, value in options)
    return Tuner(runner, plan.suite, expected, file, again, print).run(searches)


def _names(registry: Registry, names: tuple[str, ...], all_methods: bool) -> tuple[str, ...]:
    from benchmark.suites.tuned.space import competes

    if all_methods == bool(names):
        raise BenchmarkError("name a method, such as `tune ccup`, or all of them with `tune --all`")
    if all_methods:
        return tuple(name for name in registry.names() if competes(registry, name))
    for name in names:
        if not competes(registry, name):
            raise BenchmarkError(f"{name!r} is a reference row, which does not compete: it is not tuned")
    return tuple(dict.fromkeys(names))


def _check_model(model: str) -> None:
    from benchmark.suites.expansion import scale_of
    from benchmark.suites.tuned.space import SMALL

    if len(words([model])) != 1:
        raise BenchmarkError(f"--model {model}: tuning takes one model")
    if scale_of(model) != SMALL:
        raise BenchmarkError(f"model {model!r} keeps the published defaults: tuning is for the small CLIPs")
