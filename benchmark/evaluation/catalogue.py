"""The measures by name: what each means, its range, and which way is better. Light: nothing is computed here.

A metric of a record is a measure on a part of the data: `forget/acc1`, `retain/image_retrieval_recall@5`,
`other/shapes_colours/acc1` (one other data set), `other/acc1` (mean over the others), `score/kravets`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from benchmark.evaluation.families import BITS, SHOTS
from datamodules.common.errors import UnknownNameError

Better = Literal["lower", "higher", "none"]
PARTS = ("forget", "retain", "other")
ARROWS: dict[Better, str] = {"lower": "↓", "higher": "↑", "none": ""}


@dataclass(frozen=True)
class Measure:
    """What a measure is.

    Attributes:
        name: As in a metric's name, after the part of the data.
        title: One line for `list measures`.
        unit: "fraction", printed in per cent, or "score", printed as it is.
        low: The smallest value it can take.
        high: The largest.
        forget: Which way is better on the forget set.
        retain: Which way is better on the retain set and the other data sets. A score is over
            all of them: both fields agree.
        needs: What must be at hand: "classification" or "retrieval" data, the "original" model's values.
    """

    name: str
    title: str
    unit: Literal["fraction", "score"]
    low: float
    high: float
    forget: Better
    retain: Better
    needs: tuple[str, ...]


@dataclass(frozen=True)
class Column:
    """How a metric stands at the head of a table.

    Attributes:
        head: Short name.
        direction: "↓" where lower is better, "↑" where higher is.
        percent: Whether its fractions are printed in per cent.
    """

    head: str
    direction: str
    percent: bool


def _fraction(name: str, title: str, need: str) -> Measure:
    return Measure(name, title, "fraction", 0.0, 1.0, "lower", "higher", (need,))


_RETRIEVED = {"image": "the caption finds its image", "text": "the image finds one of its captions"}

MEASURES: tuple[Measure, ...] = (
    _fraction("acc1", "zero-shot top-1 accuracy, argmax over all class names", "classification"),
    _fraction("mean_per_class_recall", "recall of each class, averaged over classes", "classification"),
    *(
        _fraction(f"{kind}_retrieval_recall@{k}", f"{meaning} among its {k} nearest", "retrieval")
        for kind, meaning in _RETRIEVED.items()
        for k in (1, 5, 10)
    ),
    _fraction("mean_recall", "mean of the six retrieval recalls", "retrieval"),
    _fraction("probe_acc1", "accuracy of a linear probe on the image embeddings, trained on true labels", "train data"),
    _fraction("trunk_probe_acc1", "the same on the features before the visual projection", "train data"),
    _fraction("knn_acc1", "accuracy of the nearest train images on the image embeddings", "train data"),
    _fraction("trunk_knn_acc1", "the same on the features before the visual projection", "train data"),
    _fraction(
        "image_map", "mean average precision of images of a class as queries for their own class", "classification"
    ),
    _fraction("trunk_map", "the same on the features before the visual projection", "classification"),
    Measure(
        "true_name_rank",
        "median rank of the true name among all names, 1 for the best",
        *("score", 1.0, math.inf, "higher", "lower", ("classification",)),
    ),
    Measure(
        "true_name_margin",
        "mean cosine to the true name less that to the best other name",
        *("score", -2.0, 2.0, "lower", "higher", ("classification",)),
    ),
    _fraction("acc5", "zero-shot top-5 accuracy", "classification"),
    Measure(
        "confusion_entropy",
        "entropy of the classes that the forgotten images are given, as a share of the largest possible",
        *("fraction", 0.0, 1.0, "none", "none", ("classification",)),
    ),
    Measure(
        "worst10_drop",
        "mean drop of the ten retained classes that lost most recall",
        *("fraction", -1.0, 1.0, "none", "lower", ("classification", "original")),
    ),
    Measure(
        "near_drop",
        "mean drop in recall of the classes next to the forgotten one: of its superclass, or nearest by name",
        *("fraction", -1.0, 1.0, "none", "lower", ("classification", "original")),
    ),
    Measure(
        "far_drop",
        "mean drop in recall of all other retained classes",
        *("fraction", -1.0, 1.0, "none", "lower", ("classification", "original")),
    ),
    Measure(
        "neighbour_share",
        "share of the forgotten images that are given the name of a neighbour",
        *("fraction", 0.0, 1.0, "none", "none", ("classification", "original")),
    ),
    Measure(
        "group_acc1",
        "share of the forgotten images that are given their own name or that of a neighbour",
        *("fraction", 0.0, 1.0, "lower", "none", ("classification", "original")),
    ),
    _fraction(
        "worst_prompt_acc1",
        "accuracy under the wording that finds the class best: synonyms, other templates",
        "paraphrases",
    ),
    _fraction("soft_prompt_acc1", "accuracy with a prompt whose words were learned on 16 images a class", "train data"),
    *(
        _fraction(f"relearn_acc1@{shots}", f"accuracy after fine-tuning on {shots} images of the class", "train data")
        for shots in SHOTS
    ),
    _fraction("relearn_acc1@0", "accuracy after fine-tuning on retained images alone", "train data"),
    *(
        _fraction(f"quantised_acc1@{bits}", f"accuracy with weights rounded to {bits} bits", "classification")
        for bits in BITS
    ),
    _fraction("pruned_acc1", "accuracy without the smallest weights of each tensor", "train data"),
    _fraction("noised_acc1", "accuracy with a little noise on the weights", "train data"),
    Measure(
        "synonym_mean_recall",
        "mean of the six retrieval recalls with the best synonym in the place of the concept",
        *("fraction", 0.0, 1.0, "lower", "none", ("retrieval", "synonyms")),
    ),
    Measure(
        "membership_auc",
        "AUC of telling forgotten images from images that were never trained on (U-LiRA); 0.5: they cannot be told",
        *("fraction", 0.0, 1.0, "none", "none", ("retrained model", "shadow models")),
    ),
    Measure(
        "membership_tpr",
        "share of forgotten images told at 1 % false alarms (U-LiRA); 0.01 is chance",
        *("fraction", 0.0, 1.0, "lower", "none", ("retrained model", "shadow models")),
    ),
    Measure(
        "score/cka_original",
        "linear CKA of the image embeddings to the original's",
        *("fraction", 0.0, 1.0, "none", "none", ("original",)),
    ),
    Measure(
        "score/cka_retrained",
        "linear CKA of the image embeddings to the retrained model's",
        *("fraction", 0.0, 1.0, "higher", "higher", ("retrained model",)),
    ),
    Measure(
        "score/forget_quality",
        "p value of the margins of forgotten images being those of the retrained model (Kolmogorov-Smirnov)",
        *("score", 0.0, 1.0, "higher", "higher", ("retrained model",)),
    ),
    Measure(
        "score/retrain_gap",
        "mean absolute difference of the measures to the retrained model's",
        *("fraction", 0.0, 1.0, "lower", "lower", ("retrained model",)),
    ),
    Measure(
        "score/robust",
        "S with the worst case over prompts, probe and relearning at 16 images in the place of the forget accuracy",
        *("score", 0.0, math.inf, "lower", "lower", ("original", "train data", "paraphrases")),
    ),
    Measure(
        "score/residual",
        "E: what is left of the forget set, the mean over the informative measures of (model - retrained) / "
        "(original - retrained)",
        *("fraction", 0.0, 1.0, "lower", "lower", ("original", "train data", "paraphrases")),
    ),
    Measure(
        "score/damage",
        "D: mean relative drop on what had to stay: retained classes, other data sets, retrieval",
        *("fraction", 0.0, 1.0, "lower", "lower", ("original",)),
    ),
    Measure(
        "score/quality",
        "Q: harmonic mean of 1 - E and 1 - D; doing nothing scores 0, a perfect retraining 1",
        *("score", 0.0, 1.0, "higher", "higher", ("original", "train data", "paraphrases")),
    ),
    Measure(
        "score/kravets",
        "S, as published: forget / original forget, plus the relative drops on retained and other data, averaged; "
        "doing nothing scores 1 / (2 + number of other data sets) "
        "(Kravets & Namboodiri, WACV 2025, arXiv 2407.07485)",
        "score",
        0.0,
        # No upper bound: forget accuracy may rise over the original's.
        math.inf,
        "lower",
        "lower",
        ("original",),
    ),
    Measure(
        "score/harmonic",
        "H: harmonic mean of (1 - forget) and retain",
        "fraction",
        0.0,
        1.0,
        "higher",
        "higher",
        (),
    ),
)

_BY_NAME = {measure.name: measure for measure in MEASURES}
_HEADS = {
    "acc1": "acc",
    "mean_per_class_recall": "class recall",
    "mean_recall": "mean R",
    "score/quality": "Q",
    "score/residual": "E",
    "score/damage": "D",
    "score/kravets": "S",
    "score/harmonic": "H",
    "score/robust": "S robust",
    "score/forget_quality": "forget p",
    "score/retrain_gap": "gap",
    "score/cka_original": "CKA original",
    "score/cka_retrained": "CKA retrained",
    "probe_acc1": "probe",
    "trunk_probe_acc1": "trunk probe",
    "knn_acc1": "kNN",
    "trunk_knn_acc1": "trunk kNN",
    "image_map": "mAP",
    "trunk_map": "trunk mAP",
    "worst_prompt_acc1": "worst prompt",
    "soft_prompt_acc1": "soft prompt",
    "membership_auc": "member AUC",
    "membership_tpr": "member TPR",
    "true_name_rank": "rank of name",
    "true_name_margin": "margin of name",
    "confusion_entropy": "entropy",
    "worst10_drop": "worst 10",
    "near_drop": "near drop",
    "far_drop": "far drop",
    "neighbour_share": "as neighbour",
    "group_acc1": "group acc",
    "synonym_mean_recall": "synonym R",
    "pruned_acc1": "pruned",
    "noised_acc1": "noised",
    **{f"quantised_acc1@{bits}": f"{bits} bits" for bits in BITS},
    **{f"relearn_acc1@{shots}": f"relearn {shots}" for shots in (0, *SHOTS)},
}


def find(metric: str) -> Measure | None:
    """The measure of a metric's full name; None where the catalogue has none."""
    part, _, rest = metric.partition("/")
    if part == "score":
        return _BY_NAME.get(metric)
    name = rest.rpartition("/")[2] if part == "other" else rest
    return _BY_NAME.get(name) if part in PARTS else None


def better(metric: str) -> Better:
    """Which way of a metric is better; "none" where neither is, or the catalogue does not have it."""
    measure = find(metric)
    if measure is None:
        return "none"
    return measure.forget if metric.startswith("forget/") else measure.retain


def describe(metric: str) -> Column:
    """How a metric stands at the head of a table.

    Args:
        metric: Full name, such as "forget/acc1" or "score/kravets".

    Raises:
        UnknownNameError: If it is not a part of the data and a measure of the catalogue.
    """
    measure = find(metric)
    if measure is None:
        raise UnknownNameError(
            "metric", metric, [m.name if "/" in m.name else f"{p}/{m.name}" for m in MEASURES for p in PARTS]
        )
    part, _, rest = metric.partition("/")
    short = _HEADS.get(measure.name) or measure.name.replace("_retrieval_recall@", " R@")
    words = [] if part == "score" else [part, *rest.split("/")[:-1]]
    return Column(" ".join([*words, short]), ARROWS[better(metric)], measure.unit == "fraction")
