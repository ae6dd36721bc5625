"""The evaluation of one cell: what every cell has, and the further measures that it asks for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from benchmark.evaluation.context import Context, Shadows
from benchmark.evaluation.evaluate import Evaluation, Metrics
from benchmark.evaluation.families import measure_families
from benchmark.evaluation.kept_features import outputs_of
from benchmark.execution.cell_unlearning import precision_of, trunk_edited
from benchmark.execution.references import References
from benchmark.execution.session import Shelf
from benchmark.records.cell import Cell
from benchmark.records.kept_outputs import Outputs
from benchmark.suites.expansion import RETRAIN
from benchmark.unlearning.unlearn import Unlearned


def evaluate_cell(
    cell: Cell, references: References, result: Unlearned, shelf: Shelf, shadows: Shadows | str
) -> tuple[Metrics, dict[str, Any], Outputs]:
    """Measure an unlearned model.

    Args:
        cell: What was run.
        references: What it is compared with.
        result: What the unlearning gave.
        shelf: The models, data sets and features.
        shadows: The shadow models, or why there are none.

    Returns:
        The metrics, the record's report, and the outputs to keep beside the record.
    """
    pristine, _ = shelf.pristine(cell.model)
    dataset, others = shelf.datasets(cell)
    store = shelf.features(precision_of(cell))
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
            retrained=shelf.of(cell, references),
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
