"""The ranks and tiers that a row may hold: what the board shows, and what it says where nothing is known."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_leaderboard import record, rows

from benchmark.leaderboards.boards import Board, build
from benchmark.leaderboards.comparison import standings
from benchmark.leaderboards.notes import TIER_NOTE
from benchmark.leaderboards.tables import render
from benchmark.records.record import Record
from benchmark.utils.statistics import holm, holm_adjusted

REQUESTS = "opqrstuvwxyz"
WOBBLE = (0.00, 0.01, -0.01, 0.005, -0.005, 0.008, -0.008, 0.0, 0.003, -0.003, 0.002)


def clear(base: dict[str, float], requests: str = REQUESTS) -> list[Record]:
    """Methods whose order is the same on each request: a method's wobble is far below the steps between bases."""
    return [
        record(method, request, s=s + WOBBLE[(place * (turn + 1)) % len(WOBBLE)])
        for turn, (method, s) in enumerate(base.items())
        for place, request in enumerate(requests)
    ]


def ranges(board: Board) -> dict[str, tuple[int | None, int | None]]:
    return {row.method: (row.rank_best, row.rank_worst) for row in board.rows}


def tiers(board: Board) -> dict[str, int | None]:
    return {row.method: row.tier for row in board.rows}


def test_rows_that_differ_hold_their_rank_and_twins_share() -> None:
    (board,) = build(clear({"best": 0.1, "twin": 0.5, "other": 0.501, "worst": 0.9}))
    assert ranges(board) == {"best": (1, 1), "twin": (2, 3), "other": (2, 3), "worst": (4, 4)}
    assert tiers(board) == {"best": 1, "twin": 2, "other": 2, "worst": 3}
    lines = [line for line in render([board], "markdown").splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")][:3] for line in lines]
    assert cells[0] == ["#", "tier", "method"]
    cells = [[rank.removeprefix("◆ "), *rest] for rank, *rest in cells]
    assert cells[2:] == [["1", "1", "best"], ["2", "2", "twin"], ["3", "2", "other"], ["4", "3", "worst"]]
    assert TIER_NOTE in board.notes and not any("by chance" in note or "be chance" in note for note in board.notes)


def test_a_tier_is_what_cannot_be_told_from_its_first_row() -> None:
    """c varies so much that it is told from no one: it stays in the first tier although its mean is below that of b."""
    rows = {
        "a": {q: {0: 0.1 + w} for q, w in zip(REQUESTS, (*WOBBLE, 0.0), strict=True)},
        "b": {q: {0: 0.3 - w} for q, w in zip(REQUESTS, (*WOBBLE, 0.0), strict=True)},
        "c": {q: {0: 0.4 + 300 * w} for q, w in zip(REQUESTS, (*WOBBLE, 0.0), strict=True)},
    }
    found = standings(rows)
    assert found.tiers == {"a": 1, "c": 1, "b": 2} and found.apart == {("a", "b")}
    assert found.ranges == {"a": (1, 2), "b": (2, 3), "c": (1, 3)}


def test_a_row_that_is_in_a_tier_for_its_spread_alone_is_marked() -> None:
    """Rows of three tiers lie before `loose`, which is told from no one: its place in the first says little."""
    wobble = (*WOBBLE, 0.0)
    rows = {
        name: {q: {0: mean + sign * w} for q, w in zip(REQUESTS, wobble, strict=True)}
        for name, mean, sign in (("a", 0.1, 1), ("b", 0.3, -1), ("c", 0.5, 1), ("loose", 0.6, 300))
    }
    found = standings(rows)
    assert found.tiers == {"a": 1, "b": 2, "c": 3, "loose": 1} and found.wide == {"loose"}
    early = standings({name: values for name, values in rows.items() if name != "c"})
    assert early.tiers["loose"] == 1 and not early.wide, "a row of the next tier alone lies before it"


def test_where_higher_is_better_the_order_is_turned() -> None:
    rows = {
        name: {q: {0: base + w} for q, w in zip(REQUESTS, (*WOBBLE, 0.0), strict=True)}
        for name, base in (("low", 0.2), ("high", 0.8))
    }
    rows["high"] = {q: {0: value[0] + 0.001 * turn} for turn, (q, value) in enumerate(rows["high"].items())}
    assert standings(rows, "higher").ranges == {"high": (1, 1), "low": (2, 2)}
    assert standings(rows, "lower").tiers == {"low": 1, "high": 2}


@pytest.mark.parametrize(("count", "words"), [(1, "1 request,"), (2, "2 requests,"), (9, "9 requests,")])
def test_too_few_requests_have_no_ranges_and_the_board_says_so(count: int, words: str) -> None:
    (board,) = build(clear({"best": 0.1, "middle": 0.4, "worst": 0.8}, REQUESTS[:count]))
    assert set(ranges(board).values()) == {(None, None)} and set(tiers(board).values()) == {None}
    assert [row.rank for row in board.rows] == [1, 2, 3]
    assert any(f"too few requests to rank: {words}" in note for note in board.notes) and TIER_NOTE not in board.notes
    assert "| tier |" not in render([board], "markdown")


def test_a_skewed_difference_is_told_below_the_board() -> None:
    even = clear({"best": 0.1, "worst": 0.9})
    assert not any("skewed" in note for note in build(even)[0].notes)
    one = [record("best", q, s=0.1) for q in REQUESTS] + [
        record("worst", q, s=0.9 + 2.0 * (place == 0) + 0.001 * place) for place, q in enumerate(REQUESTS)
    ]
    (board,) = build(one)
    assert tiers(board) == {"best": 1, "worst": 2}
    assert any("1 of the 1 pairs" in note and "skewed" in note for note in board.notes)


def test_reference_rows_and_rows_without_a_rank_have_no_range() -> None:
    records = [*clear({"original": 0.01, "best": 0.1, "worst": 0.9}), record("part", "x", s=0.0)]
    (board,) = build(records, references={"original"})
    assert ranges(board) == {"original": (None, None), "best": (1, 1), "worst": (2, 2), "part": (None, None)}
    text = render([board], "markdown")
    assert "| – |  | original |" in text and "| – |  | part |" in text


def test_one_row_has_no_one_to_be_told_apart_from() -> None:
    (board,) = build(clear({"alone": 0.1}))
    assert ranges(board) == {"alone": (1, 1)} and TIER_NOTE not in board.notes


def test_cells_beyond_the_expected_do_not_count() -> None:
    records = clear({"best": 0.1, "worst": 0.9})
    key = build(records)[0].key
    extra = [record("best", request, 1, s=5.0) for request in REQUESTS]
    (board,) = build([*records, *extra], {(key, "best"): [(request, 0) for request in REQUESTS]})
    assert rows(board)["best"].rank == 1 and ranges(board) == {"best": (1, 1), "worst": (2, 2)}


def test_a_range_that_contradicts_the_means_is_open() -> None:
    """At the one seed pair that both have A is lower on every request; its own third seed puts its mean above."""
    a = {request: {0: 0.1 + w, 1: 0.1 - w, 2: 5.0} for request, w in zip(REQUESTS, WOBBLE, strict=False)}
    b = {request: {0: 0.5, 1: 0.5 + w} for request, w in zip(REQUESTS, WOBBLE, strict=False)}
    found = standings({"a": a, "b": b})
    assert found.ranges == {"a": (1, 2), "b": (1, 2)} and not found.apart


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.floats(0, 2), min_size=10, max_size=10), min_size=1, max_size=5))
def test_the_rank_of_the_mean_is_in_the_range(scores: list[list[float]]) -> None:
    records = [record(f"m{m}", str(q), s=s) for m, row in enumerate(scores) for q, s in enumerate(row)]
    (board,) = build(records)
    for row in board.rows:
        assert row.rank is not None and row.rank_best is not None and row.rank_worst is not None
        assert 1 <= row.rank_best <= row.rank <= row.rank_worst <= len(board.rows)
        assert row.tier is not None and 1 <= row.tier <= row.rank


