"""Forget quality: the p value of two sets of margins, and the margins that it is made from."""

from __future__ import annotations

import pytest
import torch

from benchmark.evaluation.families import FAMILIES, NotMeasurableError
from benchmark.evaluation.measures.forget_quality import forget_quality
from benchmark.evaluation.measures.true_name_rank import margins, true_name_rank


def test_equal_sets_have_one_and_disjoint_ones_nearly_zero() -> None:
    some = torch.linspace(-0.2, 0.1, 100)
    assert forget_quality(some, some) == (1.0, 0.0)
    p, distance = forget_quality(some, some + 1.0)
    assert p < 1e-20 and distance == 1.0


def test_p_is_the_exact_one_of_small_sets() -> None:
    """Of the 20 ways to deal 6 values to two hands of 3, two part them fully: p = 2 / 20."""
    p, distance = forget_quality(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([4.0, 5.0, 6.0]))
    assert p == pytest.approx(0.1) and distance == 1.0


def test_models_of_one_distribution_are_rarely_told_apart_and_others_are() -> None:
    generator = torch.Generator().manual_seed(0)

    def draws(shift: float) -> list[float]:
        return [
            forget_quality(torch.randn(100, generator=generator), shift + torch.randn(100, generator=generator))[0]
            for _ in range(200)
        ]

    assert sum(p < 0.05 for p in draws(0.0)) / 200 <= 0.09
    assert sum(p < 0.05 for p in draws(1.0)) / 200 > 0.99


def test_no_image_is_no_answer() -> None:
    with pytest.raises(NotMeasurableError, match="no forgotten image"):
        forget_quality(torch.zeros(0), torch.zeros(3))


def test_margins_are_those_of_the_rank() -> None:
    generator = torch.Generator().manual_seed(1)
    images, classifier = torch.randn(30, 8, generator=generator), torch.randn(5, 8, generator=generator)
    labels = torch.arange(30) % 5
    found = margins(images, classifier, labels)
    assert found.shape == (30,)
    assert float(found.mean()) == pytest.approx(true_name_rank(images, classifier, labels).mean_margin)
    assert FAMILIES["forget_quality"].metrics == ("score/forget_quality",)


def test_the_margin_by_chance_is_that_of_a_name_drawn_at_random() -> None:
    generator = torch.Generator().manual_seed(2)
    images, classifier = torch.randn(40, 8, generator=generator), torch.randn(6, 8, generator=generator)
    every = [margins(images, classifier, torch.full((40,), label)).mean() for label in range(6)]
    found = true_name_rank(images, classifier, torch.zeros(40, dtype=torch.long))
    assert found.chance_margin == pytest.approx(float(torch.stack(every).mean()), abs=1e-6)
