"""Requests on which no row can have Q: left out of Q and E for all rows alike, if they are few."""

from __future__ import annotations

import pytest

from benchmark.leaderboards.against import board_against, row_values
from benchmark.leaderboards.boards import Board, build_scored
from benchmark.leaderboards.findings import certainty
from benchmark.leaderboards.unscored import unscored
from benchmark.records.record import Metric, Record

LEVEL = {"original": 0.0, "strong": 0.9, "weak": 0.5}


def cell(method: str, name: str, quality: float | None, why: str = "the original knows nothing of it") -> Record:
    about = {
        **{"suite": "s", "method": method, "model": "m", "dataset": "d", "seed": 0, "hparams": {}, "device": "cpu"},
        "request": {"classes": [name]},
    }
    shift = 0.001 * len(name) + 0.01 * (method == "weak") * (ord(name[-1]) % 3)
    residual = None if quality is None else 1 - quality
    metrics = {
        "score/quality": Metric(None if quality is None else quality + shift),
        "score/residual": Metric(residual),
        "score/damage": Metric(0.1),
        "score/kravets": Metric(0.25 if method == "original" else 0.2),
        "forget/acc1": Metric(0.5 if quality is None else 0.1),
    }
    report = {"not_measured": {"quality": why}} if quality is None else {}
    regime = "none" if method == "original" else "names"
    return Record(2, f"{method} {name}", about, metrics, {}, {}, {"device": "cpu", "regime": regime}, report)


def board(count: int, unknown: int, *, one_more: str = "") -> Board:
    """Of some requests, of which some have Q nowhere, and one more only of `one_more` none."""
    (made,) = build_scored(records_of(count, unknown, one_more), references=("original",))
    return made


def records_of(count: int, unknown: int, one_more: str = "") -> list[Record]:
    names = [f"class {number}" for number in range(count)]
    return [
        cell(method, name, None if number < unknown or (method == one_more and number == count - 1) else level)
        for method, level in LEVEL.items()
        for number, name in enumerate(names)
    ]


def test_few_of_them_are_left_out_of_q_and_e_and_a_note_says_which_and_why() -> None:
    made = board(12, 2)
    assert (made.ranked_by, made.requests, made.ranking_requests) == ("score/quality", 12, 10)
    assert made.unscored == ("class 0", "class 1")
    strong = next(row for row in made.rows if row.method == "strong")
    for metric, n in (("score/quality", 10), ("score/residual", 10), ("score/damage", 12), ("forget/acc1", 12)):
        interval = strong.metrics[metric]
        assert interval is not None and interval.n == n, metric
    assert strong.mean("score/residual") == pytest.approx(0.1)
    assert strong.mean("forget/acc1") == pytest.approx((2 * 0.5 + 10 * 0.1) / 12), "other means are over all"
    assert strong.rank == 1 and strong.tier == 1
    (note,) = [note for note in made.notes if "no row can have them" in note]
    assert "Q and E are over 10 of 12 requests: on class 0, class 1 " in note
    assert note.endswith("(class 0: the original knows nothing of it)")
    assert certainty(made).startswith("10 requests tell ")


def test_what_is_left_must_be_enough_to_rank() -> None:
    made = board(11, 2)
    assert made.ranked_by == "score/quality" and made.ranking_requests == 9
    assert certainty(made) == "9 requests are too few to rank: the order may be chance."
    assert any("too few requests to rank: 9 requests" in note for note in made.notes)


def test_with_more_of_them_the_board_has_no_q() -> None:
    made = board(12, 3)
    assert made.ranked_by == "score/kravets" and made.unscored == () and made.ranking_requests == 12
    assert any("for want of Q: the original knows nothing of it" in note for note in made.notes)


def test_a_gap_of_one_method_is_no_reason_to_leave_a_request_out() -> None:
    made = board(12, 2, one_more="weak")
    weak = next(row for row in made.rows if row.method == "weak")
    assert made.unscored == ("class 0", "class 1") and weak.rank is None and weak.mean("score/quality") is None


def test_nothing_is_left_out_of_what_is_whole() -> None:
    assert board(12, 0).unscored == () and unscored([]) == ()
    assert not any("no row can have them" in note for note in board(12, 0).notes)


@pytest.mark.parametrize(("metric", "requests"), [("score/quality", 10), ("score/kravets", 12)])
def test_one_row_against_others_counts_the_requests_that_have_the_metric(metric: str, requests: int) -> None:
    made, records = board(12, 2), records_of(12, 2)
    against = board_against(made, row_values(made, records, metric), "strong", metric)
    assert against.requests == requests and len(against.rows) == 2