def test_csv_and_json_gain_fields_and_lose_none() -> None:
    boards = build(clear({"best": 0.1, "worst": 0.9}))
    table = csv.DictReader(io.StringIO(render(boards, "csv")))
    found = list(table)
    assert table.fieldnames is not None and {"rank_best", "rank_worst", "front", "chip"} < set(table.fieldnames)
    assert [(row["rank"], row["rank_best"], row["rank_worst"]) for row in found] == [("1", "1", "1"), ("2", "2", "2")]
    plain = json.loads(render(boards, "json"))[0]["rows"][0]
    assert (plain["rank"], plain["rank_best"], plain["rank_worst"]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("p_values", "rejected"),
    [
        ([], []),
        ([0.04], [True]),
        # 0.01 < 0.05 / 3, 0.02 < 0.05 / 2, 0.06 > 0.05
        ([0.06, 0.01, 0.02], [False, True, True]),
        # 0.03 > 0.05 / 2 stops the steps, also before 0.04
        ([0.04, 0.01, 0.03], [False, True, False]),
        ([0.02, 0.02, 0.02], [False, False, False]),
    ],
)
def test_holm(p_values: list[float], rejected: list[bool]) -> None:
    assert holm(p_values).tolist() == rejected
    assert [p < 0.05 for p in holm_adjusted(p_values)] == rejected
    assert holm([p_values, p_values]).tolist() == [rejected, rejected]
