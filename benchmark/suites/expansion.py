"""From a suite to its plan: names are checked, hyperparameters resolved, revisions read, before any work."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.models.naming import model_identity, parse_model
from benchmark.models.registry import PRETRAINING, architecture_name, is_file_or_tag, recipe_names
from benchmark.records.cell import Cell
from benchmark.records.cell import shard as shard_of
from benchmark.records.store import RecordStore
from benchmark.suites.digests import unlearning_code
from benchmark.suites.suite import ALL, Suite
from benchmark.suites.suite_file import load_suite
from benchmark.suites.told_before import left_out, told_before, with_local_tokenizer
from benchmark.suites.wanted import opened_datasets, scale_of, wanted_of
from benchmark.suites.where import Where
from benchmark.utils.devices import device_kind, precision_kind
from benchmark.utils.suggestions import near_keys
from datamodules.common.chosen_images import serving
from datamodules.common.code_closure import project_code
from datamodules.common.content import forget_digests
from datamodules.common.documents import DocumentError, parse_yaml
from datamodules.common.errors import BenchmarkError, UnknownNameError
from datamodules.common.kept_digests import remembered
from methods.common.card import HyperparameterError, resolve
from methods.common.registry import Registry

if TYPE_CHECKING:
    from benchmark.utils.hardware import Precision

ORIGINAL, RETRAIN = "original", "retrain"


def expand(suite: Suite, registry: Registry, where: Where, *, precision: str | None = None) -> list[Cell]:
    """The cells of a suite: by model, task and request, the original first.

    Args:
        suite: With its overrides already applied.
        registry: The methods.
        where: Folders and device.
        precision: Overrides the suite's.

    Raises:
        BenchmarkError: On any name, value or file that is wrong; nothing has been run.
    """
    methods = methods_of(suite, registry)
    named = {
        *suite.hparams,
        *suite.seeds_of,
        *(variant.method for variant in suite.variants),
        *(name for setting in suite.by_request for name in setting.hparams),
    }
    for name in (*methods, *sorted(named)):
        registry.declaration(name)
    for setting in suite.by_request:
        _check_meant(setting.model, suite)
    device, chosen = _hardware(where, precision or suite.precision)
    methods = tuple(sorted(methods, key=references_first))
    opened = opened_datasets(suite, registry, methods, where)
    where.opened.update(opened)
    scales = {model: scale_of(model) for model in suite.every_model}
    for scale in dict.fromkeys(scales.values()):
        _check_settings(suite, registry, scale)
    identity = cache(model_identity)
    revision_of = cache(lambda name: opened[name].revision)
    code_of = cache(lambda name, model, part: where.digests.code(registry, name, model, of_a_part=part))
    cells = []
    for wanted in wanted_of(suite, registry, methods):
        task, model = wanted.task, wanted.model
        together = task.requests if task.in_sequence or task.retrained else ()
        requests = tuple(opened[task.dataset].resolved(request) for request in together)
        group = tuple(name for request in requests for name in request.classes) if task.retrained else ()
        tuned = suite.tuned_group(model, task.dataset, wanted.request)
        cells.append(
            Cell(
                suite=suite.name,
                method=wanted.method,
                dataset=task.dataset,
                request=serving(opened[task.dataset], wanted.request).resolved(wanted.request),
                model=model,
                seed=wanted.seed,
                hparams=hyperparameters_of(registry, wanted.method, scales[model], wanted.setting),
                others=task.others,
                precision=chosen,
                device=device,
                code=code_of(wanted.method, model, bool(together or suite.test_images)),
                data_revisions={name: revision_of(name) for name in (task.dataset, *task.others)},
                weights=identity(model),
                scale=scales[model],
                by_request=tuple(sorted(wanted.varying)),
                measures=suite.measures if task.measures is None else task.measures,
                tuned="" if tuned is None else tuned.budget,
                sequence=requests if task.in_sequence else (),
                step=wanted.step,
                group=group,
                retrained=task.retrained,
                test_images=suite.test_images,
            )
        )
    return list({cell.key: cell for cell in cells}.values())


def _check_meant(model: str, suite: Suite) -> None:
    """Check that a model of `by_request` exists, be it in the suite or one that `--model` may put there.

    Raises:
        UnknownNameError: If it does not: its values would never be used.
    """
    named = (*suite.every_model, *map(architecture_name, suite.every_model))
    if model and model not in named and model not in recipe_names():
        try:
            parse_model(model if is_file_or_tag(model) else f"{model}:file")
        except UnknownNameError as error:
            raise BenchmarkError(f"suite {suite.name!r}, by_request: {error}") from error


def _hardware(where: Where, precision: str) -> tuple[str, Precision]:
    """The kind of device and the precision of a run."""
    if not (where.elsewhere and where.device == "cuda"):
        return device_kind(where.device), precision_kind(precision, where.device)
    if precision == "auto":
        raise BenchmarkError(
            "which precision is best on other machines is not known here: use --precision fp32 or bf16"
        )
    return "cuda", precision_kind(precision, "cpu")


def methods_of(suite: Suite, registry: Registry) -> tuple[str, ...]:
    """The methods of a suite by name, `ALL` spelled out."""
    all_names = [name for name in registry.names() if registry.declaration(name).card.regime != PRETRAINING]
    wanted = suite.methods or (ALL,)
    return tuple(dict.fromkeys(name for entry in wanted for name in (all_names if entry == ALL else [entry])))


def references_first(method: str) -> int:
    """For sorting: what other cells are compared with comes before them."""
    return {ORIGINAL: 0, RETRAIN: 1}.get(method, 2)


def original_of(cell: Cell, registry: Registry) -> Cell:
    """The cell of doing nothing that a cell is compared with."""
    code = unlearning_code(registry, ORIGINAL, cell.model, of_a_part=cell.of_a_part)
    return replace(cell, method=ORIGINAL, hparams={}, seed=0, code=code, by_request=(), brought="")


def retrain_of(cell: Cell, registry: Registry, where: Where) -> Cell:
    """The cell of the model trained again without the forget data, of the same seed, that a cell is compared with."""
    code = where.digests.code(registry, RETRAIN, cell.model, of_a_part=cell.of_a_part)
    return replace(cell, method=RETRAIN, hparams={}, code=code, by_request=(), brought="")


def _check_settings(suite: Suite, registry: Registry, scale: str) -> None:
    """Check every setting of a suite, those of methods that do not run this time included."""
    settings = list(suite.hparams.items())
    settings += [(variant.method, variant.hparams) for variant in suite.variants]
    settings += [item for setting in suite.by_request for item in setting.hparams.items()]
    for name, values in settings:
        hyperparameters_of(registry, name, scale, values)


def hyperparameters_of(registry: Registry, method: str, scale: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """All hyperparameters of a method: the defaults of a scale, with overrides.

    Raises:
        UnknownNameError: If there is no such method.
        HyperparameterError: If a hyperparameter does not exist, or a value does not fit; the nearest name is given.
    """
    kind = registry.declaration(method).hyperparameters
    try:
        return dict(vars(resolve(kind, scale, overrides)))
    except BenchmarkError as error:
        raise HyperparameterError(f"method {method!r}: {error}") from error


def with_overrides(
    suite: Suite,
    *,
    methods: Sequence[str] = (),
    seeds: Sequence[int] = (),
    models: Sequence[str] = (),
    settings: Sequence[str] = (),
) -> Suite:
    """A suite with what the command line changes of it.

    Args:
        suite: The suite.
        methods: Names, if not the suite's.
        seeds: Seeds, if not the suite's.
        models: Models, if not the suite's. A task that names models of its own keeps those that are among them.
        settings: Hyperparameters as METHOD.NAME=VALUE.

    Raises:
        BenchmarkError: If a setting is not of that form, or every task is for other models.
    """
    hparams = {name: dict(values) for name, values in suite.hparams.items()}
    overridden: set[tuple[str, str]] = set()
    for setting in settings:
        method, name, value = setting_of(setting)
        if (method, name) in overridden:
            raise BenchmarkError(f"{method}.{name} is set twice: a setting has one value (variants go into a suite)")
        hparams.setdefault(method, {})[name] = value
        overridden.add((method, name))
    tasks = suite.tasks
    if models:
        task_models = [task.models and tuple(name for name in task.models if name in models) for task in tasks]
        tasks = tuple(replace(t, models=m) for t, m in zip(tasks, task_models, strict=True) if m is None or m)
        if not tasks:
            raise BenchmarkError(f"suite {suite.name!r} is for other models: {', '.join(suite.every_model)}")
    return replace(
        suite,
        tasks=tasks,
        methods=tuple(methods) or suite.methods,
        seeds=tuple(seeds) or suite.seeds,
        seeds_of={} if seeds else suite.seeds_of,
        models=tuple(models) or suite.models,
        hparams=hparams,
        by_request=tuple(
            replace(setting, hparams=_asked(setting.hparams, hparams, overridden)) for setting in suite.by_request
        ),
    )


def setting_of(setting: str) -> tuple[str, str, Any]:
    """The method, the hyperparameter and the value of a setting as the command line gives it.

    Args:
        setting: METHOD.NAME=VALUE; the value as YAML reads it, where 1e-5 is a number too.

    Raises:
        BenchmarkError: If it is not of that form.
    """
    target, equals, value = setting.partition("=")
    method, dot, name = target.partition(".")
    if not (equals and dot and method and name):
        raise BenchmarkError(f"setting {setting!r} is not of the form METHOD.HYPERPARAMETER=VALUE")
    return method, name, _value(setting, value)


_EXPONENT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+")
"""A number that YAML 1.1 takes for text, such as 1e-5."""


def _value(setting: str, text: str) -> Any:
    """The value of a setting of the command line, as YAML, where 1e-5 is a number too."""
    try:
        return float(text) if _EXPONENT.fullmatch(text.strip()) else parse_yaml(text, "value").content
    except DocumentError as error:
        reason = str(error).removeprefix("value, line 1: ")
        raise BenchmarkError(f"setting {setting[:80]!r}: its value cannot be read: {reason}") from error


def _asked(
    hparams: Mapping[str, Mapping[str, Any]], chosen: Mapping[str, Mapping[str, Any]], overridden: set[tuple[str, str]]
) -> dict[str, dict[str, Any]]:
    """What a protocol sets by request; the command line's values take the place of its own."""
    return {
        method: {
            name: chosen[method][name] if (method, name) in overridden else value for name, value in values.items()
        }
        for method, values in hparams.items()
    }


