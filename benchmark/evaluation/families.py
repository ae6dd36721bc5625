"""The families of further measures: what a suite's `measures` names. Light: nothing is computed here.

Each is a file of this folder with a function `measure(context)`, which gives the metrics named here, or raises
`NotMeasurableError` where a cell cannot give them: they are then empty, and the record says why.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datamodules.common.errors import BenchmarkError

if TYPE_CHECKING:
    from benchmark.evaluation.context import Context
    from benchmark.evaluation.evaluate import Metrics

BASE, SCORES = "base", "scores"
"""The families that every cell has: accuracies and recalls, and the scores made of them (`evaluate.py`)."""
SHOTS = (1, 2, 4, 8, 16)
"""How many images of the forgotten class an attacker has (relearning)."""
BITS = (8, 4)
"""To how many bits weights are rounded (quantised)."""


@dataclass(frozen=True)
class Family:
    """A family of measures.

    Attributes:
        name: As a suite names it; also the name of its file.
        title: One line for `list measures`.
        metrics: The full names of what it gives.
        needs: "train" data, the "model" (so that it cannot be computed from kept outputs), a "retrained" model,
            "shadows" (shadow models, from which the method unlearns too).
        reads: The families whose numbers it reads; it is computed from numbers alone where it is one of `from_numbers`.
        from_numbers: Whether recorded numbers are all that it needs.
        data: A folder of this project with a YAML file for each data set that it reads; empty for none.
    """

    name: str
    title: str
    metrics: tuple[str, ...]
    needs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    from_numbers: bool = False
    data: str = ""

    def load(self) -> Callable[[Context], Metrics]:
        """The function that computes it."""
        module = importlib.import_module(f"benchmark.evaluation.measures.{self.name}")
        function: Callable[[Context], Metrics] = module.measure
        return function


def _both(*names: str) -> tuple[str, ...]:
    return tuple(f"{part}/{name}" for name in names for part in ("forget", "retain"))


_LIST = (
    Family(
        "linear_probe",
        "what a linear classifier on the image features still tells of the class",
        _both("probe_acc1", "trunk_probe_acc1"),
        ("train", "model"),
    ),
    Family(
        "knn_probe",
        "what the nearest training images still tell of the class",
        _both("knn_acc1", "trunk_knn_acc1"),
        ("train", "model"),
    ),
    Family("image_retrieval_map", "whether images of the class still find each other", ("forget/image_map",)),
    Family(
        "trunk_retrieval_map",
        "the same by the features before the last layer, where an edit of that layer hides nothing",
        ("forget/trunk_map",),
        ("model",),
    ),
    Family(
        "true_name_rank",
        "where the true name stands among all names",
        ("forget/true_name_rank", "forget/true_name_margin", "forget/acc5"),
    ),
    Family("confusion_audit", "where the images of the class go", ("forget/confusion_entropy",)),
    Family("damage", "what the retained classes lose that lose most", ("retain/worst10_drop",)),
    Family(
        "neighbours",
        "what the classes next to the forgotten one lose, and whether its images are taken for them",
        ("retain/near_drop", "retain/far_drop", "forget/neighbour_share", "forget/group_acc1"),
    ),
    Family(
        "paraphrases",
        "whether the class answers to synonyms, descriptions and other templates",
        ("forget/worst_prompt_acc1",),
        ("model",),
        data="datamodules/paraphrases",
    ),
    Family(
        "synonyms",
        "whether images of a concept are found by captions that name it by another word",
        ("forget/synonym_mean_recall",),
        ("model",),
        data="datamodules/synonyms",
    ),
    Family(
        "soft_prompt",
        "whether a few learned tokens bring the class back",
        ("forget/soft_prompt_acc1", "retain/soft_prompt_acc1"),
        ("train", "model"),
    ),
    Family(
        "relearning",
        "what a few images of the class, or none, bring back",
        _both(*(f"relearn_acc1@{shots}" for shots in (*SHOTS, 0))),
        ("train", "model"),
    ),
    Family(
        "quantised",
        "what rounding the weights to 8 and 4 bits brings back",
        _both(*(f"quantised_acc1@{bits}" for bits in BITS)),
        ("model",),
    ),
    Family(
        "pruned",
        "what comes back when the smallest weights are set to zero",
        _both("pruned_acc1"),
        ("train", "model"),
    ),
    Family(
        "noised",
        "what comes back when a little noise is added to the weights",
        _both("noised_acc1"),
        ("train", "model"),
    ),
    Family(
        "cka",
        "how alike the image features are to those of the original and of the retrained model",
        ("score/cka_original", "score/cka_retrained"),
        ("model", "retrained"),
    ),
    Family(
        "forget_quality",
        "whether the margins of the forgotten images could be those of the retrained model",
        ("score/forget_quality",),
        ("model", "retrained"),
    ),
    Family(
        "retrain_gap",
        "how far the measures are from those of the retrained model",
        ("score/retrain_gap",),
        ("retrained",),
        reads=(
            *(BASE, "linear_probe", "knn_probe", "image_retrieval_map", "paraphrases", "soft_prompt", "relearning"),
        ),
        from_numbers=True,
    ),
    Family(
        "membership",
        "whether forgotten images can be told from images that were never trained on",
        ("forget/membership_auc", "forget/membership_tpr"),
        ("train", "model", "retrained", "shadows"),
    ),
    Family(
        "robust_score",
        "S with the worst case over prompts, probe and relearning in the place of the forget accuracy",
        ("score/robust",),
        reads=(BASE, "linear_probe", "paraphrases", "soft_prompt", "relearning"),
        from_numbers=True,
    ),
)
FAMILIES: dict[str, Family] = {family.name: family for family in _LIST}
PARTS: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            "relearning_alone",
            "what fine-tuning on the other classes alone brings back: the part of relearning that E needs",
            ("forget/relearn_acc1@0",),
            ("train", "model"),
        ),
    )
}
"""Families that give a part of what another one gives, and cost less: for suites that choose settings. A suite names
them; `measures: all` and `list measures` leave them out."""
EVERY: dict[str, Family] = {**FAMILIES, **PARTS}
"""All that a suite may name."""
DERIVED: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            "quality",
            "what is left, what was lost, and both in one number",
            ("score/residual", "score/damage", "score/quality"),
            ("retrained",),
            reads=(BASE, "image_retrieval_map", "true_name_rank", "paraphrases", "relearning"),
            from_numbers=True,
        ),
    )
}
"""Families that no suite names and no cell measures: they compare records with each other, so they are made when
records are read (`benchmark.leaderboards.scored`)."""


class NotMeasurableError(BenchmarkError):
    """A measure that cannot be computed here, such as a probe of a class without train images.

    Args:
        reason: One line for the reader of the record: what is missing.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def asks_for(need: str, measures: Iterable[str]) -> bool:
    """Whether one of some families of measures needs something, such as the retrained model."""
    return any(need in EVERY[name].needs for name in measures)


def families_with(measures: Collection[str]) -> tuple[str, ...]:
    """The families that a cell's record holds when it is made: those that every cell has, and these."""
    return (BASE, SCORES, *(name for name in EVERY if name in measures))
