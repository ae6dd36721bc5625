"""The spread of the gold standard: what of a gap two trainings of the same recipe have between them anyway."""

from __future__ import annotations

import pytest
from test_leaderboard import record

from benchmark.evaluation.measures.retrain_gap import GAP_METRICS
from benchmark.leaderboards.boards import build
from benchmark.leaderboards.gold_standard import gold_spread, joint_gaps, spread_note
from benchmark.records.record import Metric, Record
from datamodules.common.errors import BenchmarkError


def golden(request: str, seed: int, forget: float, retain: float) -> Record:
    """A retrained model of which two of the gap's metrics are known."""
    metrics = {"retain/acc1": Metric(retain), "score/retrain_gap": Metric(0.0), "score/robust": Metric(0.3)}
    made = record("retrain", request, seed, forget=forget, metrics=metrics)
    made.provenance["regime"] = "pretraining"
    return made


def together(way: str, request: str, seed: int, forget: float) -> Record:
    """A retrained model of a group."""
    made = golden(request, seed, forget, 0.9)
    made.cell.update(retrained=way, group=["apple", "tiger", "bus"])
    return made


def test_joint_beside_single_models_by_hand() -> None:
    single = [
        together("single", name, seed, 0.2 + 0.1 * seed) for name in ("apple", "tiger", "bus") for seed in (0, 1, 2)
    ]
    joint = [together("joint", name, 0, 0.3 + off) for name, off in (("apple", 0.01), ("tiger", 0.0), ("bus", -0.01))]
    (gaps,) = joint_gaps([*joint, *single, record("ccup")]).values()
    (gap,) = [gap for gap in gaps if gap.metric == "forget/acc1"]
    assert (gap.single, gap.joint, gap.spread) == (pytest.approx(0.3), pytest.approx(0.3), pytest.approx(0.1))
    assert gap.difference.mean == pytest.approx(0.0) and gap.difference.high == pytest.approx(
        4.303 * 0.01 / 3**0.5, rel=1e-3
    )
    assert gap.verdict == "stands for them"


@pytest.mark.parametrize(
    ("offs", "verdict"),
    [((0.3, 0.31, 0.29), "differs"), ((0.0, 0.2, 0.1), "not settled"), ((0.0, 0.0), "too few requests")],
)
def test_the_verdict_on_joint_models(offs: tuple[float, ...], verdict: str) -> None:
    names = ("apple", "tiger", "bus")[: len(offs)]
    single = [together("single", name, seed, 0.2 + 0.1 * seed) for name in names for seed in (0, 1, 2)]
    joint = [together("joint", name, 0, 0.3 + off) for name, off in zip(names, offs, strict=True)]
    (gaps,) = joint_gaps([*joint, *single]).values()
    assert {gap.metric: gap.verdict for gap in gaps}["forget/acc1"] == verdict


def test_without_both_kinds_there_is_nothing_to_compare() -> None:
    with pytest.raises(BenchmarkError, match="run --suite joint"):
        joint_gaps([together("joint", "apple", 0, 0.3), together("single", "apple", 0, 0.3)])


def test_pairs_of_seeds_are_averaged_by_request() -> None:
    assert {"forget/acc1", "retain/acc1"} <= set(GAP_METRICS)
    apple = [golden("apple", seed, forget, 0.9) for seed, forget in enumerate((0.0, 0.2, 0.4))]
    tiger = [golden("tiger", seed, 0.1, retain) for seed, retain in enumerate((0.9, 0.5))]
    # apple: pairs 0.2, 0.4, 0.2 apart in one of two metrics: (0.1 + 0.2 + 0.1) / 3; tiger: one pair, 0.4 / 2
    found = gold_spread([*apple, *tiger, record("ccup", "apple", forget=0.9)])
    assert found is not None and found.n == 2
    assert found.mean == pytest.approx((0.4 / 3 + 0.2) / 2)


def test_one_seed_has_no_spread_and_other_methods_have_none() -> None:
    assert gold_spread([golden("apple", 0, 0.0, 0.9), golden("tiger", 1, 0.5, 0.9)]) is None
    assert gold_spread([record("ccup", seed=0), record("ccup", seed=1, forget=0.9)]) is None
    assert spread_note([]) == []


def test_the_note_stands_below_a_board_that_shows_the_gap() -> None:
    both = [golden("apple", seed, forget, 0.9) for seed, forget in enumerate((0.0, 0.2))]
    (board,) = build(both)
    (note,) = [note for note in board.notes if "trained again" in note]
    assert "10.0 points apart" in note
    for each in both:
        del each.metrics["score/retrain_gap"]
    (board,) = build(both)
    assert not [note for note in board.notes if "trained again" in note]
