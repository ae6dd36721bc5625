"""Neighbours: who they are, and a class whose forgetting spilled over by a known amount."""

from __future__ import annotations

import math

import pytest
import torch
from examined import ShadedDataset, context_of
from tiny import APPLE, NAMES, tiny_clip
from torch import Tensor

from benchmark.evaluation.context import Context
from benchmark.evaluation.families import NotMeasurableError
from benchmark.evaluation.measures.neighbours import Neighbours, measure, neighbours_of
from datamodules.common.cifar100_superclasses import SUPERCLASSES
from datamodules.common.request import ForgetRequest
from methods.common.clip import Clip

ANGLES = torch.tensor([0.0, 2.0, 0.5, 0.1, 1.0, 1.5, 2.5])
ROWS = 7 * torch.stack([ANGLES.cos(), ANGLES.sin()], dim=1)
LETTERS = tuple("abcdefg")


class Grouped(ShadedDataset):
    """Apples and sunflowers are plants; the other groups have one class each."""

    @property
    def class_groups(self) -> dict[str, tuple[str, ...]]:
        return {"plants": ("apple", "sunflower"), "vehicle": ("bus",), "animal": ("cat",)}


def test_without_groups_the_nearest_names_are_the_neighbours() -> None:
    assert neighbours_of([0], LETTERS, {}, ROWS) == Neighbours((1, 2, 3, 4, 5), "names")
    assert neighbours_of([0, 6], LETTERS, {}, ROWS).labels == (1, 2, 3, 4, 5), "the forgotten are no neighbours"
    assert neighbours_of([1], LETTERS, {"one": ("b",)}, ROWS).rule == "names", "a group of one has no neighbours"
    with pytest.raises(NotMeasurableError, match="every class is forgotten"):
        neighbours_of([0, 1], ("a", "b"), {}, ROWS[:2])


def test_groups_come_before_names_and_those_of_several_classes_are_joined() -> None:
    groups = {"x": ("a", "g"), "y": ("b", "c", "d"), "z": ("e", "f")}
    assert neighbours_of([0], LETTERS, groups, ROWS) == Neighbours((6,), "superclass")
    assert neighbours_of([0, 1], LETTERS, groups, ROWS) == Neighbours((2, 3, 6), "superclass")
    assert neighbours_of([0, 6], LETTERS, groups, ROWS).rule == "names", "the whole group is forgotten"


def test_of_cifar100_the_superclass_counts() -> None:
    names = [name for group in SUPERCLASSES.values() for name in group]
    near = neighbours_of([names.index("apple")], names, SUPERCLASSES, torch.eye(100))
    assert [names[label] for label in near.labels] == ["mushroom", "orange", "pear", "sweet pepper"]


def test_a_class_that_went_with_part_of_its_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ten images a class: apples become 6 sunflowers, 3 buses, 1 stays; 4 sunflowers are lost; of cats 1."""
    before, after = tiny_clip("vit"), tiny_clip("vit", seed=1)
    labels = torch.arange(40) % 4  # apple, bus, cat, sunflower
    answers = labels.clone()
    answers[labels == 0] = torch.tensor([3] * 6 + [1] * 3 + [0])
    answers[labels == 3] = torch.tensor([1] * 4 + [3] * 6)
    answers[labels == 2] = torch.tensor([1] + [2] * 9)

    def images(_: Context, clip: Clip | None = None) -> Tensor:
        return torch.eye(4)[labels if clip is before else answers]

    monkeypatch.setattr(Context, "images", images)
    monkeypatch.setattr(Context, "classifier", lambda *_: torch.eye(4))
    context = context_of(after, APPLE, told=True, original=before)
    context.dataset = Grouped(told=True)
    metrics = measure(context)
    assert metrics["retain/near_drop"].value == pytest.approx(0.4) and metrics["retain/near_drop"].n == 1
    assert metrics["retain/far_drop"].value == pytest.approx(0.05) and metrics["retain/far_drop"].n == 2
    assert (metrics["forget/neighbour_share"].value, metrics["forget/group_acc1"].value) == (0.6, 0.7)
    assert context.report["neighbours"] == {"by": "superclass", "drops": {"sunflower": 0.4}}


def test_doing_nothing_drops_nothing() -> None:
    clip = tiny_clip("vit")
    context = context_of(clip, APPLE, told=True, original=clip)
    metrics = measure(context)
    assert metrics["retain/near_drop"].value == 0.0 and metrics["retain/near_drop"].n == len(NAMES) - 1
    assert metrics["retain/far_drop"].value is None, "all are neighbours"
    group = metrics["forget/group_acc1"].value
    assert group is not None and math.isclose(group, 1.0), "every answer is a name of the group"


def test_a_request_by_concept_has_none() -> None:
    with pytest.raises(NotMeasurableError, match="by concept"):
        measure(context_of(tiny_clip("vit"), ForgetRequest(concept="apple"), captions=True))
