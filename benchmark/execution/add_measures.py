"""Measuring families again, or for the first time, for a record that is there: with as little work as will do.

| a family | is measured |
|---|---|
| made of numbers (scores, robust score, gap to the retrained model) | from the numbers in the records |
| made of test images and class names | from the outputs kept beside the record (`KEY.npz`) |
| that needs the model | from the weights kept beside it (`KEY.safetensors`), else after unlearning again |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import nn

from benchmark.evaluation.context import Context, measure_families
from benchmark.evaluation.evaluate import Metrics, scores
from benchmark.evaluation.families import BASE, FAMILIES, SCORES
from benchmark.evaluation.kept_features import KeptFeatures, no_tokens, stand_in
from benchmark.execution.edited_weights import KeptWeights, outputs_path, weights_path
from benchmark.execution.local import write_down
from benchmark.execution.references import References
from benchmark.execution.runner import CellRunner, evaluate_cell
from benchmark.execution.session import precision_of
from benchmark.execution.staleness import families_in, family_of
from benchmark.records.cell import Cell
from benchmark.records.failures import Ledger
from benchmark.records.record import Record
from benchmark.suites.expansion import ORIGINAL, RETRAIN, references_first, retrain_of
from benchmark.unlearning.cost import Cost
from benchmark.unlearning.unlearn import Unlearned
from benchmark.utils.stopping import stop_if_asked
from datamodules.common.images import Preprocessing
from methods.common.clip import Clip

Way = Literal["recorded numbers", "kept outputs", "kept weights", "unlearning again"]
WAYS: tuple[Way, ...] = ("recorded numbers", "kept outputs", "kept weights", "unlearning again")
"""From the least work to the most."""


@dataclass
class _Measured:
    """What has been measured so far, and the costliest way in which it was."""

    metrics: Metrics
    report: dict[str, Any]
    way: Way = "recorded numbers"

    def add(self, metrics: Metrics, report: dict[str, Any], families: Sequence[str], way: Way) -> None:
        chosen = {name: value for name, value in metrics.items() if family_of(name) in families}
        self.metrics = {n: v for n, v in self.metrics.items() if family_of(n) not in families} | chosen
        reasons = {n: why for n, why in self.report.get("not_measured", {}).items() if n not in families}
        reasons |= {n: why for n, why in report.get("not_measured", {}).items() if n in families}
        self.report |= {name: value for name, value in report.items() if name != "not_measured"}
        self.report["not_measured"] = reasons
        self.way = max(self.way, way, key=WAYS.index)


def measure_again(runner: CellRunner, record: Record, cell: Cell, families: Sequence[str]) -> tuple[Record, Way]:
    """A record with some families of measures measured by today's code, not written.

    Families that read the numbers of these are measured too.

    Args:
        runner: With the store in which the record lies.
        record: What is there.
        cell: The cell that it is of.
        families: Names of `FAMILIES`, `BASE` or `SCORES`; the record need not have them yet.

    Returns:
        The record, and the costliest way in which a family was measured.
    """
    wanted = _with_readers(families, families_in(record))
    numbers = [name for name in wanted if _from_numbers(name)]
    others = [name for name in wanted if name not in numbers]
    measured = _Measured(dict(record.metrics), dict(record.report))
    references = record.references
    for name in [name for name in others if name != BASE and not FAMILIES[name].needs]:
        before = dict(measured.report)
        family_metrics = _from_outputs(runner, cell, name, replace(record, metrics=measured.metrics), before)
        if family_metrics is not None:
            measured.add(family_metrics, before, [name], "kept outputs")
            others.remove(name)
    compared = _references(runner, record, cell, wanted) if others or numbers else None
    if others and compared is not None:
        metrics, report, way = _from_model(runner, record, cell, others, compared)
        measured.add(metrics, report, others, way)
    for name in numbers:
        if compared is not None:
            report = dict(measured.report)
            measured.add(_of_numbers(runner, cell, name, measured.metrics, compared, report), report, [name], WAYS[0])
    if compared is not None and compared.retrain is not None and not references.get("retrain"):
        references = {**references, "retrain": compared.retrain}
    if not measured.report.get("not_measured"):
        measured.report.pop("not_measured", None)
    new = replace(record, metrics=measured.metrics, report=measured.report, references=references)
    today = runner.where.digests.families(families_in(new), cell.dataset, cell.model)
    digests = record.measures | {name: today[name] for name in wanted}
    return replace(new, measures=digests), measured.way


def measure_stale(
    stale: Sequence[tuple[Cell, tuple[str, ...]]], runner: CellRunner, ledger: Ledger, say: Callable[[str], None]
) -> list[tuple[Cell, str]]:
    """Measure again what older code measured, and write each record; those that others are compared with come first.

    Args:
        stale: Cells with the families to be measured.
        runner: Runs and knows them.
        ledger: Where failures go.
        say: Told of each cell.

    Returns:
        The cells that failed, with their messages.

    Raises:
        FullDiskError: If a disk takes no more.
    """
    failed = []
    for number, (cell, families) in enumerate(
        sorted(stale, key=lambda item: references_first(item[0].method)), start=1
    ):
        record = runner.store.read(cell.key)
        if record is None:
            continue
        try:
            with ledger.running(cell.key):
                new, way = measure_again(runner, record, cell, families)
                runner.store.write(new)
            stop_if_asked()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - as in `run_local`: a failed cell, never the run's end
            stop_if_asked()
            message = write_down(error, cell, ledger, runner.store.folder)
            failed.append((cell, message))
            say(f"[{number}/{len(stale)}] {cell}: not measured again: {message}")
        else:
            say(f"[{number}/{len(stale)}] {cell}: {', '.join(families)} measured again from {way}")
    return failed


def _from_numbers(family: str) -> bool:
    return family == SCORES or (family in FAMILIES and FAMILIES[family].from_numbers)


def _with_readers(families: Sequence[str], present: Sequence[str]) -> list[str]:
    """These families and those present that read their numbers, in the order in which they are measured."""
    reads = {name: {BASE} if name == SCORES else set(FAMILIES[name].reads) for name in (SCORES, *FAMILIES)}
    readers = {name for name in present if name in reads and reads[name] & set(families)}
    return [name for name in (BASE, SCORES, *FAMILIES) if name in {*families, *readers}]


def _references(runner: CellRunner, record: Record, cell: Cell, families: Sequence[str]) -> References:
    """What a record is compared with: the records that it names, where they are there."""
    measured_cell = replace(cell, measures=tuple(name for name in FAMILIES if name in {*cell.measures, *families}))
    named = {ORIGINAL: record.references.get("original"), RETRAIN: record.references.get("retrain")}

    def metrics_of(reference: Cell) -> Metrics:
        keys = [named[reference.method], reference.key]
        if reference.method == RETRAIN:
            keys.append(retrain_of(cell, runner.registry, runner.where).key)
        stored = next(
            (reference_record for key in keys if key and (reference_record := runner.store.read(key)) is not None), None
        )
        return stored.metrics if stored else runner.make(reference, runner.references(reference)).record.metrics

    cells = runner.reference_cells(measured_cell)
    return runner.references(measured_cell, {reference.key: metrics_of(reference) for reference in cells})


def _from_model(
    runner: CellRunner, record: Record, cell: Cell, families: Sequence[str], references: References
) -> tuple[Metrics, dict[str, Any], Way]:
    """The metrics of families from the model itself: put together from kept weights, or unlearned again."""
    measured_cell = replace(cell, measures=tuple(name for name in FAMILIES if name in families))
    result = None
    if not any("shadows" in FAMILIES[name].needs for name in measured_cell.measures):
        result = _from_weights(runner, record, cell)
    if result is None:
        fresh = runner.make(measured_cell, references).record
        return fresh.metrics, fresh.report, "unlearning again"
    pristine, _ = runner.session.pristine(cell.model)
    with runner.session.features(precision_of(cell)).fixed(result.clip, pristine):
        why = "no family that is measured asks for shadow models"
        metrics, report, _ = evaluate_cell(measured_cell, references, result, runner.session, why)
    return metrics, report, "kept weights"


def _from_weights(runner: CellRunner, record: Record, cell: Cell) -> Unlearned | None:
    """The unlearned model from the weights kept beside its record; None where they are not there or of another run."""
    path = weights_path(runner.store.path(record.cell["suite"], record.key))
    if not KeptWeights.belongs(path, record.key, outputs_path(path)):
        return None
    edited = KeptWeights.read(path)
    pristine, weights = runner.session.pristine(cell.model)
    if edited is None or edited.original != weights:
        return None
    clip = pristine.copy()
    edited.put_into(clip)
    return Unlearned(clip, Cost(), 0, tuple(sorted(edited.tensors)), 0, 0, {})


def _of_numbers(
    runner: CellRunner, cell: Cell, family: str, metrics: Metrics, references: References, report: dict[str, Any]
) -> Metrics:
    """The metrics of a family that is made of other numbers."""
    if family == SCORES:
        return scores(metrics, references.before or metrics, by_class="forget/acc1" in metrics)
    nothing = Clip(nn.Identity(), no_tokens, Preprocessing(64), cell.model)
    context = Context(
        clip=nothing,
        original=nothing,
        dataset=runner.session.dataset(cell.dataset, nothing.preprocessing.framing),
        request=cell.request,
        store=KeptFeatures([]),
        metrics=metrics,
        before=references.before,
        seed=replace(cell, seed=0).random_seed(),
        retrained=nothing if references.retrain is not None or cell.method == RETRAIN else None,
        no_retrained=references.no_retrained,
        reference=references.after_retraining,
        is_reference=cell.method == RETRAIN,
        report=report,
    )
    return measure_families([family], context)


def _from_outputs(
    runner: CellRunner, cell: Cell, family: str, record: Record, report: dict[str, Any]
) -> Metrics | None:
    """The metrics of a family from the kept outputs of the model and its original; None where they are not there."""
    unlearned_outputs = runner.store.outputs(cell.suite, record.key)
    original_outputs = runner.store.outputs(cell.suite, str(record.references.get("original")))
    before = runner.store.read(str(record.references.get("original")))
    if unlearned_outputs is None or original_outputs is None:
        return None
    pristine, _ = runner.session.pristine(cell.model)
    clip, original = (
        stand_in(outputs, pristine.preprocessing, cell.model) for outputs in (unlearned_outputs, original_outputs)
    )
    context = Context(
        clip=clip,
        original=original,
        dataset=runner.session.datasets(cell)[0],
        request=cell.request,
        store=KeptFeatures([(clip, unlearned_outputs), (original, original_outputs)]),
        metrics=record.metrics,
        before=None if before is None or cell.method == before.cell["method"] else before.metrics,
        seed=replace(cell, seed=0).random_seed(),
        report=report,
    )
    return measure_families([family], context)
