"""`tune`: search a method's hyperparameters, with the same budget as every other's."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from benchmark.cli.arguments import Option, title_of
from benchmark.cli.options import Device, Models, Name, NameList, Places, Plugins, Selection, WhereFile
from benchmark.records.lookup import expected_seconds, known_records
from benchmark.suites.tuned.trials import FOLDER
from benchmark.tuning.search import DEVELOPMENT, SEARCH_SEED, SUITE, TRIALS
from benchmark.utils.folders import check_cache
from datamodules.common.documents import MOST_NUMBER
from datamodules.common.errors import BenchmarkError

if TYPE_CHECKING:
    from benchmark.execution.runner import CellRunner
    from benchmark.suites.expansion import Plan
    from benchmark.tuning.side_by_side import Trials
    from methods.common.registry import Registry


@dataclass(frozen=True)
class SearchBudget:
    """What to search.

    Attributes:
        suite: A suite, or a YAML file, of which no board reports a request or an image.
        model: A small CLIP; by default the suite's.
        kind: Settings for requests by class, by concept, or for both, one after the other.
        trials: How many settings are tried of a method and kind, the one before tuning among them.
        search_seed: Of the settings tried.
    """

    suite: Name = SUITE
    model: Models = ()
    kind: Literal["both", "class", "concept"] = "both"
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
    jobs: Annotated[int, Option("N", low=1, high=1024, title=title_of(Device))] = 1,
) -> int:
    """Search a method's hyperparameters for a small CLIP, with the same number of trials as every other's.

    The first trial is the method before tuning; the others are drawn by Optuna from the method's search space. They are
    judged by Q (by S where there is no Q) on requests and images that no board reports. What is done is kept, in the
    folder `tuning` of the results: run the same command to go on. `run --tuned` takes the values found.

    Args:
        method: Names, separated by commas.
        all: Every ranked method.
        out: The file of the values found. Left out: the project's for a search of the project's suites and models with
            the usual budget, none for another search, of which only the trials are kept.
        jobs: How many trials run at once, each in a process of its own; the values found are the same.
    """
    from methods.common.registry import Registry

    names = _names(Registry(plugins.plugin), method, all)
    if len(search.model) > 1:
        raise BenchmarkError(f"--model {','.join(search.model)}: tuning takes one model")
    for model in search.model:
        _check_small(model)  # before a plan, which would build a published model
    selection = Selection(suite=search.suite, methods=names, model=search.model)
    trials = replace(places, results=places.results / FOLDER)
    plan = selection.plan(trials, hardware.device, plugins=plugins.plugin)
    from rich.console import Console

    from benchmark.execution.runner import CellRunner
    from benchmark.execution.tracking import Tracker
    from benchmark.suites.tuned.trials import TUNED
    from benchmark.suites.tuned.values import budget_of, check_room
    from benchmark.tuning.search import check_unreported, import_optuna
    from benchmark.tuning.tuner import Tuner, plan_searches

    import_optuna()
    check_unreported(plan.suite)
    model = _model(plan)
    searches = [s for s in plan_searches(plan.registry, names, plan.cells) if search.kind in ("both", s.kind)]
    if not searches:
        raise BenchmarkError(f"suite {plan.suite.name!r} has no request by {search.kind}: leave out --kind")
    plan.store.own()
    check_cache(plan.where.cache_dir)
    file = out or (TUNED if _is_usual(search, plugins) else None)
    if file is not None:
        check_room(file, {s.group: budget_of(search.trials, plan.suite.name, model) for s in searches})
    else:
        print("not a search of the project's suites and models: its values are not kept; name a file with --out")
    runner = CellRunner.of(plan, Tracker(plan.store.folder))
    return Tuner(
        runner=runner,
        suite=plan.suite,
        trials=_trials(jobs, runner),
        jobs=jobs,
        count=search.trials,
        seed=search.search_seed,
        expected=expected_seconds(known_records(plan.store, plan.suite.name, plan.cells), plan.suite.every_model),
        out=file,
        options=_options(search, plugins, out, places, hardware),
        say=print,
        progress=Console(stderr=True, soft_wrap=True, highlight=False),
    ).run(searches)


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


def _model(plan: Plan) -> str:
    """The one model of a plan, a small one."""
    model, *further = plan.suite.every_model
    if further:
        raise BenchmarkError(f"suite {plan.suite.name!r} has several models: name one with --model")
    _check_small(model)
    return model


def _check_small(model: str) -> None:
    from benchmark.suites.tuned.space import SMALL
    from benchmark.suites.wanted import scale_of

    if scale_of(model) != SMALL:
        raise BenchmarkError(f"model {model!r} keeps the published defaults: tuning is for the small CLIPs")


def _is_usual(search: SearchBudget, plugins: Plugins) -> bool:
    """Whether the values of a search belong to the project's."""
    from benchmark.models.registry import shipped_models
    from benchmark.suites.suite_file import suite_names

    suite = search.suite in suite_names() and search.suite.startswith(DEVELOPMENT)
    budget = (search.trials, search.search_seed) == (TRIALS, SEARCH_SEED)
    return suite and budget and not plugins.plugin and set(search.model) <= set(shipped_models())


def _options(search: SearchBudget, plugins: Plugins, out: Path | None, places: Places, hardware: Device) -> str:
    """What of the command line belongs to the command that finds a value again, method aside.

    The folder of the images is the machine's: the command says that it needs one.
    """
    images = None if places.data_dir is None else "DIR"
    chosen = {**vars(search), "model": ",".join(search.model), "out": out, "data_dir": images}
    usually = {**vars(SearchBudget()), **vars(Device()), "model": "", "out": None, "data_dir": None}
    chosen |= {"device": hardware.device}
    changed = [(f"--{name.replace('_', '-')}", value) for name, value in chosen.items() if value != usually[name]]
    options = [*changed, *(("--plugin", plugin) for plugin in plugins.plugin)]
    return "".join(f" {name} {shlex.quote(str(value))}" for name, value in options)


def _trials(jobs: int, runner: CellRunner) -> Trials:
    """Where trials run: here, or in processes of their own."""
    from benchmark.execution.ray_worker import WorkerSetting
    from benchmark.pretraining.side_by_side import usable_cores
    from benchmark.suites.where import Where
    from benchmark.tuning.side_by_side import OneByOne, SideBySide

    if jobs == 1:
        return OneByOne(runner)
    where = runner.where
    data_dir = None if where.data_dir is None else where.data_dir.absolute()
    setting = WorkerSetting(
        where=Where(data_dir, where.cache_dir.absolute(), where.device, skip_unreadable=where.skip_unreadable),
        plugins=tuple((plugin, plugin.absolute()) for plugin in runner.plugins),
        suite_file=runner.suite_file,
        tuned_values="",
        results=runner.store.folder.absolute(),
        wandb="off",
        threads=max(1, usable_cores() // jobs),
    )
    return SideBySide(jobs, setting)
