"""One row beside all others, and a row beside the retrained models."""

from __future__ import annotations

import json

import pytest
from test_leaderboard import record
from test_rank_ranges import REQUESTS, WOBBLE, clear

from benchmark.leaderboards.against import LEADER, Against, against
from benchmark.leaderboards.boards import build
from benchmark.leaderboards.gold_standard import gaps
from benchmark.leaderboards.tables import render_against, render_gaps
from benchmark.records.record import Metric, Record
from datamodules.common.errors import BenchmarkError, UnknownNameError

FOUR = {"best": 0.1, "twin": 0.5, "other": 0.501, "worst": 0.9}


def asked(records: list[Record], method: str, metric: str | None = None) -> Against:
    (found,) = against(records, build(records, references={"original"}), method, metric=metric)
    return found


def test_the_correction_is_over_the_rows_that_are_compared() -> None:
    found = asked(clear(FOUR), "twin")
    assert (found.method, found.metric, found.questions, found.is_leader) == ("twin", "score/kravets", 3, False)
    assert {row.label: row.verdict for row in found.rows} == {
        "best": "better",
        "other": "not distinguishable",
        "worst": "worse",
    }
    assert all(row.p is not None and 0 <= row.p <= 1 for row in found.rows)


def test_the_leader_was_chosen_so_all_pairs_count() -> None:
    found = asked(clear(FOUR), LEADER)
    assert (found.method, found.questions, found.is_leader) == ("best", 6, True)
    assert any("partly luck" in note for note in found.notes)
    assert [row.label for row in found.rows] == ["twin", "other", "worst"]


def test_the_correction_is_holms() -> None:
    """Two others with p of 0.03 each: one question would be answered, two are not."""
    size = 0.0172
    records = [record("m", q, s=0.5) for q in REQUESTS]
    for name in ("x", "y"):
        records += [record(name, q, s=0.5 + size + 4.5 * w) for q, w in zip(REQUESTS, (*WOBBLE, 0.004), strict=True)]
    both = asked(records, "m")
    alone = asked([r for r in records if r.cell["method"] != "y"], "m")
    raw = alone.rows[0].p
    assert raw is not None and 0.025 < raw < 0.05
    assert alone.rows[0].verdict == "worse"
    assert [row.verdict for row in both.rows] == ["not distinguishable"] * 2
    assert [row.p for row in both.rows] == pytest.approx([2 * raw] * 2)


def test_reference_rows_are_compared_too_and_few_requests_are_told() -> None:
    records = [
        record(m, q, s=s + turn * n)
        for m, s, turn in (("original", 0.2, 0.01), ("m", 0.1, 0.0))
        for n, q in enumerate("abc")
    ]
    found = asked(records, "m")
    assert found.rows[0].reference and found.rows[0].verdict == "worse"
    assert any("3 requests: t is right only if" in note for note in found.notes)
    two = asked([r for r in records if r.cell["request"]["classes"] != ["c"]], "m")
    assert two.rows[0].p is None and two.rows[0].verdict == "not distinguishable"


def test_a_metric_of_which_more_is_better_and_unknown_names() -> None:
    records = clear(FOUR)
    found = asked(records, "best", "forget/acc1")
    assert found.metric == "forget/acc1" and {row.verdict for row in found.rows} == {"not distinguishable"}
    with pytest.raises(UnknownNameError, match="did you mean 'best'"):
        against(records, build(records), "bast")


def test_text_and_json_agree() -> None:
    comparisons = [asked(clear(FOUR), "best")]
    text = render_against(comparisons, "markdown")
    assert "against best" in text and "| worst |" in text and "worse |" in text
    (board,) = json.loads(render_against(comparisons, "json"))
    assert board["against"] == "best" and [row["method"] for row in board["rows"]] == ["twin", "other", "worst"]


def golden(seed: int, forget: float, retain: float) -> Record:
    made = record("retrain", "apple", seed, forget=forget, metrics={"retain/acc1": Metric(retain)})
    made.provenance["regime"] = "pretraining"
    return made


def test_z_is_the_gap_in_spreads_of_the_retrained_models() -> None:
    gold = [golden(seed, forget, 0.9) for seed, forget in enumerate((0.1, 0.2, 0.3))]
    (found,) = gaps([*gold, record("m", forget=0.4)], "m").values()
    by_name = {gap.metric: gap for gap in found}
    forget = by_name["forget/acc1"]
    assert (forget.value, forget.retrained, forget.spread) == pytest.approx((0.4, 0.2, 0.1))
    assert forget.z == pytest.approx(2.0) and forget.models == 3
    assert by_name["retain/acc1"].z is None, "models that do not differ give no unit"
    text = render_gaps("m", gaps([*gold, record("m", forget=0.4)], "m"), "markdown")
    assert "| forget acc | 40.0 | 20.0 | 10.0 | +2.0 | 3 |" in " ".join(text.split())


def test_gaps_need_two_retrained_models() -> None:
    with pytest.raises(BenchmarkError, match="two models trained again"):
        gaps([golden(0, 0.1, 0.9), record("m", forget=0.4)], "m")
