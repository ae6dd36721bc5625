"""What the measures find in models that never saw a class, beside the original: which of them can accuse anybody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from benchmark.evaluation.catalogue import describe
from benchmark.leaderboards.tables import unit_of
from benchmark.records.record import Metric, Record
from benchmark.utils.table import Table, number_text
from docs.generation.retrained import by_class, retrained_records

ASKED = {
    "forget/acc1": "called by its name",
    "forget/worst_prompt_acc1": "called by the wording that finds it best",
    "forget/true_name_margin": "cosine to its name less that to the best other",
    "forget/image_map": "its images find each other (mAP)",
    "forget/trunk_map": "the same one layer earlier",
    "forget/probe_acc1": "linear probe",
    "forget/trunk_probe_acc1": "the same one layer earlier",
    "forget/knn_acc1": "nearest training images",
    "forget/trunk_knn_acc1": "the same one layer earlier",
    "forget/soft_prompt_acc1": "learned prompt",
    "forget/quantised_acc1@8": "weights rounded to 8 bits",
    "forget/quantised_acc1@4": "weights rounded to 4 bits",
    "forget/pruned_acc1": "small weights set to zero",
    "forget/noised_acc1": "noise on the weights",
    "forget/relearn_acc1@0": "fine-tuned on the other classes alone",
    "forget/relearn_acc1@1": "fine-tuned on one image of it too",
    "forget/relearn_acc1@4": "on 4 images of it",
    "forget/relearn_acc1@16": "on 16 images of it",
}
"""In this order: what the model answers, its features, learned questions, harmed weights, fine-tuning."""


def attacks_table(argument: str) -> str:
    """A row for each measure of the forget set that was asked of all: its mean over the classes.

    Args:
        argument: The suite, the model and the methods that get a column beside the retrained models and the original,
            apart by spaces.

    Raises:
        LookupError: If the suite has no retrained model, no original, or nothing of one of the methods, of that model
            for a single class.
    """
    suite, model, *methods = argument.split()
    columns = {
        method: by_class(retrained_records(suite, model, method)) for method in ("retrain", "original", *methods)
    }
    retrained = columns["retrain"]
    rows = []
    for metric, words in ASKED.items():
        known = [means for of in columns.values() if (means := _of_classes(of, metric))]
        if len(known) < len(columns):
            continue
        scale, digits = unit_of(describe(metric))
        unit = " %" if describe(metric).percent else ""
        shown = [f"{number_text(fmean(means), scale, digits)}{unit}" for means in known]
        rows.append([words, f"`{metric}`", *shown])
    if not rows:
        raise LookupError(f"suite {suite!r} has no class that both the original and a retrained {model} were asked of")
    head = ["of the class is found", "measure", "never saw it", "original", *(f"`{method}`" for method in methods)]
    table = Table.of_texts(head, rows, words=(0, 1)).markdown()
    models = sum(map(len, retrained.values()))
    return (
        f"{table}\n\nMeans over {len(retrained)} classes; {models} models that never saw the class they are asked of."
    )


def _of_classes(of: Mapping[str, Sequence[Record]], metric: str) -> list[float]:
    """The mean of each class over its records; empty where one lacks the metric."""
    found = [[record.metrics.get(metric, Metric(None)).value for record in records] for records in of.values()]
    known = [[value for value in values if value is not None] for values in found]
    return [] if known != found else [fmean(values) for values in known]
