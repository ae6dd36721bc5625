"""Which metrics a board shows, in which order; a column is there if any record of the board has its metric."""

from __future__ import annotations

from collections.abc import Collection

RANKED_BY = "score/kravets"
MEMBERSHIP = ("forget/membership_auc", "forget/membership_tpr")
CLASS_COLUMNS = (
    RANKED_BY,
    "score/harmonic",
    "forget/acc1",
    "retain/acc1",
    "other/acc1",
    "forget/mean_recall",
    "retain/mean_recall",
    *MEMBERSHIP,
)
DEEP_COLUMNS = (
    RANKED_BY,
    "score/robust",
    "score/retrain_gap",
    "forget/acc1",
    "forget/worst_prompt_acc1",
    "forget/soft_prompt_acc1",
    "forget/probe_acc1",
    "forget/relearn_acc1@16",
    "forget/relearn_acc1@0",
    "retain/acc1",
    "retain/worst10_drop",
    "other/acc1",
    *MEMBERSHIP,
)
"""For requests by class where the attacks were made: what a method hides beside what it removes."""
CONCEPT_COLUMNS = (
    RANKED_BY,
    "score/harmonic",
    "forget/mean_recall",
    "retain/mean_recall",
    "forget/image_retrieval_recall@5",
    "retain/image_retrieval_recall@5",
    "forget/text_retrieval_recall@5",
    "retain/text_retrieval_recall@5",
    "other/acc1",
)


def columns_of(kind: str, names: Collection[str]) -> tuple[str, ...]:
    """The columns of a board.

    Args:
        kind: Of its requests: "class" or "concept".
        names: Of the metrics that its records have.
    """
    by_class = DEEP_COLUMNS if "score/robust" in names else CLASS_COLUMNS
    shown = CONCEPT_COLUMNS if kind == "concept" else by_class
    return tuple(name for name in shown if name in names)
