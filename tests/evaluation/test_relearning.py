"""Relearning: the shots, the learning rate that spares the original, and models whose right answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from examined import ShadedDataset, context_of
from tiny import APPLE, tiny_clip

from benchmark.evaluation import attack_level
from benchmark.evaluation.attack_level import Validation, chosen_level
from benchmark.evaluation.context import Context
from benchmark.evaluation.embeddings import EmbeddingStore
from benchmark.evaluation.families import NotMeasurableError
from benchmark.evaluation.measures import relearning
from datamodules.common.dataset import Split, SplitName
from datamodules.common.errors import BenchmarkError

METRICS = {f"{part}/relearn_acc1@{k}" for k in (1, 2, 4, 0) for part in ("forget", "retain")}


class WithoutValidation(ShadedDataset):
    """The shaded data set without a validation part, whose test split nobody may look at."""

    def _load(self, name: SplitName) -> Split:
        if name != "train":
            raise BenchmarkError(f"there is no {name} part")
        return super()._load(name)


def test_shots_are_of_the_classes_asked_for() -> None:
    dataset = context_of(tiny_clip("vit"), APPLE).dataset
    labels = dataset.split("train").labels
    assert labels is not None
    shots = relearning.draw_shots(dataset, labels, [0], 2, np.random.default_rng(0))
    assert len(shots.forget) == 2 and set(labels[shots.forget]) == {0}
    assert len(shots.retain) == 18 and set(labels[shots.retain]) == {1, 2, 3}
    assert len(relearning.draw_shots(dataset, labels, [0], 0, np.random.default_rng(0)).forget) == 0
    with pytest.raises(NotMeasurableError, match="'apple' has 6 training images, 16 are needed"):
        relearning.draw_shots(dataset, labels, [0], 16, np.random.default_rng(0))


def test_relearning_reports_each_number_of_shots_and_leaves_the_models_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relearning, "STEPS", 3)
    context = context_of(tiny_clip("vit", seed=1), APPLE)
    before = [{n: v.clone() for n, v in c.model.state_dict().items()} for c in (context.clip, context.original)]
    metrics = relearning.measure(context)
    assert set(metrics) == METRICS
    assert all(metric.n == (2 if name.startswith("forget") else 6) for name, metric in metrics.items())
    empty = {f"{part}/relearn_acc1@{k}" for k in (8, 16) for part in ("forget", "retain")}
    assert context.report["not_measured"].keys() == empty
    told = context.report["relearning"]
    assert told["learning_rate"] in relearning.RATES and told["original_loses"] < attack_level.MOST_LOST
    assert (told["validation_images"], told["of"]) == (8, "val")
    for clip, state in zip((context.clip, context.original), before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in clip.model.state_dict().items())


def test_what_can_be_learned_is_relearned_and_what_cannot_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relearning, "STEPS", 60)
    classifier = torch.eye(4, 16)  # the classes lie apart, as those of a trained model do
    shares = []
    for told in (True, False):
        context = context_of(tiny_clip("vit"), APPLE, told=told)
        random, labels = np.random.default_rng(0), context.labels("train").numpy()
        shots = relearning.draw_shots(context.dataset, labels, [0], 16, random)
        clip = relearning.fine_tune(context.clip, context.dataset, classifier, shots, 1e-3, random)
        shares.append(attack_level.attacked(context, clip, classifier).forget)
    assert shares[0] == 1.0 and shares[1] < 0.7


@pytest.mark.parametrize(("harmless", "expected"), [(1.0, 1.0), (1e-4, 1e-4), (3e-6, 3e-6)])
def test_the_level_is_the_largest_that_spares_the_original(harmless: float, expected: float) -> None:
    def lost(_: Validation, before: torch.Tensor, level: float) -> float:
        return 0.0099 if level <= harmless else 0.01

    level = chosen_level(context_of(tiny_clip("vit"), APPLE), "relearning", (1.0, *relearning.RATES), lost)
    assert level.value == expected and level.lost == 0.0099
    assert level.told("rate") == {"rate": expected, "original_loses": 0.0099, "validation_images": 8, "of": "val"}


def test_no_level_at_all_is_a_reason() -> None:
    with pytest.raises(NotMeasurableError, match="loses 1 point or more of its accuracy at every level"):
        chosen_level(context_of(tiny_clip("vit"), APPLE), "relearning", (1.0, 0.5), lambda *_: 0.5)


def test_the_level_is_kept_for_the_model_and_never_for_another(tmp_path: Path) -> None:
    asked: list[float] = []

    def lost(_: Validation, before: torch.Tensor, level: float) -> float:
        asked.append(level)
        return 0.0

    def level_for(seed: int, original: int, request_seed: int = 7) -> float:
        context = context_of(tiny_clip("vit", seed=seed), APPLE, original=tiny_clip("vit", seed=original))
        context.store, context.seed = EmbeddingStore(tmp_path), request_seed
        return chosen_level(context, "relearning", (1.0, 0.5), lost).value

    assert level_for(0, original=0) == level_for(1, original=0) == level_for(2, original=0, request_seed=8) == 1.0
    assert asked == [1.0], "unlearned models of one original share its level, whatever the request"
    level_for(0, original=1)
    assert asked == [1.0, 1.0]
    assert len(list(tmp_path.glob("relearning-*.json"))) == 2


def test_without_a_validation_part_a_tenth_of_each_class_is_held_out_and_no_test_image_is_read() -> None:
    validation = Validation.of(WithoutValidation(told=True))
    assert validation.split.name == "train" and validation.labels.tolist() == [0, 1, 2, 3] * 2
    assert validation.in_train.tolist() == validation.rows.tolist()
    assert len(Validation.of(ShadedDataset(told=True)).in_train) == 0


def test_the_rate_spares_the_original_by_the_same_fine_tuning(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that knows its classes keeps them at the chosen rate and loses them at the largest."""
    classes = torch.eye(4, 16)
    monkeypatch.setattr(Context, "classifier", lambda *_: classes)
    monkeypatch.setattr(relearning, "RATES", (1.0, 1e-6))
    dataset = WithoutValidation(told=True)  # its test split cannot be read
    labels, random = dataset.split("train").labels, np.random.default_rng(0)
    assert labels is not None
    shots = relearning.draw_shots(dataset, labels, [0], 16, random)
    with monkeypatch.context() as longer:
        longer.setattr(relearning, "STEPS", 60)
        knowing = relearning.fine_tune(tiny_clip("vit"), dataset, classes, shots, 1e-3, random)
    assert bool(Validation.of(dataset).right(knowing, classes).all())
    context = context_of(tiny_clip("vit"), APPLE, original=knowing)
    context.dataset = dataset
    rate = relearning.chosen_rate(context)
    assert (rate.value, rate.lost, rate.part) == (1e-6, 0.0, "train")
