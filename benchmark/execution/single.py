"""One model and one request, asked for from Python: the same session, process and measures as for a suite's cell."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.evaluation.catalogue import better
from benchmark.evaluation.families import FAMILIES
from benchmark.execution.references import References
from benchmark.execution.runner import CellRunner
from benchmark.execution.tracking import Tracker
from benchmark.models.names_seen import check_names, reader_of_clip
from benchmark.models.naming import model_identity
from benchmark.records.cell import Cell
from benchmark.records.provenance import unlearn_command
from benchmark.records.record import Metric, Record
from benchmark.records.store import RecordStore
from benchmark.suites.expansion import hyperparameters_of, original_of
from benchmark.suites.where import Where
from benchmark.unlearning.cost import Cost
from benchmark.unlearning.unlearn import Unlearned
from benchmark.utils.bar import bar
from benchmark.utils.folders import cache_folder
from benchmark.utils.hardware import resolve_precision
from datamodules.common.card import MEMORY_SCHEME
from datamodules.common.chosen_images import serving
from datamodules.common.dataset import Dataset
from datamodules.common.errors import BenchmarkError, UnknownNameError
from datamodules.common.request import ForgetRequest
from datamodules.in_memory import NamesDataset
from methods.common.clip import Clip
from methods.common.needs import why_not
from methods.common.registry import Registry, read_declaration
from methods.common.served import why_not_asked

if TYPE_CHECKING:
    import pandas as pd

SUITE = "single"
"""The suite that records of one request name, where it was asked for from Python or by `unlearn`."""
ALL = "all"
TOLD_APART = ["a photo of a dog.", "two trees, 3 houses"]
"""Texts by whose tokens one tokenizer is told from another."""
NAMES_ONLY = ("none", "names")
"""The data regimes that need no image."""


@dataclass(frozen=True, repr=False)
class UnlearningResult:
    """An unlearned model and what its unlearning cost.

    Attributes:
        cell: What was asked for: method, hyperparameters, request, seed, and what identifies model and data.
        original: The model before, untouched.
        unlearned: All that the unlearning gave.
        runner: With the model and the data in its session, to measure or export the result.
    """

    cell: Cell
    original: Clip
    unlearned: Unlearned
    runner: CellRunner

    @property
    def clip(self) -> Clip:
        """The unlearned model; `result.clip.model` is an open_clip model."""
        return self.unlearned.clip

    @property
    def cost(self) -> Cost:
        """Of the unlearning alone: seconds, peak memory in bytes, floating-point operations."""
        return self.unlearned.cost

    @property
    def report(self) -> dict[str, Any]:
        """What the method tells of its run."""
        return self.unlearned.report

    @property
    def request(self) -> ForgetRequest:
        """What was to be forgotten."""
        return self.cell.request

    def __repr__(self) -> str:
        done, cell = self.unlearned, self.cell
        changed = f"{len(done.edited)} tensors ({done.edited_bytes / 1e6:.2f} MB) changed"
        regime = self.runner.registry.declaration(cell.method).card.regime
        return (
            f"<{cell.method} made {cell.model} forget {cell.request} in {done.cost.seconds:.2f} s: {changed}; "
            f"it read {regime}>"
        )


@dataclass(frozen=True, repr=False)
class EvaluationResult:
    """What was measured of an unlearned model, beside its original.

    Attributes:
        record: The record, as a suite's run would write it.
        before: The original's metrics, by name.
        path: Where the record was written; None if it was not.
    """

    record: Record
    before: Mapping[str, Metric]
    path: Path | None = None

    @property
    def metrics(self) -> dict[str, Metric]:
        """By full name, such as "forget/acc1": value, number of test items, 95 % interval."""
        return self.record.metrics

    @property
    def not_measured(self) -> dict[str, str]:
        """By family of measures why it could not be measured."""
        return dict(self.record.report.get("not_measured", {}))

    def rows(self) -> list[dict[str, Any]]:
        """One row a metric: name, value, n, ends of the 95 % interval, better direction, the original's value."""
        return [
            {
                "metric": name,
                "value": metric.value,
                "n": metric.n,
                "low": None if metric.ci95 is None else metric.ci95[0],
                "high": None if metric.ci95 is None else metric.ci95[1],
                "direction": _direction(name),
                "original": before.value if (before := self.before.get(name)) is not None else None,
            }
            for name, metric in self.metrics.items()
        ]

    def to_pandas(self) -> pd.DataFrame:
        """The rows as a DataFrame."""
        import pandas as pd

        columns = ["metric", "value", "n", "low", "high", "direction", "original"]
        return pd.DataFrame(self.rows(), columns=columns)

    def __str__(self) -> str:
        lines = [f"{row['metric']:36} {_text(row['original']):>8} -> {_text(row['value']):>8}" for row in self.rows()]
        lines += [f"{name}: not measured: {reason}" for name, reason in self.not_measured.items()]
        return "\n".join(lines)

    def __repr__(self) -> str:
        cell = self.record.cell
        return f"<{len(self.metrics)} metrics of {cell['method']} on {cell['dataset']} and {cell['model']}>\n{self}"


