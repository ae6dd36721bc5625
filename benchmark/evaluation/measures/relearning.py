"""Relearning: the forget accuracy after fine-tuning on a few images of the forgotten class, or on none.

An attacker has the weights, k images of each forgotten class (k = 1, 2, 4, 8, 16) and images of the others. A method
that only hid the class gets it back at once; the retrained model has to learn it from those images. Fine-tuning on
retained images alone (k = 0) asks whether the class comes back by itself (arXiv 2505.22310 finds about half of it back
for published methods, none for a retrained model).

One recipe for all, our choice: the image encoder alone is trained against the model's own zero-shot classifier with
cross-entropy and AdamW, `STEPS` batches of `FORGET_BATCH` forget shots and `RETAIN_BATCH` retained images, with the
batch statistics as they are. The share of forget images in a batch is fixed, so k changes what there is to learn from
and nothing else. A filter at the output is no part of the weights: an attacker leaves it out, and so does this measure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torchmetrics.functional.classification import multiclass_accuracy

from benchmark.evaluation.context import Context
from benchmark.evaluation.evaluate import Metrics
from benchmark.evaluation.families import SHOTS, NotMeasurableError
from benchmark.records.record import Metric
from benchmark.utils.statistics import wilson
from methods.common.clip import Clip

STEPS, FORGET_BATCH, RETAIN_BATCH = 16, 8, 24
DRAWS = 2
"""Draws of the shots for each k; the mean over them is reported."""
RATES = {"small": 1e-3, "published": 1e-5}
"""Learning rate by scale of the model, our choice. Under it the original of the embedded world keeps what it knew (at
least 95 % of the stars after any number of shots); 1e-5 is a usual rate of fine-tuning a whole published CLIP."""
TEST_IMAGES = 500


@dataclass(frozen=True)
class Shots:
    """The training images of one attack: row numbers of the train split."""

    forget: NDArray[np.int64]
    retain: NDArray[np.int64]


def measure(context: Context) -> Metrics:
    """`forget/relearn_acc1@k` for k in 1, 2, 4, 8, 16 and 0 (retained images alone), each the mean over draws."""
    return relearned(context, (*SHOTS, 0))


def relearned(context: Context, every: Sequence[int]) -> Metrics:
    """`forget/relearn_acc1@k` for some k: each is the same whatever other k are asked for.

    Raises:
        NotMeasurableError: If the class has too few training images for any of them.
    """
    classifier = context.classifier()
    metrics: Metrics = {}
    for shots in every:
        name = f"forget/relearn_acc1@{shots}"
        try:
            values = [_attack(context, classifier, shots, draw) for draw in range(DRAWS)]
        except NotMeasurableError as error:
            context.report.setdefault("not_measured", {})[name] = str(error)
            continue
        n = values[0][1]
        share = float(np.mean([value for value, _ in values]))
        metrics[name] = Metric(share, n, wilson(share * n, n))
    if not metrics:
        raise NotMeasurableError("the class has too few training images for any number of shots")
    return metrics


def _attack(context: Context, classifier: Tensor, shots: int, draw: int) -> tuple[float, int]:
    random = np.random.default_rng((context.seed, shots, draw))
    chosen = draw_shots(context, shots, random)
    clip = fine_tune(context, classifier, chosen, random)
    images, labels = _test_images(context)
    return accuracy(clip, images, labels, classifier), len(labels)


def draw_shots(context: Context, shots: int, random: np.random.Generator) -> Shots:
    """k images of each forgotten class and up to 16 of each retained one.

    Raises:
        NotMeasurableError: If a forgotten class has fewer than k training images.
    """
    labels = context.labels("train").numpy()
    forgotten = set(context.forget_labels.tolist())
    parts: dict[bool, list[NDArray[np.int64]]] = {True: [], False: []}
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        wanted = shots if label in forgotten else max(SHOTS)
        if label in forgotten and len(rows) < wanted:
            name = context.dataset.class_names[label]
            raise NotMeasurableError(f"class {name!r} has {len(rows)} training images, {wanted} are needed")
        parts[label in forgotten].append(random.permutation(rows)[:wanted])
    return Shots(np.concatenate(parts[True]), np.concatenate(parts[False]))


def fine_tune(context: Context, classifier: Tensor, shots: Shots, random: np.random.Generator) -> Clip:
    """A copy of the model whose image encoder was trained on the shots by the recipe of this file."""
    clip = context.clip.copy()
    clip.model.requires_grad_(False)
    clip.visual.requires_grad_(True)
    clip.model.eval()
    optimizer = torch.optim.AdamW(clip.visual.parameters(), lr=RATES[clip.scale], weight_decay=0.0, fused=True)
    weights = classifier.to(clip.device)
    labels = context.labels("train")
    images = context.dataset.split("train").images
    for rows in _batches(shots, random):
        batch = clip.preprocessing(images.read(rows).to(clip.device))
        embedded = functional.normalize(clip.encode_image(batch).float(), dim=-1)
        logits = clip.logit_scale.detach() * embedded @ weights.T
        loss = functional.cross_entropy(logits, labels[torch.from_numpy(rows)].to(clip.device))
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


def _test_images(context: Context) -> tuple[Tensor, Tensor]:
    """Up to `TEST_IMAGES` forgotten test images as network input, and their labels."""
    rows = np.flatnonzero(context.forget.numpy())[:TEST_IMAGES]
    images = context.dataset.split("test").images.read(rows)
    return context.clip.preprocessing(images), context.labels("test")[torch.from_numpy(rows)]


@torch.inference_mode()
def accuracy(clip: Clip, images: Tensor, labels: Tensor, classifier: Tensor) -> float:
    """Zero-shot accuracy on these images, in [0, 1]."""
    predicted = [
        (clip.encode_image(part.to(clip.device)).float() @ classifier.to(clip.device).T).argmax(dim=-1).cpu()
        for part in torch.split(images, 256)
    ]
    return float(multiclass_accuracy(torch.cat(predicted), labels, num_classes=classifier.shape[0], average="micro"))
