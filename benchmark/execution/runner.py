"""The runner of one cell: load a CLIP, let the method unlearn, measure what is left, write one record."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmark.evaluation.context import Context, Shadows, measure_families
from benchmark.evaluation.evaluate import Evaluation, Metrics
from benchmark.evaluation.families import asks_for, families_with
from benchmark.evaluation.kept_features import outputs_of
from benchmark.execution.edited_weights import WeightsKeeper, outputs_path
from benchmark.execution.preview import Report, Watch, Watcher
from benchmark.execution.process.unlearner import Unlearning, Work
from benchmark.execution.progress import CellProgress, RunningCell, Silent
from benchmark.execution.references import References
from benchmark.execution.sequences import Sequences
from benchmark.execution.session import CellShadows, Session, precision_of, trunk_edited, work_of
from benchmark.execution.tracking import Tracker
from benchmark.models.registry import PRETRAINING
from benchmark.records.cell import BROUGHT, Cell
from benchmark.records.kept_outputs import Outputs
from benchmark.records.provenance import ONE, audit_command, command, provenance
from benchmark.records.record import SCHEMA, Record
from benchmark.records.store import RecordStore
from benchmark.suites.expansion import ORIGINAL, RETRAIN, Plan, original_of, retrain_of
from benchmark.suites.where import Where
from benchmark.unlearning.unlearn import Unlearned
from benchmark.utils.devices import Devices
from benchmark.utils.hardware import device_name
from benchmark.utils.randomness import isolated
from datamodules.common.module import Retrained
from methods.common.card import MethodCard, resolve
from methods.common.clip import Clip
from methods.common.registry import Registry


@dataclass(frozen=True)
class Made:
    """What running a cell gives: the record, the outputs to keep beside it, and the unlearned model."""

    record: Record
    outputs: Outputs
    unlearned: Unlearned


@dataclass
class CellRunner:
    """Runs cells one after another and shares between them what may be shared.

    Attributes:
        registry: The methods.
        where: Folders and device.
        store: Where the records go.
        tracker: The experiment loggers.
        plugins: Files given with `--plugin`, for the command in the record.
        suite_file: The suite as it was given, likewise; by default the cell's suite.
        tuned_values: The file of tuned values as it was given, likewise; by default the project's.
        keeper: Keeps unlearned weights beside the records; None keeps none.
        watcher: Shows how the accuracy falls while a method unlearns; None shows nothing.
        devices: Over which each cell's unlearning is spread; everything else is done on the first.
        command: What repeats a cell that no suite holds, for its record; by default the command `run`.
        progress: Told how far the running cell is.
        keep_outputs: Whether what a model gave for each test image is kept beside its record.
    """

    registry: Registry
    where: Where
    store: RecordStore
    tracker: Tracker
    plugins: tuple[Path, ...] = ()
    suite_file: str = ""
    tuned_values: str = ""
    keeper: WeightsKeeper | None = None
    watcher: Watcher | None = None
    devices: Devices = field(default_factory=Devices)
    command: str = ""
    progress: CellProgress = field(default_factory=Silent)
    keep_outputs: bool = True
    _begun: dict[str, Unlearning] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: Plan, tracker: Tracker, devices: Devices = ONE) -> CellRunner:
        """The runner of a plan's cells; their records name the suite, plugins and tuned values as they were given."""
        named = (plan.plugins, plan.suite_file, plan.tuned_values)
        return cls(plan.registry, plan.where, plan.store, tracker, *named, devices=devices)

    def __post_init__(self) -> None:
        self.session = Session(self.registry, self.where, (self.store.folder,), self.devices)
        self.sequences = Sequences()

    @contextmanager
    def showing(self, progress: CellProgress) -> Iterator[None]:
        """Show with `progress` how far each cell is that runs within the block."""
        self.progress = progress
        try:
            yield
        finally:
            self.progress = Silent()

    def begin(self, cell: Cell, shown: RunningCell) -> Future[None] | None:
        """Let a cell's method unlearn beside other cells; `run` then takes what it left.

        Args:
            cell: Of the model of all cells that are begun and not yet run.
            shown: Told how far it is, from another thread.

        Returns:
            Done when the method is; `run` raises what it raised. None for a cell of a sequence, whose step begins
            from the model that the step before left: `run` lets its method unlearn.
        """
        if cell.sequence:
            return None
        dataset = self.session.dataset_to_unlearn(cell)
        work = work_of(cell, self.session, retrained=self._retrained(cell), dataset=dataset)
        begun = self.session.unlearner.begin(work, on_step=shown.step, watch=self._watch(work, shown.accuracy))
        self._begun[cell.key] = begun
        return begun.future

    def stop(self) -> None:
        """End what was begun and not run."""
        if "unlearner" in vars(self.session):
            self.session.unlearner.stop()
        for begun in self._begun.values():
            begun.close()
        self._begun.clear()

    def run(self, cell: Cell) -> Record:
        """Run a cell and write its record. Those of its references are made first if they are not there.

        Raises:
            Exception: Whatever the method raises; nothing is written then.
        """
        finished = self.make(cell, self.references(cell, self.recorded_references(cell)))
        if self.keeper is not None:
            return self.keeper.write(finished.record, finished.outputs, finished.unlearned)
        self.write(finished.record, finished.outputs)
        return finished.record

    def write(self, record: Record, outputs: Outputs | None) -> None:
        """Write a record, and its outputs if they are to be kept; earlier ones of its key are then gone."""
        self.store.write(record, outputs if self.keep_outputs else None)
        if not self.keep_outputs:
            outputs_path(self.store.path(record.cell["suite"], record.key)).unlink(missing_ok=True)

    def log(self, record: Record) -> None:
        """Tell the tracker of a record that is written, and of the weights beside it, and end the cell's log."""
        self.tracker.summarise(record, None if self.keeper is None else self.keeper.path(record))

    def recorded_references(self, cell: Cell) -> dict[str, Metrics]:
        """The metrics of the cells that a cell is compared with, by key: from their records, which are made if need be.

        Raises:
            Exception: Whatever their methods raise.
        """
        return {
            reference.key: (self.store.read(reference.key) or self.run(reference)).metrics
            for reference in self.reference_cells(cell)
        }

    def reference_cells(self, cell: Cell) -> list[Cell]:
        """The cells whose metrics `references` takes: they must be run before this one."""
        if cell.method == RETRAIN:
            return []
        needed = [] if cell.method == ORIGINAL else [original_of(cell, self.registry)]
        if asks_for("retrained", cell.measures) and not self.session.retrained.why_not(cell):
            needed.append(retrain_of(cell, self.registry, self.where))
        return needed

    def references(self, cell: Cell, metrics: Mapping[str, Metrics] | None = None) -> References:
        """What a cell is compared with.

        Args:
            cell: Of any method.
            metrics: Those of `reference_cells`, by key; by default they are run again, and nothing is written.
        """
        original = original_of(cell, self.registry)
        if cell.method == RETRAIN:  # the original's record is itself compared with this one
            plain = replace(original, measures=())
            return References(original.key, self.make(plain, References(plain.key, None)).record.metrics)
        if metrics is None:
            metrics = {
                reference.key: self.make(reference, self.references(reference)).record.metrics
                for reference in self.reference_cells(cell)
            }
        before = None if cell.method == ORIGINAL else metrics[original.key]
        if not asks_for("retrained", cell.measures):
            return References(original.key, before)
        why_not = self.session.retrained.why_not(cell)
        if why_not:
            return References(original.key, before, no_retrained=why_not)
        gold = retrain_of(cell, self.registry, self.where)
        return References(original.key, before, gold.key, metrics[gold.key])

    def check_needs(self, cells: Sequence[Cell]) -> None:
        """Check, before any work, all that these cells need; see `benchmark.execution.session`."""
        self.session.check_needs(cells)

    def make(self, cell: Cell, references: References) -> Made:
        """Run a cell without writing anything.

        Args:
            cell: What to run.
            references: What it is compared with.
        """
        self.progress.phase("loading")
        self.session.pristine(cell.model)
        retrained = self._retrained(cell)
        shadows = self._shadows(cell)
        with isolated(cell.random_seed()):
            self.progress.phase("unlearning")
            result = self._unlearn(cell, retrained)
        return self._measured(cell, references, result, shadows)

    def measure(self, cell: Cell, references: References, result: Unlearned) -> Made:
        """Measure a model that is unlearned already, as `make` does; nothing is written.

        Args:
            cell: What the model is of.
            references: What it is compared with.
            result: The unlearned model.
        """
        return self._measured(cell, references, result, self._shadows(cell))

    def _measured(self, cell: Cell, references: References, result: Unlearned, shadows: CellShadows | str) -> Made:
        self.progress.phase("evaluating")
        pristine, _ = self.session.pristine(cell.model)
        start = time.perf_counter()
        with isolated(cell.random_seed()), self.session.features(precision_of(cell)).fixed(result.clip, pristine):
            metrics, report, outputs = evaluate_cell(cell, references, result, self.session, shadows)
        seconds = time.perf_counter() - start
        families = self.where.digests.families(families_with(cell.measures), cell.dataset, cell.model)
        record = self.record_of(cell, references, result, seconds=seconds)
        return Made(replace(record, metrics=metrics, report=report, measures=families), outputs, result)

    def record_of(
        self, cell: Cell, references: References, result: Unlearned, *, seconds: float | None = None
    ) -> Record:
        """The record of an unlearned model, with no metric in it yet.

        Args:
            cell: What the model is of.
            references: What it is compared with.
            result: The unlearned model.
            seconds: What its evaluation took.
        """
        pristine, weights = self.session.pristine(cell.model)
        card = None if cell.brought else self.registry.declaration(cell.method).card
        return Record(
            schema=SCHEMA,
            key=cell.key,
            cell=cell.identity(),
            metrics={},
            references={"original": references.original, "retrain": references.retrain},
            cost={**_cost(result, card), "evaluate_seconds": seconds},
            provenance=provenance(
                cell,
                regime=BROUGHT if card is None else card.regime,
                paper=BROUGHT if card is None else card.paper,
                weights=weights,
                device=device_name(pristine.device),
                command=self.command or self._command(cell),
                devices=self.devices,
                skipped=self._skipped(cell),
                threads=None if card is None else self.session.unlearner.threads_each(pristine.device.type),
            ),
            report=dict(result.report),
        )

    def unlearned(self, cell: Cell) -> Unlearned:
        """Let a cell's method unlearn as it did for its record; nothing is measured or written."""
        retrained = self._retrained(cell)
        with isolated(cell.random_seed()):
            return self._unlearn(cell, retrained)

    def _retrained(self, cell: Cell) -> Retrained | None:
        if self.registry.declaration(cell.method).card.regime != PRETRAINING:
            return None
        self.progress.phase("training without the forget data")
        return self.session.retrained.state(cell, on_step=self.progress.step)

    def _shadows(self, cell: Cell) -> CellShadows | str:
        """The shadow models of a cell, trained; why there are none, where there are none or no measure asks."""
        if not asks_for("shadows", cell.measures):
            return "no measure asks for shadow models"
        if cell.brought:
            return "the model was unlearned elsewhere: nothing here can unlearn shadow models in the same way"
        if cell.sequence:
            return "the request stands in a sequence: shadow models unlearn one request alone"
        why_not = self.session.shadows.why_not(cell)
        if why_not:
            return why_not
        self.progress.phase("training the shadow models")
        self.session.shadows.train(cell, on_step=self.progress.step)
        return CellShadows(cell, self.session)

    def _command(self, cell: Cell) -> str:
        if cell.brought:
            return audit_command(cell, suite=self.suite_file or cell.suite)
        kind = self.registry.declaration(cell.method).hyperparameters
        defaults = vars(resolve(kind, cell.scale, {}))
        settings = {name: value for name, value in cell.hparams.items() if defaults.get(name) != value}
        suite, tuned = self.suite_file or cell.suite, self.tuned_values
        return command(
            cell,
            suite=suite,
            settings=settings,
            plugins=self.plugins,
            tuned_values=tuned,
            devices=self.devices,
            skip_unreadable=self.where.skip_unreadable,
        )

    def _skipped(self, cell: Cell) -> dict[str, int]:
        """By data set how many of its images could not be read and were left out."""
        dataset, others = self.session.datasets(cell)
        return {used.name: len(used.skipped) for used in (dataset, *others) if used.skipped}

    def _unlearn(self, cell: Cell, retrained: Retrained | None) -> Unlearned:
        begun = self._begun.pop(cell.key, None)
        if begun is not None:
            return begun.result(self.tracker.logger(cell))
        if cell.sequence and retrained is None:
            return self.sequences.unlearned(cell, self._unlearn_from)
        return self._unlearn_from(cell, None, retrained)

    def _unlearn_from(self, cell: Cell, start: Clip | None, retrained: Retrained | None = None) -> Unlearned:
        """Let a cell's method unlearn its request from a model; by default from the cell's as it came."""
        dataset = self.session.dataset_to_unlearn(cell)
        work = work_of(cell, self.session, retrained=retrained, clip=start, dataset=dataset)
        watch, logger = self._watch(work), self.tracker.logger(cell)
        return self.session.unlearner.unlearn(work, logger=logger, on_step=self.progress.step, watch=watch)

    def _watch(self, work: Work, report: Report | None = None) -> Watch | None:
        if self.watcher is None:
            return None
        return self.watcher.watch(work.clip, work.dataset, work.request, work.precision, report)


