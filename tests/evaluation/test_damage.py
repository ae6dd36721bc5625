"""Damage to retained classes: by hand and bounds."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmark.evaluation.families import NotMeasurableError
from benchmark.evaluation.measures.damage import class_recalls, worst_classes
from benchmark.evaluation.numerics.metrics import mean_per_class_recall

BEFORE = torch.tensor([0.9, 0.8, 0.7, math.nan, 0.6], dtype=torch.float64)
AFTER = torch.tensor([0.0, 0.3, 0.8, math.nan, 0.6], dtype=torch.float64)
RETAINED = torch.tensor([False, True, True, True, True])


def test_recalls_by_hand() -> None:
    right = torch.tensor([True, False, True, True])
    found = class_recalls(right, torch.tensor([0, 0, 0, 2]), 4)
    assert found[[0, 2]].tolist() == pytest.approx([2 / 3, 1.0]) and found[[1, 3]].isnan().all()


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=40))
def test_their_mean_is_mean_per_class_recall(items: list[tuple[int, bool]]) -> None:
    labels, right = torch.tensor([label for label, _ in items]), torch.tensor([hit for _, hit in items])
    hits, images = (torch.bincount(chosen, minlength=6) for chosen in (labels[right], labels))
    assert float(class_recalls(right, labels, 6).nanmean()) == pytest.approx(mean_per_class_recall(hits, images))


def test_worst_by_hand() -> None:
    found = worst_classes(BEFORE, AFTER, RETAINED, count=2)
    assert found.mean_drop == pytest.approx(0.25)
    assert [each.label for each in found.classes] == [1, 4]
    everything = worst_classes(BEFORE, AFTER, RETAINED)
    assert [each.label for each in everything.classes] == [1, 4, 2]
    assert everything.mean_drop == pytest.approx((0.5 + 0.0 - 0.1) / 3)


def test_the_mean_hides_what_the_worst_show() -> None:
    before, after = torch.full((100,), 0.8), torch.full((100,), 0.8)
    after[50:60] = 0.0
    retained = torch.arange(100) > 0
    assert worst_classes(before, after, retained).mean_drop == pytest.approx(0.8)
    assert float((before - after)[retained].mean()) < 0.1


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.booleans()), min_size=2, max_size=30), st.integers(1, 12)
)
def test_bounds(rows: list[tuple[float, float, bool]], count: int) -> None:
    before, after = (torch.tensor([row[i] for row in rows], dtype=torch.float64) for i in (0, 1))
    retained = torch.tensor([row[2] for row in rows])
    retained[0], retained[1] = True, False
    worst = worst_classes(before, after, retained, count=count)
    mean = float((before - after)[retained].mean())
    assert mean - 1e-12 <= worst.mean_drop <= 1
    assert len(worst.classes) == min(count, int(retained.sum()))
    assert worst_classes(before, before, retained, count=count).mean_drop == 0


def test_what_cannot_be_measured_says_why() -> None:
    with pytest.raises(NotMeasurableError, match="no retained class has test images"):
        worst_classes(BEFORE, AFTER, torch.tensor([False, False, False, True, False]))
    with pytest.raises(ValueError, match="5 classes before and 4 after"):
        worst_classes(BEFORE, AFTER[:4], RETAINED)
