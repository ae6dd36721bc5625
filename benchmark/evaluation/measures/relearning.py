"""Relearning: the forget accuracy after fine-tuning on a few images of the forgotten class, or on none.

An attacker has the weights, k images of each forgotten class (k = 1, 2, 4, 8, 16) and images of the others. A method
that only hid the class gets it back at once; the retrained model has to learn it from those images. Fine-tuning on
retained images alone (k = 0) asks whether the class comes back by itself (arXiv 2505.22310 finds about half of it back
for published methods, none for a retrained model).

One recipe for all, our choice: the image encoder alone is trained against the model's own zero-shot classifier with
cross-entropy and AdamW, `STEPS` batches of `FORGET_BATCH` forget shots and `RETAIN_BATCH` retained images, with the
batch statistics as they are. The share of forget images in a batch is fixed, so k changes what there is to learn from
and nothing else. A filter at the output is no part of the weights: an attacker leaves it out, and so does this measure.

The learning rate is chosen for each model on validation images (`benchmark.evaluation.attack_level`): the largest of
`RATES` at which the original loses less than a point of its retained accuracy by the same fine-tuning, with 16 shots of
a class and without any. `PLAYED` classes in turn play the forgotten one, so that the rate is one for all requests. The
retained accuracy after the attack is a metric of its own, and the record tells the rate.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from benchmark.evaluation.attack_level import Level, Validation, attacked, chosen_level, mean_metrics
from benchmark.evaluation.context import Context
from benchmark.evaluation.evaluate import Metrics
from benchmark.evaluation.families import SHOTS, NotMeasurableError
from datamodules.common.dataset import Dataset
from datamodules.common.narrowed import whole
from methods.common.clip import Clip

STEPS, FORGET_BATCH, RETAIN_BATCH = 16, 8, 24
DRAWS = 2
"""Draws of the shots for each k; the mean over them is reported."""
RATES = (3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6)
"""Learning rates that are tried, our choice: from the rates of training a small CLIP from the beginning to a tenth of a
usual one of fine-tuning a whole published CLIP."""
PLAYED = 3
"""Classes, evenly spread over the labels, that play the forgotten one while the rate is chosen."""


@dataclass(frozen=True)
class Shots:
    """The training images of one attack: row numbers of the train split."""

    forget: NDArray[np.int64]
    retain: NDArray[np.int64]


def measure(context: Context) -> Metrics:
    """`forget/relearn_acc1@k` and `retain/relearn_acc1@k` for k in 1, 2, 4, 8, 16 and 0 (retained images alone)."""
    return relearned(context, (*SHOTS, 0))


def relearned(context: Context, every: Sequence[int]) -> Metrics:
    """`forget/relearn_acc1@k` and `retain/relearn_acc1@k` for some k: the same whatever other k are asked for.

    Raises:
        NotMeasurableError: If the class has too few training images for any of them.
    """
    classifier, labels = context.classifier(), context.labels("train").numpy()
    forgotten = context.forget_labels.tolist()
    rate = chosen_rate(context)
    context.report["relearning"] = rate.told("learning_rate")
    metrics: Metrics = {}
    for shots in every:
        name = f"relearn_acc1@{shots}"
        draws = []
        try:
            for draw in range(DRAWS):
                random = np.random.default_rng((context.seed, shots, draw))
                chosen = draw_shots(context.dataset, labels, forgotten, shots, random)
                clip = fine_tune(context.clip, context.dataset, classifier, chosen, rate.value, random)
                draws.append(attacked(context, clip, classifier))
        except NotMeasurableError as error:
            reasons = {f"{part}/{name}": str(error) for part in ("forget", "retain")}
            context.report.setdefault("not_measured", {}).update(reasons)
            continue
        metrics |= mean_metrics(name, draws)
    if not metrics:
        raise NotMeasurableError("the class has too few training images for any number of shots")
    return metrics


def chosen_rate(context: Context) -> Level:
    """The learning rate for the original of a context, from the cache where it was chosen before.

    Raises:
        NotMeasurableError: If the original loses too much at every rate.
    """
    clip, dataset = context.original, whole(context.dataset)
    classifier, labels = context.classifier(clip), dataset.split("train").labels
    if labels is None:
        raise NotMeasurableError(f"data set {dataset.name!r} has no labels")
    known = np.unique(labels)
    played = known[np.linspace(0, len(known) - 1, min(PLAYED, len(known))).round().astype(int)]

    def lost(validation: Validation, before: Tensor, rate: float) -> float:
        return max(_lost(validation, before, rate, shots) for shots in (max(SHOTS), 0))

    def _lost(validation: Validation, before: Tensor, rate: float, shots: int) -> float:
        losses = []
        for label in played.tolist():
            random = np.random.default_rng((label, shots))
            there = labels.copy()
            there[validation.in_train] = -1
            chosen = draw_shots(dataset, there, [label], min(shots, int((there == label).sum())), random)
            after = validation.right(fine_tune(clip, dataset, classifier, chosen, rate, random), classifier)
            retained = validation.labels != label
            losses.append(float((before.double() - after.double())[retained].mean()))
        return float(np.mean(losses))

    return chosen_level(context, "relearning", RATES, lost)


def draw_shots(
    dataset: Dataset, labels: NDArray[np.int64], forgotten: Collection[int], shots: int, random: np.random.Generator
) -> Shots:
    """k images of each forgotten class and up to 16 of each retained one.

    Args:
        dataset: For the names of its classes.
        labels: Of its train split, shape (N,); images with a label below 0 are left out.
        forgotten: Labels of the forgotten classes.
        shots: k.
        random: Draws them.

    Raises:
        NotMeasurableError: If a forgotten class has fewer than k training images.
    """
    parts: dict[bool, list[NDArray[np.int64]]] = {True: [], False: []}
    for label in np.unique(labels[labels >= 0]):
        rows = np.flatnonzero(labels == label)
        wanted = shots if label in forgotten else max(SHOTS)
        if label in forgotten and len(rows) < wanted:
            name = dataset.class_names[label]
            raise NotMeasurableError(f"class {name!r} has {len(rows)} training images, {wanted} are needed")
        parts[label in forgotten].append(random.permutation(rows)[:wanted])
    return Shots(np.concatenate(parts[True]), np.concatenate(parts[False]))


def fine_tune(
    clip: Clip, dataset: Dataset, classifier: Tensor, shots: Shots, rate: float, random: np.random.Generator
) -> Clip:
    """A copy of a model whose image encoder was trained on the shots by the recipe of this file.

    Args:
        clip: The model; stays as it is.
        dataset: Of whose train split the shots are.
        classifier: The zero-shot classifier against which it is trained, shape (C, D).
        shots: The images.
        rate: The learning rate.
        random: Draws the batches.
    """
    clip = clip.copy()
    clip.model.requires_grad_(False)
    clip.visual.requires_grad_(True)
    clip.model.eval()
    optimizer = torch.optim.AdamW(clip.visual.parameters(), lr=rate, weight_decay=0.0, fused=True)
    weights = classifier.to(clip.device)
    split = dataset.split("train")
    if split.labels is None:
        raise NotMeasurableError(f"data set {dataset.name!r} has no labels")
    for rows in _batches(shots, random):
        batch = clip.preprocessing(split.images.read(rows).to(clip.device))
        embedded = functional.normalize(clip.encode_image(batch).float(), dim=-1)
        logits = clip.logit_scale.detach() * embedded @ weights.T
        loss = functional.cross_entropy(logits, torch.from_numpy(split.labels[rows]).to(clip.device))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return clip


def _batches(shots: Shots, random: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    for _ in range(STEPS):
        parts = [random.choice(shots.retain, RETAIN_BATCH, replace=len(shots.retain) < RETAIN_BATCH)]
        if len(shots.forget):
            parts.append(random.choice(shots.forget, FORGET_BATCH, replace=len(shots.forget) < FORGET_BATCH))
        yield np.concatenate(parts)
