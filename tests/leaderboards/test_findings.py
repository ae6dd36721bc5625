"""The sentences of a board: each by a rule, on boards made so that the answer is known."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from world import command

from benchmark.evaluation.measures.quality import quality
from benchmark.leaderboards.boards import Board, Row
from benchmark.leaderboards.findings import (
    beneath,
    beyond,
    certainty,
    competing,
    costs,
    findings,
    gold_standard,
    hiders,
    leader,
    orders,
    portrait,
    removers,
    unfound,
)
from benchmark.leaderboards.found import with_found
from benchmark.leaderboards.grouping import BoardKey
from benchmark.utils.statistics import Interval

# Method, regime, E, D, left by name, back after fine-tuning on the rest, S, seconds; the best by Q first.
ROWS = (
    ("original", "none", 1.0, 0.0, 1.0, 0.9, 0.33, 0.0),
    ("filter", "none", 1.0, 0.0, 0.0, 0.9, 0.0, 0.0),
    ("again", "pretraining", 0.02, 0.01, 0.03, 0.02, 0.05, 500.0),
    ("clean", "forget+retain", 0.08, 0.04, 0.02, 0.05, 0.06, 8.0),
    ("shallow", "names", 0.5, 0.01, 0.00, 0.80, 0.01, 0.02),
    ("patient", "forget+retain", 0.5, 0.02, 0.30, 0.95, 0.12, 40.0),
    ("deep", "names", 0.6, 0.02, 0.09, 0.55, 0.04, 2.0),
    ("burnt", "forget", 0.05, 0.9, 0.01, 0.00, 0.60, 4.0),
)
BASELINES = ("original", "filter", "again")


def board(requests: int = 12, tiers: tuple[int, ...] = (1, 2, 2, 2, 3), skip: tuple[str, ...] = ()) -> Board:
    rows, rank = [], 0
    for name, regime, left, lost, named, back, published, seconds in ROWS:
        values = {
            "score/quality": quality(left, lost),
            "score/residual": left,
            "score/damage": lost,
            "forget/acc1": named,
            "forget/relearn_acc1@0": back,
            "score/kravets": published,
        }
        metrics: dict[str, Interval | None] = {
            metric: Interval(value, None, None, requests) for metric, value in values.items() if metric not in skip
        }
        clock: dict[str, float | None] = {"unlearn_seconds": 2 * seconds, "cpu_seconds": seconds}
        row = Row(name, regime, name in BASELINES, None, 12, 12, metrics, clock)
        if name not in BASELINES:
            tier = tiers[rank]
            row = replace(row, rank=rank + 1, tier=tier, rank_best=1 + sum(other < tier for other in tiers))
            rank += 1
        rows.append(row)
    key = BoardKey("s", "m", "photos", "class", "fp32", "cpu")
    return Board(key, requests, 1, tuple(metrics), (), tuple(rows), (), runtime="cpu_seconds")


def test_the_rows_are_in_the_order_that_the_rules_assume() -> None:
    scores = [row.mean("score/quality") or 0.0 for row in competing(board())]
    assert all(first > second for first, second in pairwise(scores))


def test_the_gold_standard_is_named_beside_what_does_nothing() -> None:
    q = quality(0.02, 0.01)
    assert gold_standard(board()) == (
        f"Models that were trained without the forget set score `again` Q {q:.3f}; `original` and `filter` score 0."
    )
    one = changed(board(), ("filter",), "score/quality", 0.2)
    assert gold_standard(one).endswith("; `original` scores 0.")


def test_each_regime_has_its_leader_and_one_without_methods_none() -> None:
    said = leader(board(), "names")
    assert said.startswith(
        f"From names alone, `shallow` Q {quality(0.5, 0.01):.3f} (E 50 %, D 1 %) leads (place 2 of 5, tier 2)"
    )
    assert said.endswith(f"; then `deep` Q {quality(0.6, 0.02):.3f}.")
    assert leader(board(), "forget").endswith("leads (place 5 of 5, tier 3).")
    assert leader(board(), "retain") == ""


def test_the_pairs_that_are_told_apart_are_counted() -> None:
    assert certainty(board()) == (
        "12 requests tell 7 of 10 pairs of methods apart (70 %); 1 of 5 methods are in the first tier: `clean`."
    ), "the first is before four, and three are before the last"
    assert certainty(board(requests=3)) == "3 requests are too few to rank: the order may be chance."
    assert certainty(board(requests=1)).startswith("1 request is too few")


def test_who_hides_is_who_comes_back_though_the_name_is_gone() -> None:
    said = hiders(board())
    assert said.startswith("2 of 4 methods that leave at most 10 % of a class by name hide it")
    assert said.endswith("(`shallow` 80 % and `deep` 55 %; trained without it, 2 %).")
    assert "patient" not in said, "it is still known by name, so it hides nothing"
    assert hiders(board(skip=("forget/relearn_acc1@0",))) == ""


def changed(of: Board, methods: tuple[str, ...], metric: str, value: float) -> Board:
    """A board with another mean of some rows."""
    interval = Interval(value, None, None, of.requests)
    rows = [
        replace(row, metrics={**row.metrics, metric: interval}) if row.method in methods else row for row in of.rows
    ]
    return replace(of, rows=tuple(rows))


def test_where_fine_tuning_brings_nothing_back_it_accuses_nobody() -> None:
    still = changed(board(), ("clean", "shallow", "deep", "burnt"), "forget/relearn_acc1@0", 0.12)
    assert hiders(still).startswith("0 of 4 methods"), "shallow went from 0 to 12 %"
    still = changed(board(), ("clean", "shallow", "deep", "burnt"), "forget/relearn_acc1@0", 0.04)
    assert hiders(still).startswith(
        "Fine-tuning on the other classes alone brings a class back after none of the 4 methods"
    )


def with_the_layer_before(**values: float) -> Board:
    """The board with what the layer before the last has of a class, by method."""
    made = board()
    for method, value in values.items():
        made = changed(made, (method,), "forget/trunk_map", value)
    return made


def test_an_edit_of_the_last_layer_leaves_the_class_in_the_one_before() -> None:
    known = {"original": 0.8, "filter": 0.8, "again": 0.2, "patient": 0.8}
    said = beneath(with_the_layer_before(**known, clean=0.3, shallow=0.8, deep=0.5, burnt=0.1))
    assert said.startswith("One layer before the last, 2 of 4 methods that leave at most 10 % of a class by name")
    assert "precision of 0.80 in the original and 0.20 in models trained without it" in said
    assert "; `shallow` 0.80 and `deep` 0.50; less than half" in said
    assert said.endswith("; less than half in `burnt` 0.10 and `clean` 0.30."), "those nearest to training again first"
    removed = beneath(with_the_layer_before(**known, clean=0.3))
    assert "0 of 1 methods" in removed and removed.endswith("without it; less than half in `clean` 0.30.")


def test_what_nothing_finds_is_named_and_what_finds_the_first() -> None:
    made = replace(board(), rows=tuple(with_found(board().rows)))
    said = unfound(made)
    assert said.startswith("None of the questions asked (name and fine-tuning) finds half of the forget set after")
    assert said.endswith(" after 2 of 5 methods: `clean` and `burnt`."), "the first is one of them"
    back = changed(board(), ("clean",), "forget/relearn_acc1@0", 0.8)
    assert unfound(replace(back, rows=tuple(with_found(back.rows)))).endswith(
        "1 of 5 methods: `burnt`; after `clean`, the first, it is found by its name after fine-tuning on the rest."
    )
    back = changed(back, ("burnt",), "forget/acc1", 0.9)
    assert "finds half of the forget set after no method; " in unfound(replace(back, rows=tuple(with_found(back.rows))))
    assert unfound(board()) == "", "its rows were not asked"


def test_who_scores_above_the_gold_standard_is_judged_one_layer_earlier_where_that_tells() -> None:
    known = with_the_layer_before(original=0.8, again=0.2, clean=0.3)
    above = changed(known, ("again",), "score/quality", 0.7)
    assert beyond(above).endswith("what a method costs; whether it removes or hides shows one layer earlier.")
    blind = changed(above, ("again",), "forget/trunk_map", 0.75)
    assert beyond(blind).endswith("not whether the set is removed or well hidden.")


def test_the_layer_before_says_nothing_where_models_that_never_saw_the_class_are_alike_there() -> None:
    shown = {"clean": 0.3, "shallow": 0.8}
    assert beneath(with_the_layer_before(original=0.29, again=0.2, **shown)) == ""
    assert beneath(with_the_layer_before(original=0.31, again=0.2, **shown)) != ""
    assert beneath(with_the_layer_before(again=0.2, **shown)) == "", "the original was not asked"
    assert beneath(with_the_layer_before(original=0.8, **shown)) == "", "nor was a model trained again"
    assert beneath(with_the_layer_before(original=0.8, again=0.2)) == "", "nor any method"


def test_who_scores_above_the_gold_standard_is_where_the_measures_end() -> None:
    assert beyond(board()) == ""
    assert beyond(changed(board(), ("again",), "score/quality", 0.7)).startswith(
        "`clean` scores above models that were"
    )
    said = beyond(changed(board(), ("again",), "score/quality", 0.6))
    assert said.startswith(
        "`clean`, `shallow` and `patient` score above models that were trained without the forget set"
    )
    assert beyond(replace(board(), rows=tuple(row for row in board().rows if row.method != "again"))) == ""


def test_who_removes_leaves_little_and_loses_little() -> None:
    assert removers(board()).startswith("Both hold for `clean`: ")
    none = board()
    rows = tuple(row for row in none.rows if row.method != "clean")
    assert removers(replace(none, rows=rows)).startswith("No method has both: ")
    assert removers(board(skip=("score/residual",))) == ""


def test_costs_are_in_the_time_that_the_board_ranks() -> None:
    assert costs(board()) == (
        "`clean`, the first, takes 8 s of processor time; half of the methods take less than 4 s, the fastest 0.02 s, "
        "the slowest 40 s; training again takes 1,000 s by the clock."
    )
    assert "takes 16 s by the clock; half" in costs(replace(board(), runtime="unlearn_seconds"))


def test_the_two_orders_are_compared() -> None:
    # By S: shallow, deep, clean, patient, burnt; by Q: clean, shallow, patient, deep, burnt: 3 of 10 pairs differ.
    assert orders(board()) == (
        "By S, as published, `shallow` leads, place 2 by Q; `filter`, which removes nothing, would be before it; "
        "Kendall's tau between the two orders is 0.40 (1: the same, 0: unrelated)."
    )


def test_a_portrait_says_what_is_left_by_each_question() -> None:
    q = quality(0.5, 0.01)
    assert portrait(board(), "shallow") == (
        f"`shallow` Q {q:.3f} is place 2 of 5, tier 2; a forgotten class is still recognised in 0 % by name and 80 % "
        "after fine-tuning on the rest; 1 % of the rest is lost (D)."
    )
    bare = board(skip=("forget/acc1", "forget/relearn_acc1@0", "score/damage"))
    assert portrait(replace(bare, ranked_by="score/kravets"), "deep") == "`deep` S 0.040 is place 4 of 5, tier 2."
    for unranked in ("original", "nobody"):
        with pytest.raises(LookupError, match=f"no ranked row '{unranked}'"):
            portrait(board(), unranked)


@pytest.mark.parametrize("requests", [1, 12])
def test_a_board_without_q_speaks_of_s_alone(requests: int) -> None:
    bare = board(requests, skip=("score/quality", "score/residual", "score/damage", "forget/relearn_acc1@0"))
    nothing, names, forget, both, certain, cost = findings(replace(bare, ranked_by="score/kravets"))
    assert nothing == (
        "There is no Q: rows are ranked by S, as published. Doing nothing scores `original` S 0.330; of the "
        "baselines, `filter` has 0.000, before all methods."
    )
    assert names == "From names alone, `shallow` S 0.010 leads (place 2 of 5, tier 2); then `deep` S 0.040."
    assert forget.startswith("With forget data, `burnt`") and both.startswith("With forget and retain data, `clean`")
    assert certain.startswith({1: "1 request is too few to rank", 12: "12 requests tell 7 of 10 pairs"}[requests])
    assert "processor time" in cost
    assert findings(replace(bare, rows=())) == []


def test_a_leader_by_s_is_shown_with_its_recalls() -> None:
    def with_recalls(row: Row) -> Row:
        recalls = {"forget/mean_recall": 0.1, "retain/mean_recall": 0.3}
        return replace(row, metrics={**row.metrics, **{k: Interval(v, None, None, 12) for k, v in recalls.items()}})

    recalled = replace(board(), rows=tuple(map(with_recalls, board().rows)), ranked_by="score/kravets")
    said = leader(recalled, "names")
    assert said.startswith(
        "From names alone, `shallow` S 0.010 (mean recall 10 % on the forget set, 30 % on the rest) "
    )


def test_the_command_says_what_the_reference_boards_say() -> None:
    answer = command("leaderboard", "--reference", "--findings")
    assert answer.status == 0 and "From names alone, `" in answer.out and "\n- " in answer.out
    clash = command("leaderboard", "--reference", "--findings", "--steps")
    assert clash.status == 2 and "--steps and --findings are different tables" in clash.err
