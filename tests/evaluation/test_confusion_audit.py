"""Where forgotten images go: by hand, bounds, and what must not matter."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmark.evaluation.families import NotMeasurableError
from benchmark.evaluation.measures.confusion_audit import Receiver, confusion_audit


def test_by_hand() -> None:
    labels = torch.zeros(8, dtype=torch.long)
    original = torch.tensor([0, 0, 0, 0, 0, 0, 1, 3])
    predicted = torch.tensor([0, 2, 2, 2, 2, 1, 1, 1])
    found = confusion_audit(predicted, original, labels, 4)
    # Shares 1/8, 3/8, 1/2 now; 3/4, 1/8, 1/8 before.
    assert found.entropy_bits == pytest.approx(3 / 8 + 3 / 8 * math.log2(8 / 3) + 0.5)
    assert found.entropy_normalised == pytest.approx(found.entropy_bits / 2)
    assert found.entropy_change_bits == pytest.approx(found.entropy_bits - (0.75 * math.log2(4 / 3) + 0.75))
    assert found.correct == 1 / 8 and found.moved == 6 / 8 and found.n == 8
    assert found.distance == pytest.approx((5 / 8 + 2 / 8 + 4 / 8 + 1 / 8) / 2)
    assert found.receivers == (Receiver(2, 0.5, 0.5), Receiver(1, 3 / 8, 2 / 8))


def test_one_substitute_and_no_substitute() -> None:
    labels = torch.zeros(12, dtype=torch.long)
    one = confusion_audit(torch.full((12,), 3), labels, labels, 13)
    assert one.entropy_bits == 0.0 and one.receivers == (Receiver(3, 1.0, 1.0),) and one.distance == 1.0
    spread = confusion_audit(torch.arange(1, 13), labels, labels, 13)
    assert spread.entropy_bits == pytest.approx(math.log2(12)) and spread.entropy_normalised == pytest.approx(1.0)
    assert [receiver.label for receiver in spread.receivers] == [1, 2, 3, 4, 5]


def test_doing_nothing_changes_nothing() -> None:
    predicted, labels = torch.tensor([0, 1, 2, 1]), torch.tensor([0, 0, 0, 1])
    found = confusion_audit(predicted, predicted, labels, 3)
    assert (found.entropy_change_bits, found.moved, found.distance, found.correct) == (0.0, 0.0, 0.0, 0.5)
    assert found.receivers == (Receiver(1, 0.25, 0.0), Receiver(2, 0.25, 0.0))


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=30))
def test_bounds_and_order(rows: list[tuple[int, int, int]]) -> None:
    found = confusion_audit(*torch.tensor(rows).T, 5)
    for value in (found.entropy_normalised, found.correct, found.moved, found.distance):
        assert 0 <= value <= 1 + 1e-12
    assert 0 <= found.entropy_bits <= math.log2(min(5, len(rows))) + 1e-9
    assert found.distance <= found.moved + 1e-12
    assert sum(receiver.share for receiver in found.receivers) == pytest.approx(1 - found.correct)
    assert [r.share for r in found.receivers] == sorted((r.share for r in found.receivers), reverse=True)
    turned = confusion_audit(*torch.tensor(rows[::-1]).T, 5)
    assert turned.entropy_bits == pytest.approx(found.entropy_bits) and turned.receivers == found.receivers


def test_bad_input() -> None:
    none = torch.zeros(0, dtype=torch.long)
    with pytest.raises(NotMeasurableError, match="no forgotten test images"):
        confusion_audit(none, none, none, 3)
    with pytest.raises(ValueError, match=r"not in \[0, 2\)"):
        confusion_audit(torch.tensor([2]), torch.tensor([0]), torch.tensor([0]), 2)
    with pytest.raises(ValueError, match="2 predictions, 1"):
        confusion_audit(torch.tensor([0, 1]), torch.tensor([0]), torch.tensor([0]), 2)
