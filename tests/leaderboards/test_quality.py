"""E, D and Q: what they are made of, what they refuse, and what they say of the reference records."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from test_leaderboard import record, rows

from benchmark.evaluation.measures.quality import INFORMATIVE, quality
from benchmark.leaderboards.boards import build
from benchmark.leaderboards.leaderboard import Leaderboard, read_leaderboard
from benchmark.leaderboards.notes import BY_CHANCE
from benchmark.leaderboards.scored import with_quality
from benchmark.leaderboards.tables import render
from benchmark.records.record import Metric, Record
from benchmark.records.store import REFERENCE

LEFT = ("forget/image_map", "forget/true_name_margin", "forget/worst_prompt_acc1", "forget/relearn_acc1@0")


def model(method: str, left: float | tuple[float | None, ...], seed: int = 0, **more: Any) -> Record:
    """A record of which all four informative measures are known, or each of them."""
    values = left if isinstance(left, tuple) else (left,) * 4
    kept = {"retain/acc1": more.pop("retain", 0.8), "retain/mean_recall": more.pop("recall", 0.6)}
    kept |= {f"other/{name}/acc1": value for name, value in more.pop("others", {"x": 0.5, "y": 0.4}).items()}
    metrics = {name: Metric(value, 100) for name, value in zip(LEFT, values, strict=True)}
    metrics |= {name: Metric(value, 900) for name, value in kept.items()}
    made = record(method, seed=seed, metrics=metrics, **more)
    if method == "retrain":
        made.provenance["regime"] = "pretraining"
    return made


ORIGINAL = model("original", 0.9)
GOLD = [model("retrain", left, seed) for seed, left in enumerate((0.2, 0.3, 0.4))]


def scored(*records: Record) -> Record:
    """The last of some records, with its scores."""
    return with_quality(records)[-1]


def values(made: Record) -> list[float | None]:
    return [made.metrics[f"score/{name}"].value for name in ("residual", "damage", "quality")]


def why(made: Record) -> str:
    return str(made.report.get("not_measured", {}).get("quality", ""))


def test_the_list_is_the_one_that_was_frozen() -> None:
    assert tuple(measure.metric for measure in INFORMATIVE) == LEFT


def test_e_is_the_share_between_retrained_and_original() -> None:
    """0.6 is half of the way from 0.3 to 0.9; what lies below the retrained models counts as nothing left."""
    assert values(scored(ORIGINAL, *GOLD, model("m", 0.6)))[0] == pytest.approx(0.5)
    made = scored(ORIGINAL, *GOLD, model("m", (0.1, 0.3, 0.9, 1.0)))
    assert values(made)[0] == pytest.approx((0 + 0 + 1 + 1) / 4)
    assert made.report["quality"]["residual"]["by"] == dict(zip(LEFT, (0.0, 0.0, 1.0, 1.0), strict=True))
    assert made.report["quality"]["residual"]["retrained"] == made.metrics["score/residual"].n - 1 == 3
    assert {"base", "image_retrieval_map", "true_name_rank", "paraphrases", "relearning"} == set(
        made.report["quality"]["families"]
    )


def test_d_is_the_mean_drop_of_three_parts_and_gains_do_not_count() -> None:
    lost = model("m", 0.3, retain=0.4, recall=0.9, others={"x": 0.25, "y": 0.4})
    made = scored(ORIGINAL, *GOLD, lost)
    # retained: half; others: a half and nothing; retrieval: a gain
    assert made.report["quality"]["damage"]["by"] == {"retain": 0.5, "others": 0.25, "retrieval": 0.0}
    assert values(made)[1] == pytest.approx(0.25)
    assert values(made)[2] == pytest.approx(2 * 1 * 0.75 / 1.75)


@pytest.mark.parametrize(("left", "lost", "q"), [(1, 0, 0), (0, 1, 0), (1, 1, 0), (0, 0, 1), (0.5, 0.5, 0.5)])
def test_q(left: float, lost: float, q: float) -> None:
    assert quality(left, lost) == pytest.approx(q)


def test_doing_nothing_scores_nothing_and_a_retrained_model_is_compared_with_the_others() -> None:
    assert values(scored(*GOLD, ORIGINAL)) == [1.0, 0.0, 0.0]
    # 0.2, 0.3 and 0.4 against the mean of the other two, 0.35, 0.3 and 0.25
    found = [values(scored(ORIGINAL, *(g for g in GOLD if g is not one), one))[0] for one in GOLD]
    assert found == pytest.approx([0.0, 0.0, 0.15 / 0.65])
    alone = scored(ORIGINAL, GOLD[0])
    assert values(alone)[0] is None and "cannot be compared with itself" in why(alone)


def test_one_missing_measure_empties_e_and_q_and_says_which() -> None:
    made = scored(ORIGINAL, *GOLD, model("m", (0.3, None, 0.3, 0.3)))
    assert values(made) == [None, 0.0, None] and "forget/true_name_margin of this model" in why(made)
    assert "residual" not in made.report["quality"]
    made = scored(ORIGINAL, *GOLD[:2], model("retrain", (0.3, 0.3, 0.3, None), 2), model("m", 0.3))
    assert values(made)[0] is None and "of a retrained model was not measured" in why(made)


def test_a_measure_that_cannot_tell_the_original_from_the_retrained_says_nothing() -> None:
    gold = [model("retrain", (0.85, 0.3, 0.3, 0.3), seed) for seed in range(3)]
    made = scored(ORIGINAL, *gold, model("m", 0.6))
    assert values(made)[0] is None and "forget/image_map says nothing here: 0.900 of the original against 0.850" in why(
        made
    )


def test_without_an_original_and_for_concepts_there_is_a_reason() -> None:
    assert values(scored(model("m", 0.3))) == [None, None, None]
    assert "no record of the original" in why(scored(model("m", 0.3)))
    dog = {"what": {"concept": "dog"}}
    made = scored(model("original", 0.9, **dog), model("m", 0.3, recall=0.3, **dog))
    assert values(made)[0] is None and "by concept" in why(made)
    assert made.report["quality"]["damage"]["by"] == {"retain": 0.5, "others": 0.0}


def test_for_chosen_images_damage_is_of_classes_where_the_data_set_has_them_and_the_reason_says_images() -> None:
    chosen = {"what": {"images": ["ring/000.jpg"]}}
    made = scored(model("original", 0.9, **chosen), model("m", 0.3, retain=0.4, **chosen))
    assert values(made)[0] is None and "the request chooses images" in why(made)
    assert made.report["quality"]["damage"]["by"] == {"retain": 0.5, "others": 0.0, "retrieval": 0.0}


def test_other_weights_or_requests_are_not_compared() -> None:
    other = model("m", 0.3)
    other.cell["weights"] = "another"
    assert values(scored(ORIGINAL, *GOLD, other)) == [None, None, None]
    assert values(scored(ORIGINAL, *GOLD, model("m", 0.3, request="tiger"))) == [None, None, None]


def test_without_retrained_models_the_floor_is_chance_and_the_board_says_so() -> None:
    made = scored(ORIGINAL, model("m", 0.3))
    assert values(made)[0] is None and "forget/image_map by chance is not recorded" in why(made)
    known = replace(ORIGINAL, report={"image_map_chance": 0.1, "true_name_margin_chance": -0.1})
    # of a class with 100 of 1000 test images: guessing gives 0.1
    made = scored(known, model("m", (0.5, 0.4, 0.5, 0.1)))
    assert values(made)[0] == pytest.approx((0.5 + 0.5 + 0.5 + 0.0) / 4)
    assert made.report["quality"]["residual"] == {
        "by": dict(zip(LEFT, (0.5, 0.5, 0.5, 0.0), strict=True)),
        "floor": "chance",
        "retrained": 0,
    }
    (board,) = build([known, model("m", 0.3)], references={"original"})
    assert board.by_chance and board.ranked_by == "score/quality"
    text = render([board], "markdown")
    assert f"| {BY_CHANCE}Q ↑ | {BY_CHANCE}E ↓ | D ↓ |" in text and "no model was trained again" in text


def test_a_board_ranks_by_q_and_without_it_by_s_and_says_why() -> None:
    records = [ORIGINAL, *GOLD, model("hides", 0.9, s=0.0), model("removes", 0.35, s=0.3, retain=0.7)]
    (board,) = build(records, references={"original", "retrain"})
    assert (rows(board)["removes"].rank, rows(board)["hides"].rank) == (1, 2)
    assert board.columns[:4] == ("score/quality", "score/residual", "score/damage", "score/kravets")
    assert any("rank by Q" in note for note in board.notes)
    assert any("mean of 3 or more models trained again" in note for note in board.notes)
    plain = [record("original", s=0.25), record("hides", s=0.0), record("removes", s=0.3)]
    (board,) = build(plain, references={"original"})
    assert board.ranked_by == "score/kravets" and rows(board)["hides"].rank == 1
    assert any("rank by S" in note and "forget/image_map" in note for note in board.notes)


def test_scores_are_the_same_when_they_are_made_again() -> None:
    once = with_quality([ORIGINAL, *GOLD, model("m", 0.5)])
    assert with_quality(once) == once


@pytest.fixture(scope="module")
def reference() -> Leaderboard:
    return read_leaderboard(REFERENCE, suite="oracle", reference=True)


def test_on_the_embedded_world_retrained_models_lead_and_the_filter_is_last(reference: Leaderboard) -> None:
    """The gold standard of the whole exercise, on the committed records."""
    (board,) = [board for board in reference.boards if (board.key.dataset, board.key.kind) == ("shapes", "class")]
    means = {row.method: mean.mean for row in board.rows if (mean := row.metrics["score/quality"]) is not None}
    order = sorted(means, key=lambda method: -means[method])
    assert len(order) == len(board.rows) > 25
    assert order[0] == "retrain" and means["retrain"] > means[order[1]] + 0.05
    assert means["original"] == means["logit_mask"] == min(means.values()) == 0.0
    published = {row.method: mean.mean for row in board.rows if (mean := row.metrics["score/kravets"]) is not None}
    assert min(published, key=lambda method: published[method]) == "logit_mask", "what S says of a filter"