def unlearn_one(
    clip: Clip,
    method: str | Path,
    dataset: Dataset,
    request: ForgetRequest,
    *,
    hparams: Mapping[str, Any],
    others: Sequence[Dataset] = (),
    seed: int = 0,
    precision: str = "fp32",
    cache_dir: Path | None = None,
    progress: bool = True,
) -> UnlearningResult:
    """Let a method unlearn a request from a model, in a process of its own; the model stays as it is.

    Args:
        clip: The model.
        method: A registered name, or a Python file that declares a method.
        dataset: Where the request is from; `NamesDataset` for methods that read no image.
        request: What to forget.
        hparams: Hyperparameters that are to differ from the method's defaults.
        others: Data sets of which the method may know the names, and which are measured.
        seed: Of everything random.
        precision: "fp32", "bf16" or "auto".
        cache_dir: By default the user's cache.
        progress: Whether to show a bar.

    Raises:
        BenchmarkError: If a name, a hyperparameter or the request is wrong, or the method reads images and there are
            none.
    """
    plugins = (Path(method),) if str(method).endswith(".py") else ()
    registry = Registry(plugins)
    name = read_declaration(plugins[0]).card.name if plugins else str(method)
    card = registry.declaration(name).card
    runner = runner_for(clip, dataset, others, registry=registry, cache_dir=cache_dir, plugins=plugins)
    cell = cell_for(
        runner, clip, dataset, request, method=name, hparams=hparams, others=others, seed=seed, precision=precision
    )
    names_only = isinstance(dataset, NamesDataset)
    runner.command = unlearn_command(cell, str(method), hparams, names_only=names_only)
    if names_only:
        if card.regime not in NAMES_ONLY:
            raise BenchmarkError(
                f"method {name!r} reads images ({card.regime}): give a data set (load_dataset, --data), or name a "
                "method that reads names alone, such as ccup"
            )
        serving(dataset, request).check_request(request)
    else:
        runner.session.check_needs([cell])
    with bar(f"{name}: {request}", shown=progress) as shown, runner.showing(shown):
        shown.phase("unlearning")
        unlearned = runner.unlearned(cell)
    return UnlearningResult(cell, clip, unlearned, runner)


def evaluate_one(
    result: UnlearningResult,
    measures: Sequence[str] | str = (),
    *,
    others: Sequence[Dataset] | None = None,
    progress: bool = True,
) -> EvaluationResult:
    """Measure an unlearned model as a suite's run would: accuracies, recalls and scores, and further families.

    Args:
        result: What `unlearn_one` gave.
        measures: Families of further measures, or "all".
        others: The other data sets to measure; by default those of the unlearning.
        progress: Whether to show a bar.

    Raises:
        BenchmarkError: If there are no images, or a family does not exist.
    """
    runner, cell = result.runner, replace(result.cell, measures=families(measures))
    framing = result.original.preprocessing.framing
    if others is not None:
        runner.session.add_datasets(others, framing)
        cell = _with_others(cell, others)
    runner.session.dataset(cell.dataset, framing).split("test")
    with bar(f"measuring {cell.method}: {cell.request}", shown=progress) as shown, runner.showing(shown):
        references = runner.references(cell)
        measured = runner.measure(cell, references, result.unlearned)
    return EvaluationResult(measured.record, references.before or measured.record.metrics)


def unmeasured_record(result: UnlearningResult) -> Record:
    """The record of a model of which nothing was measured: what was done, and what it cost."""
    original = original_of(result.cell, result.runner.registry)
    return result.runner.record_of(result.cell, References(original.key, None), result.unlearned)


