"""What still finds a forget set: shares between models trained without it and the original, question by question."""

from __future__ import annotations

import csv
import io

import pytest
from world import command

from benchmark.leaderboards.boards import Row
from benchmark.leaderboards.found import ends_of, found_note, found_text, found_words, share, with_found
from benchmark.utils.statistics import Interval

NAME, WORDS, IMAGES, TUNED, EARLIER = (
    *("forget/acc1", "forget/worst_prompt_acc1", "forget/image_map"),
    *("forget/relearn_acc1@0", "forget/trunk_map"),
)


def row(method: str, regime: str = "names", **means: float | None) -> Row:
    metrics = {
        metric: None if (mean := means.get(short)) is None else Interval(mean, None, None, 10)
        for metric, short in ((NAME, "name"), (WORDS, "words"), (IMAGES, "images"), (TUNED, "tuned"), (EARLIER, "deep"))
    }
    return Row(method, regime, False, None, 10, 10, metrics, {})


ORIGINAL = row("original", "none", name=1.0, words=1.0, images=0.7, tuned=0.9, deep=0.6)
AGAIN = row("again", "pretraining", name=0.0, words=0.4, images=0.3, tuned=0.1, deep=0.4)


def found(*rows: Row) -> dict[str, tuple[str, ...] | None]:
    return {each.method: each.found_by for each in with_found([ORIGINAL, AGAIN, *rows])}


def test_half_way_from_the_retrained_models_to_the_original_is_found() -> None:
    edge = row("edge", name=0.5, words=0.7, images=0.49, tuned=0.51, deep=0.39)
    assert found(edge)["edge"] == ("name", "other words", "fine-tuning")
    assert share(edge, WORDS, (0.4, 1.0)) == pytest.approx(0.5)
    assert share(edge, EARLIER, (0.4, 0.6)) == pytest.approx(-0.05), "less than in models that never saw it"


def test_the_ends_are_found_by_all_and_by_none() -> None:
    assert found()["original"] == ("everything",) and found()["again"] == ()
    assert (found_text(("everything",)), found_text(()), found_text(None)) == ("everything", "nothing", "")
    assert found_words(("name", "images", "earlier layer")) == "its name, its images and its images one layer earlier"
    assert found_words(("everything",)) == "everything" and found_words(()) == "nothing"


def test_what_was_not_asked_has_found_nothing_so_it_clears_nobody() -> None:
    unasked = row("unasked", name=0.0, words=0.4, images=0.3, tuned=0.1)
    assert found(unasked)["unasked"] is None, "the layer before was asked of the others"
    shallow = [row(each.method, each.regime, name=each.mean(NAME)) for each in (ORIGINAL, AGAIN)]
    assert with_found([*shallow, row("a", name=0.1)])[-1].found_by == ()


def test_a_question_that_hardly_parts_the_ends_is_not_asked() -> None:
    near = row("again", "pretraining", name=0.0, words=0.91, images=0.3, tuned=0.1, deep=0.4)
    assert WORDS not in ends_of([ORIGINAL, near]) and WORDS in ends_of([ORIGINAL, AGAIN])
    assert not ends_of([ORIGINAL]) and not ends_of([AGAIN]), "nothing to compare with"
    assert found_note([ORIGINAL, row("a", name=0.0)]) == []
    (note,) = found_note(with_found([ORIGINAL, near]))
    assert "fine-tuning: its name after fine-tuning on the rest" in note and "other words" not in note


def test_the_reference_boards_show_it_in_every_format() -> None:
    table = command("leaderboard", "--reference", "--suite", "cifar100", "--format", "csv")
    rows = {each["method"]: each["found_by"] for each in csv.DictReader(io.StringIO(table.out))}
    assert rows["original"] == "everything" and rows["retrain"] == "nothing" and "earlier layer" in rows["ccup"]
    shown = command("leaderboard", "--reference", "--suite", "cifar100", "--format", "markdown").out
    assert "| found by |" in shown and "– found by: what still finds half" in shown
    without = command("leaderboard", "--reference", "--suite", "caltech101", "--format", "markdown").out
    assert "found by" not in without, "no model was trained without these classes"
