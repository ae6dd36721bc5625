"""The paired difference of two rows: what is paired with what, what is said of it, and what is refused."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from test_leaderboard import record

from benchmark.leaderboards.boards import build
from benchmark.leaderboards.comparison import Comparison, compare, paired_difference
from benchmark.leaderboards.tables import render_comparisons
from benchmark.records.record import Metric, Record
from benchmark.utils.table import FORMATS
from datamodules.common.errors import BenchmarkError, UnknownNameError

S = "score/kravets"


def compared(records: list[Record], a: str = "a", b: str = "b", *, metric: str | None = S) -> list[Comparison]:
    columns = {board.key: (metric,) if metric else board.columns for board in build(records)}
    return compare(records, a, b, columns)


def rows(**scores: dict[str, list[float]]) -> list[Record]:
    """Records by method, request and seed."""
    return [
        record(method, request, seed, s=s)
        for method, requests in scores.items()
        for request, seeds in requests.items()
        for seed, s in enumerate(seeds)
    ]


# -- what is paired with what --------------------------------------------------------------------------------


def test_seeds_of_a_request_count_once() -> None:
    a = {"x": [0.1, 0.2, 0.3], "y": [0.3, 0.4, 0.5], "z": [0.3, 0.3, 0.3]}
    b = {"x": [0.3, 0.4, 0.5], "y": [0.6, 0.7, 0.8], "z": [0.7, 0.7, 0.7]}
    (difference,) = compared(rows(a=a, b=b))[0].differences
    found = difference.difference
    assert found is not None and (found.n, difference.pairs) == (3, 9)
    # -0.3 ± 4.3027 * 0.1 / sqrt(3)
    assert (found.mean, found.low, found.high) == pytest.approx((-0.3, -0.548414, -0.051586), abs=1e-5)
    assert (difference.mean_a, difference.mean_b) == pytest.approx((0.3, 0.6))
    # Student's t of 3 sqrt(3) with two degrees of freedom: 1 - t / sqrt(2 + t^2)
    assert difference.p == pytest.approx(1 - 27**0.5 / 29**0.5, abs=1e-6)
    assert difference.verdict == "lower"


def test_two_requests_have_no_interval_and_no_verdict() -> None:
    (difference,) = compared(rows(a={"x": [0.1], "y": [0.1]}, b={"x": [0.9], "y": [0.90001]}))[0].differences
    found = difference.difference
    assert found is not None and (found.low, found.high, difference.p) == (None, None, None)
    assert difference.verdict == "not distinguishable"


def test_a_method_without_chance_is_paired_with_every_seed() -> None:
    records = rows(a={"x": [0.1], "y": [0.2], "z": [0.3]}, b={q: [0.4, 0.6] for q in "xyz"})
    (difference,) = compared(records)[0].differences
    assert difference.difference is not None and difference.pairs == 6
    assert difference.difference.mean == pytest.approx(-0.3) and difference.difference.n == 3


def test_only_seeds_and_requests_that_both_have_count() -> None:
    a = {"x": {0: 0.1, 1: 0.2, 5: 9.0}, "y": {0: 0.3, 1: 0.3}, "z": {0: 9.0, 1: 9.0}}
    b = {"x": {0: 0.2, 1: 0.3, 7: 9.0}, "y": {1: 0.5, 7: 9.0}, "w": {0: 9.0}}
    difference = paired_difference(S, a, b)
    assert difference.difference is not None
    assert (difference.difference.mean, difference.difference.n, difference.pairs) == (pytest.approx(-0.15), 2, 3)


def test_a_request_of_one_row_alone_is_noted() -> None:
    records = rows(a={"x": [0.1], "y": [0.2], "z": [0.9]}, b={"x": [0.2], "y": [0.4]})
    assert "only the 2 of 3 requests that both have count" in render_comparisons(compared(records), "table")


def test_a_cell_with_several_records_is_left_out() -> None:
    records = [*rows(a={"x": [0.1], "y": [0.2]}, b={"x": [0.2], "y": [0.4]}), record("a", "y", s=0.9)]
    (comparison,) = compared(records)
    assert comparison.differences[0].difference is not None and comparison.differences[0].difference.n == 1
    assert "a: 1 cells have several records" in comparison.notes[0]


def test_a_value_that_could_not_be_measured_is_left_out() -> None:
    records = [*rows(a={"x": [0.1]}, b={"x": [0.2]}), record("a", "y", s=None), record("b", "y", s=0.4)]
    assert compared(records)[0].differences[0].pairs == 1


# -- what is said --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("differences", "verdict", "words"),
    [
        ([-0.3, -0.31, -0.32], "lower", "a lower"),
        ([0.3, 0.31, 0.32], "higher", "a higher"),
        ([-0.3, 0.31, 0.2], "not distinguishable", "not distinguishable |"),
        ([-0.3], "not distinguishable", "one request"),
        ([0.0, 0.0, 0.0], "not distinguishable", "equal on every request"),
        # Three equal differences happen by chance when few items are counted; six of one sign do not (p = 0.03).
        ([0.05] * 3, "not distinguishable", "3 equal differences have no spread to judge by"),
        ([0.05] * 6, "higher", "a higher"),
    ],
)
def test_verdict(differences: list[float], verdict: str, words: str) -> None:
    a = {str(place): [0.5 + difference] for place, difference in enumerate(differences)}
    (comparison,) = compared(rows(a=a, b={request: [0.5] for request in a}))
    assert comparison.differences[0].verdict == verdict
    assert words in render_comparisons([comparison], "markdown")


def test_the_interval_stays_within_what_the_metric_can_differ() -> None:
    records = [
        record(m, q, forget=f)
        for m, scores in (("a", (1.0, 0.0, 1.0)), ("b", (0.0, 0.9, 0.0)))
        for q, f in zip("xyz", scores, strict=True)
    ]
    interval = compared(records, metric="forget/acc1")[0].differences[0].difference
    assert interval is not None and (interval.low, interval.high) == (-1.0, 1.0)


def test_every_column_of_every_board_that_has_both() -> None:
    extra = [record(m, what={"concept": "dog"}) for m in "ab"] + [record("a", device="H100")]
    found = compared([*rows(a={"x": [0.1]}, b={"x": [0.2]}), *extra], metric=None)
    assert [comparison.key.kind for comparison in found] == ["class", "concept"]
    assert [each.metric for each in found[0].differences] == [S, "forget/acc1", "retain/acc1"]


def test_rows_of_one_method_have_labels() -> None:
    settings = [record("m", q, hparams={"rate": r}, s=r / 10) for q in "xy" for r in (1, 2)]
    (found,) = compared([*settings, record("b", "x")], "m rate=1", "m rate=2")
    assert found.differences[0].difference is not None
    assert found.differences[0].difference.mean == pytest.approx(-0.1)
    with pytest.raises(BenchmarkError, match=r"several rows .* name one of 'm rate=1', 'm rate=2'"):
        compared([*settings, record("b", "x")], "b", "m")


# -- formats -------------------------------------------------------------------------------------------------

THREE = rows(a={"x": [0.1], "y": [0.2], "z": [0.3]}, b={"x": [0.2], "y": [0.4], "z": [0.3]})


def test_text_is_in_per_cent_and_points() -> None:
    text = render_comparisons(
        compared([record(m, q, forget=f) for m, f in (("a", 0.1), ("b", 0.3)) for q in "xy"], metric=None), "table"
    )
    line = next(line for line in text.splitlines() if "forget acc" in line)
    assert line.split()[:7] == ["forget", "acc", "↓", "10.0", "30.0", "-20.0", "2"]
    assert text.startswith("quick · mini · shapes · forget class · cpu · fp32\n")
    assert "not independent" in text and "who looks at many" in text


def test_json_and_csv_hold_fractions() -> None:
    comparisons = compared(THREE)
    (board,) = json.loads(render_comparisons(comparisons, "json"))
    (row,) = csv.DictReader(io.StringIO(render_comparisons(comparisons, "csv")))
    (plain,) = board["rows"]
    assert (board["a"], board["b"], board["key"]["kind"]) == (row["a"], row["b"], row["kind"]) == ("a", "b", "class")
    assert plain["difference"] == float(row["difference"]) == pytest.approx(-0.1)
    assert plain["difference_low"] == float(row["difference_low"])
    assert plain["verdict"] == row["verdict"] == "not distinguishable"
    assert plain["requests"] == int(row["requests"]) == plain["pairs"] == int(row["pairs"]) == 3


@pytest.mark.parametrize("format", FORMATS)
def test_one_request_has_no_ends_in_any_format(format: Any) -> None:
    text = render_comparisons(compared(rows(a={"x": [0.1, 0.2]}, b={"x": [0.2, 0.2]})), format)
    assert "nan" not in text.lower() and "inf" not in text.lower() and text.endswith("\n")


def test_what_only_one_row_has_is_nothing_to_compare() -> None:
    more = {"forget/mean_recall": Metric(0.3)}
    text = render_comparisons(compared([record("a", metrics=more), record("b")], metric=None), "markdown")
    assert "| forget mean R ↓ |  |  |  |  | 0 | nothing to compare |" in text


# -- what is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("records", "names", "message"),
    [
        (THREE, ("a", "a"), "two different methods, not 'a' twice"),
        (THREE, ("a", "c"), "unknown method of these records 'c': known: a, b"),
        ([record("lip"), record("ccup")], ("lip", "ccop"), "did you mean 'ccup'"),
        ([record("a"), record("b", device="H100")], ("a", "b"), "a is on .* cpu · fp32; b is on .* H100 · fp32"),
        (
            [record("a", "x"), record("b", "y"), record("b", "z", 1)],
            ("a", "b"),
            "no measured request and seed in common: a has x at seed 0; b has y, z at seed 0, 1",
        ),
    ],
)
def test_refused(records: list[Record], names: tuple[str, str], message: str) -> None:
    with pytest.raises(BenchmarkError, match=message):
        compared(records, *names)


def test_a_metric_that_nobody_measured() -> None:
    with pytest.raises(UnknownNameError, match="metric of these records 'retain/mean_recall'"):
        compared(THREE, metric="retain/mean_recall")