@dataclass(frozen=True)
class Plan:
    """A suite with what was asked of it.

    Attributes:
        suite: With all that was asked to be changed of it.
        cells: What it consists of.
        registry: The methods.
        where: Folders and device.
        store: The records.
        notes: What the user must know first, one line each.
        suite_file: The suite as it was given, for the command in a record.
        plugins: Files of further methods, likewise.
        tuned_values: The file of tuned values, likewise; empty for the project's.
        left_out: Cells of methods that cannot work on their model: `notes` says why.
    """

    suite: Suite
    cells: list[Cell]
    registry: Registry
    where: Where
    store: RecordStore
    notes: tuple[str, ...] = ()
    suite_file: str = ""
    plugins: tuple[Path, ...] = ()
    tuned_values: str = ""
    left_out: tuple[Cell, ...] = ()


def make_plan(
    suite: str,
    where: Where,
    results: Path,
    *,
    methods: Sequence[str] = (),
    seeds: Sequence[int] = (),
    models: Sequence[str] = (),
    settings: Sequence[str] = (),
    plugins: Sequence[Path] = (),
    precision: str | None = None,
    shard: str | None = None,
    keys: Sequence[str] = (),
    tokenizer: Path | None = None,
    tuned: bool | Path | None = None,
    read_again: bool = False,
) -> Plan:
    """Check every argument and expand the suite.

    Args:
        suite: A suite of the package, or a YAML file.
        where: Folders and device.
        results: The folder of the records.
        methods: Names, if not the suite's.
        seeds: Seeds, if not the suite's.
        models: Models, if not the suite's.
        settings: Hyperparameters as METHOD.NAME=VALUE.
        plugins: Files of further methods.
        precision: "fp32", "bf16" or "auto", if not the suite's.
        shard: "i/n": only the i-th of n parts of the cells.
        keys: Only the cells whose keys begin so.
        tokenizer: The folder of a tokenizer, for the models that would fetch theirs.
        tuned: With the tuned values of the package or of a file, with the declared ones, or None as the suite says;
            a suite's tuned values give way to `settings`.
        read_again: Whether all files of data sets are read again, also those whose content is remembered.

    Raises:
        BenchmarkError: On anything that is wrong.
    """
    if read_again:
        forget_digests(where.cache_dir)
    registry = Registry(plugins)
    chosen = with_overrides(load_suite(suite), methods=methods, seeds=seeds, models=models, settings=settings)
    if tokenizer is not None:
        chosen = with_local_tokenizer(chosen, tokenizer)
    notes: list[str] = []
    if tuned is None and chosen.settings == "tuned" and settings:
        notes.append(f"suite {chosen.name} is tuned: with --set its rows take the declared values beside yours")
    if tuned is not None or settings:  # what the command line says is all that counts
        chosen = replace(chosen, settings="declared")
    if tuned or chosen.settings == "tuned":
        from benchmark.suites.tuned.trials import TUNED
        from benchmark.suites.tuned.values import TunedError, revision_notes, with_tuned

        file = tuned if isinstance(tuned, Path) else TUNED
        if not file.is_file():
            raise TunedError(f"no file {file} of tuned values: make one with `python -m benchmark tune --out`")
        chosen, told = with_tuned(chosen, registry, file)
        notes += told
    with remembered(project_code(), where.cache_dir, read_again=read_again):
        cells = expand(chosen, registry, where, precision=precision)
    if chosen.tuned:
        notes += revision_notes(chosen, where.opened)
    notes += [note for dataset in where.opened.values() for note in dataset.notes]
    if shard:
        try:
            cells = shard_of(cells, shard)
        except ValueError as error:
            raise BenchmarkError(str(error)) from error
    if keys:
        all_keys, cells = [cell.key for cell in cells], [cell for cell in cells if cell.key.startswith(tuple(keys))]
        if not cells:
            begins = f"{','.join(keys)}{near_keys(keys[0], all_keys)}"
            raise BenchmarkError(f"no cell of suite {suite!r} has a key that begins with {begins}; see `plan`")
    notes += told_before(cells, where.opened)
    reasons = left_out(cells, registry)
    not_run = tuple(cell for cell in cells if cell.key in reasons)
    notes += (told := list(dict.fromkeys(reasons.values())))
    cells = [cell for cell in cells if cell.key not in reasons]
    if told and not cells:
        raise BenchmarkError("; ".join(told) + ": nothing is left to run")
    tuned_values = str(tuned) if isinstance(tuned, Path) else ""
    rest = (tuple(notes), suite, tuple(plugins), tuned_values, not_run)
    return Plan(chosen, cells, registry, where, RecordStore(results), *rest)