def runner_for(
    clip: Clip,
    dataset: Dataset,
    others: Sequence[Dataset] = (),
    *,
    registry: Registry | None = None,
    cache_dir: Path | None = None,
    results: Path | None = None,
    plugins: tuple[Path, ...] = (),
    command: str = "",
) -> CellRunner:
    """A runner whose session holds a model and data sets that are in memory.

    Args:
        clip: The model, on the device on which everything is to run.
        dataset: Where requests are from.
        others: Further data sets that are measured.
        registry: The methods; by default the registered ones.
        cache_dir: By default the user's cache.
        results: Where records go, if any are written.
        plugins: Files of further methods.
        command: What repeats a cell from the command line.
    """
    where = Where(dataset.data_dir, cache_folder(cache_dir), str(clip.device))
    store = RecordStore(results or Path("results/runs"))
    known = registry or Registry(plugins)
    runner = CellRunner(known, where, store, Tracker(None), plugins, command=command)
    runner.session.add_model(clip)
    runner.session.add_datasets([dataset, *others], clip.preprocessing.framing)
    return runner


def cell_for(
    runner: CellRunner,
    clip: Clip,
    dataset: Dataset,
    request: ForgetRequest,
    *,
    method: str,
    hparams: Mapping[str, Any],
    others: Sequence[Dataset] = (),
    seed: int = 0,
    precision: str = "fp32",
    suite: str = SUITE,
) -> Cell:
    """The cell of one request on a model: what a suite's expansion would make of it.

    Raises:
        BenchmarkError: If a name or a value is wrong, the method cannot work on the model, or to the model a name to
            forget is one with a name to keep.
    """
    card = runner.registry.declaration(method).card
    if reason := why_not(card, clip):
        raise BenchmarkError(f"method {method!r} cannot work on model {clip.name!r}: {reason}; choose another method")
    if reason := why_not_asked(card, request):
        raise BenchmarkError(f"method {method!r} cannot serve this request: {reason}")
    served = serving(dataset, request)
    check_names(reader_of_clip(clip), *served.names_for(request), dataset.templates, dataset.name)
    return _with_others(
        Cell(
            suite=suite,
            method=method,
            dataset=dataset.name,
            request=served.resolved(request),
            model=clip.name,
            seed=seed if card.stochastic else 0,
            hparams=hyperparameters_of(runner.registry, method, clip.scale, hparams),
            others=(),
            precision=resolve_precision(precision, str(clip.device)),
            device=clip.device.type,
            code=runner.where.digests.code(runner.registry, method, clip.name),
            data_revisions={dataset.name: dataset.revision},
            weights=_identity(runner, clip),
            scale=clip.scale,
        ),
        others,
    )


def families(measures: Sequence[str] | str) -> tuple[str, ...]:
    """Names of families of measures, checked; "all" for all.

    Raises:
        UnknownNameError: If one does not exist.
    """
    named = (measures,) if isinstance(measures, str) else tuple(measures)
    for name in named:
        if name not in FAMILIES and name != ALL:
            raise UnknownNameError("measure", name, FAMILIES)
    return tuple(FAMILIES) if ALL in named else tuple(name for name in FAMILIES if name in named)


def _with_others(cell: Cell, others: Sequence[Dataset]) -> Cell:
    revisions = {cell.dataset: cell.data_revisions[cell.dataset], **{other.name: other.revision for other in others}}
    return replace(cell, others=tuple(other.name for other in others), data_revisions=revisions)


def _identity(runner: CellRunner, clip: Clip) -> str:
    """What identifies a model in a key: a tag or a file; of a model in memory its weights, and how images and texts
    come into it, which no tag or file says."""
    if clip.name.startswith(MEMORY_SCHEME):
        weights = runner.session.pristine(clip.name)[1]
        what = repr((weights, clip.preprocessing, clip.tokenize(TOLD_APART).tolist()))
        return f"{MEMORY_SCHEME}{hashlib.sha256(what.encode()).hexdigest()[:16]}"
    return model_identity(clip.name)


def _direction(metric: str) -> str:
    """Which way is better: "lower", "higher", or "" where neither is."""
    way = better(metric)
    return "" if way == "none" else way


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