def _cost(result: Unlearned, card: MethodCard | None) -> dict[str, float | int | None]:
    """What an unlearning cost; the operations of a training from the beginning are not counted.

    Of a model that was unlearned elsewhere, which has no card, nothing is known.
    """
    costs = result.costs()
    if card is None:
        return dict.fromkeys(costs)
    return costs | {"flops": None} if card.regime == PRETRAINING else costs


def evaluate_cell(
    cell: Cell, references: References, result: Unlearned, session: Session, shadows: Shadows | str
) -> tuple[Metrics, dict[str, Any], Outputs]:
    """Measure an unlearned model.

    Args:
        cell: What was run.
        references: What it is compared with.
        result: What the unlearning gave.
        session: The models, data sets and features.
        shadows: The shadow models, or why there are none.

    Returns:
        The metrics, the record's report, and the outputs to keep beside the record.
    """
    pristine, _ = session.pristine(cell.model)
    dataset, others = session.datasets(cell)
    store = session.features(precision_of(cell))
    keep = not trunk_edited(result)
    metrics = Evaluation(dataset, cell.request, others, store).measure(result.clip, before=references.before, keep=keep)
    report = dict(result.report)
    if cell.measures:
        context = Context(
            clip=result.clip,
            original=pristine,
            dataset=dataset,
            request=cell.request,
            store=store,
            metrics=metrics,
            before=references.before,
            seed=replace(cell, seed=0).random_seed(),
            retrained=session.of(cell, references),
            no_retrained=references.no_retrained,
            reference=references.after_retraining,
            is_reference=cell.method == RETRAIN,
            keep=keep,
            shadows=None if isinstance(shadows, str) else shadows,
            no_shadows=shadows if isinstance(shadows, str) else "",
            report=report,
        )
        metrics = metrics | measure_families(cell.measures, context)
    return metrics, report, outputs_of(result.clip, dataset, store, keep=keep)
