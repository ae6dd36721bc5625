"""By which questions a forget set is still found: a name may be gone and the class still be there.

A question finds it in a row's models if they show half or more of what the original shows above models that were
trained without the forget set (our choice):

    (row - retrained) / (original - retrained) >= 1/2

with the means of the board. Where the original and the retrained models are too close for a measure of E
(`benchmark.evaluation.measures.quality.least_reach`) a question tells nothing and is not asked; without retrained
models none is. The questions are those of E that an answer in per cent can be given to, the name as the papers ask for
it, and the features before the last layer: E asks what a model's outputs give away, and an edit of the last layer
leaves those as they were, for whoever has the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from benchmark.evaluation.measures.quality import least_reach
from benchmark.leaderboards.notes import DASH
from benchmark.leaderboards.scored import ORIGINAL
from benchmark.models.registry import PRETRAINING
from benchmark.utils.words import listed

if TYPE_CHECKING:
    from benchmark.leaderboards.boards import Row

BY_NAME, RELEARNED = "forget/acc1", "forget/relearn_acc1@0"
IN_OTHER_WORDS = "forget/worst_prompt_acc1"
LAYER_BEFORE = "forget/trunk_map"
QUESTIONS = {
    BY_NAME: "name",
    IN_OTHER_WORDS: "other words",
    "forget/image_map": "images",
    RELEARNED: "fine-tuning",
    LAYER_BEFORE: "earlier layer",
}
"""By metric, higher means more of the forget set, what is asked in a word or two."""
_AT_LENGTH = {
    "name": "its name",
    "other words": "other words for it",
    "images": "its images",
    "fine-tuning": "its name after fine-tuning on the rest",
    "earlier layer": "its images one layer earlier",
}
HALF = 0.5
DIGITS = 9
"""Of a share: half of the way is half, whatever is lost in the last digits."""
EVERYTHING, NOTHING = "everything", "nothing"


def with_found(rows: Sequence[Row]) -> list[Row]:
    """The rows of a board, each with the questions that find the forget set in it.

    A row that lacks one of the questions asked has none: what was not asked has found nothing.
    """
    ends = ends_of(rows)
    return [replace(row, found_by=_found(row, ends)) for row in rows]


def ends_of(rows: Sequence[Row]) -> dict[str, tuple[float, float]]:
    """By metric of each question that tells something on a board: what retrained models show, and the original."""
    ends = {}
    for metric in QUESTIONS:
        golden = [mean for row in rows if row.regime == PRETRAINING and (mean := row.mean(metric)) is not None]
        whole = [mean for row in rows if row.method == ORIGINAL and (mean := row.mean(metric)) is not None]
        if golden and whole and whole[0] - golden[0] >= least_reach(metric):
            ends[metric] = (golden[0], whole[0])
    return ends


def share(row: Row, metric: str, ends: tuple[float, float]) -> float | None:
    """How much of the forget set a question finds: 0 as in retrained models, 1 as in the original; None if unknown."""
    mean = row.mean(metric)
    return None if mean is None else round((mean - ends[0]) / (ends[1] - ends[0]), DIGITS)


def finds(row: Row, metric: str, ends: tuple[float, float]) -> bool | None:
    """Whether a question finds half of the forget set or more; None if unknown."""
    found = share(row, metric, ends)
    return None if found is None else found >= HALF


def _found(row: Row, ends: dict[str, tuple[float, float]]) -> tuple[str, ...] | None:
    answers = {QUESTIONS[metric]: finds(row, metric, of) for metric, of in ends.items()}
    if not answers or None in answers.values():
        return None
    finding = tuple(question for question, found in answers.items() if found)
    return (EVERYTHING,) if len(finding) == len(answers) else finding


def found_text(found_by: Sequence[str] | None) -> str:
    """The questions in a table; "nothing" where none finds the forget set, empty where they were not asked."""
    return "" if found_by is None else ", ".join(found_by) or NOTHING


def found_words(found_by: Sequence[str]) -> str:
    """The questions in a sentence, after "is still found by"."""
    return listed([_AT_LENGTH.get(question, question) for question in found_by], len(QUESTIONS)) or NOTHING


def found_note(rows: Sequence[Row]) -> list[str]:
    """What the column says, as a note of a board; none where no row has it."""
    if all(row.found_by is None for row in rows):
        return []
    questions = "; ".join(f"{word}: {_AT_LENGTH[word]}" for word in (QUESTIONS[metric] for metric in ends_of(rows)))
    return [
        f"{DASH} found by: what still finds half or more of the forget set ({questions}); half is the middle between "
        "models trained without it and the original"
    ]
