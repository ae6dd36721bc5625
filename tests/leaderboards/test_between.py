"""What changes from one board to another: on boards made so that the answer is known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmark.leaderboards.between import between, between_all
from benchmark.leaderboards.boards import Board, Row
from benchmark.leaderboards.grouping import BoardKey
from benchmark.utils.statistics import Interval

DRAWN = {"clean": 0.9, "shallow": 0.7, "deep": 0.6, "burnt": 0.4, "slow": 0.2}


def board(
    scores: dict[str, float], dataset: str = "drawings", requests: int = 12, ranked_by: str = "score/quality"
) -> Board:
    best = sorted(scores, key=lambda name: -scores[name])
    rows = [
        Row(name, "names", False, best.index(name) + 1, 12, 12, {ranked_by: Interval(q, None, None, requests)}, {})
        for name, q in scores.items()
    ]
    filtered = Row("filter", "none", True, None, 12, 12, {"score/quality": Interval(0.0, None, None, requests)}, {})
    key = BoardKey("s", "m", dataset, "class", "fp32", "cpu")
    return Board(key, requests, 1, ("score/quality",), (), (*rows, filtered), (), ranked_by=ranked_by)


def test_the_same_order_is_said_to_be_the_same() -> None:
    (said,) = between(board(DRAWN), board(DRAWN, "photos"))
    assert said.startswith("5 methods have Q on drawings and on photos; Kendall's tau between the two orders is 1.00 ")
    assert said.endswith("`clean` leads them on both.")


def test_an_order_that_turns_round_and_the_methods_that_move() -> None:
    photos = {name: 1.0 - q for name, q in DRAWN.items()}
    orders, better, worse = between(board(DRAWN), board({**photos, "new": 0.99}, "photos"))
    assert "tau between the two orders is -1.00 " in orders and orders.startswith("5 methods")
    assert orders.endswith("of them `clean` leads on drawings and is place 5 on photos, where `slow` leads.")
    assert better.startswith("Much better on photos than on drawings (by 0.1 or more): ")
    assert better.partition(": ")[2] == "`slow` (Q 0.200 and 0.800) and `burnt` (Q 0.400 and 0.600)."
    assert worse.partition(": ")[2] == (
        "`clean` (Q 0.900 and 0.100), `shallow` (Q 0.700 and 0.300) and `deep` (Q 0.600 and 0.400)."
    )
    assert "filter" not in "".join([orders, better, worse])


def test_a_small_move_is_not_named() -> None:
    near = {name: q + 0.09 for name, q in DRAWN.items()}
    assert len(between(board(DRAWN), board(near, "photos"))) == 1


@pytest.mark.parametrize(
    "other",
    [
        board({name: DRAWN[name] for name in list(DRAWN)[:4]}, "photos"),
        board(DRAWN, "photos", requests=9),
        board(DRAWN),
    ],
    ids=["four methods", "nine requests", "the same data"],
)
def test_boards_that_tell_nothing_of_each_other_are_left_out(other: Board) -> None:
    assert between_all([board(DRAWN), other]) == []
    ((first, second, lines),) = between_all([board(DRAWN), other, board(DRAWN, "films")])[:1]
    assert (first.key.dataset, second.key.dataset) == ("drawings", "films") and len(lines) == 1


def test_where_one_board_has_no_q_the_orders_by_s_are_compared_and_less_is_better() -> None:
    worst_first = {name: 1.0 - q for name, q in DRAWN.items()}
    captions = board(worst_first, "captions", ranked_by="score/kravets")
    by_s = {row.method: 0.5 - (row.mean("score/quality") or 0.0) / 2 for row in board(DRAWN).rows}
    rows = [
        replace(row, metrics={**row.metrics, "score/kravets": Interval(by_s[row.method], None, None, 12)})
        for row in board(DRAWN).rows
    ]
    drawn = replace(board(DRAWN), rows=tuple(rows))
    ((_, _, lines),) = between_all([drawn, captions])
    assert lines[0].startswith("5 methods have S on drawings and on captions; Kendall's tau between the two orders ")
    assert "by S, as published, is 1.00" in lines[0] and lines[0].endswith("`clean` leads them on both.")
    (worse,) = lines[1:]
    assert worse.startswith("Much worse on captions") and "`slow` (S 0.400 and 0.800)" in worse
    assert between_all([board(DRAWN), captions]) == [], "the drawn board has no S"
