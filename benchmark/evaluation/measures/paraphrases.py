"""Worst prompt: the forget accuracy where the class is asked for in other words.

    max over names n and templates t of the recall of the forgotten class,
    its column of the classifier made from t and n, all other columns from t and their own names

n is the class name, a synonym or a description, t one of the data set's own templates or another one (the lists are
data files, `datamodules/paraphrases/`). Several forgotten classes: the maximum of each, weighted by its images. In
[0, 1], lower is better; it is never below the forget accuracy of a single of these prompts. Our choice: a name that no
longer answers says little where its synonyms do.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmark.evaluation.context import Context
from benchmark.evaluation.evaluate import Metrics
from benchmark.evaluation.families import NotMeasurableError
from benchmark.evaluation.numerics.metrics import predict
from benchmark.records.record import Metric
from benchmark.utils.statistics import wilson
from datamodules.common.paraphrases import Paraphrases, load_paraphrases


def measure(context: Context) -> Metrics:
    """`forget/worst_prompt_acc1`; the record tells the worst prompt of each class, and of how many."""
    classes = context.require_classes()
    paraphrases = load_paraphrases(context.dataset.name)
    if paraphrases is None:
        raise NotMeasurableError(f"there are no paraphrases for data set {context.dataset.name!r}")
    missing = [name for name in context.request.classes if name not in paraphrases.names]
    if missing:
        raise NotMeasurableError(f"there are no paraphrases for {missing[0]!r}")
    images, labels = context.images(), context.labels()
    hits, worst_prompts, wordings = 0, {}, {}
    for name in context.request.classes:
        label = classes.index(name)
        class_images = images[labels == label]
        scored = [
            (int((predict(class_images, weights, refused=refused) == label).sum()), prompt)
            for prompt, weights, refused in classifiers(context, label, paraphrases)
        ]
        best, prompt = max(scored, key=lambda pair: pair[0])
        hits += best
        worst_prompts[name], wordings[name] = prompt, len(scored)
    context.report["worst_prompt"] = worst_prompts
    context.report["wordings"] = wordings
    n = int(context.forget.sum())
    return {"forget/worst_prompt_acc1": Metric(hits / n, n, wilson(hits, n))}


def classifiers(context: Context, label: int, paraphrases: Paraphrases) -> Iterator[tuple[str, Tensor, Tensor]]:
    """For each wording of a class the prompt, the classifier with it, and which of its names are refused.

    Args:
        context: The model and the data.
        label: Of the class.
        paraphrases: The other wordings.
    """
    classes = context.require_classes()
    for template in dict.fromkeys((*context.dataset.templates, *paraphrases.templates)):
        rows = context.store.classifier(context.clip, classes, (template,)).cpu()
        wordings = (classes[label], *paraphrases.names[classes[label]])
        wording_rows = context.store.classifier(context.clip, wordings, (template,)).cpu()
        for wording, row in zip(wordings, wording_rows, strict=True):
            weights = torch.cat([rows[:label], row[None], rows[label + 1 :]])
            refused = context.clip.is_refused_class(classes).clone()
            refused[label] = bool(context.clip.is_refused([wording])[0])
            yield template.format(wording), weights, refused
