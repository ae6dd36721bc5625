"""U-LiRA: the scaled confidence, the fits, AUC and TPR against brute force and closed forms."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, cast

import numpy as np
import pytest
import torch
from examined import context_of
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiny import APPLE, NAMES, TinyDataset, tiny_clip
from torch import Tensor

from benchmark.evaluation.families import NotMeasurableError
from benchmark.evaluation.measures.membership import (
    MembershipAttack,
    auc_interval,
    likelihood_ratios,
    measure,
    membership_attack,
    scaled_confidence,
)

NORMAL = NormalDist()


@given(st.integers(0, 10_000), st.integers(2, 6))
def test_the_confidence_is_log_p_over_1_minus_p(seed: int, classes: int) -> None:
    logits = 3 * torch.randn(5, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    labels = torch.arange(5) % classes
    p = logits.softmax(dim=1).gather(1, labels[:, None]).squeeze(1)
    assert torch.allclose(scaled_confidence(logits, labels), torch.log(p / (1 - p)))


def test_the_confidence_is_exact_where_p_rounds_to_one() -> None:
    logits = torch.tensor([[1000.0, 0.0, 0.0], [-1000.0, 0.0, 0.0]])
    found = scaled_confidence(logits, torch.tensor([0, 0]))
    assert found.tolist() == pytest.approx([1000 - math.log(2), -1000 - math.log(2)])


def brute_attack(members: list[float], others: list[float]) -> tuple[float, float]:
    """AUC over all pairs, and the best TPR over all thresholds with at most 1 % false positives."""
    pairs = [(a > b) + 0.5 * (a == b) for a in members for b in others]
    best = 0.0
    for threshold in [*members, *others, math.inf]:
        if sum(b >= threshold for b in others) <= 0.01 * len(others):
            best = max(best, sum(a >= threshold for a in members) / len(members))
    return sum(pairs) / len(pairs), best


scores = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=25)


@given(scores, scores, st.integers(1, 12))
def test_auc_and_tpr_equal_brute_force(members: list[float], others: list[float], times: int) -> None:
    found = membership_attack(torch.tensor(members), torch.tensor(others * times))
    auc, tpr = brute_attack(members, others * times)
    assert found.auc == pytest.approx(auc) and found.tpr_at_1_percent_fpr == pytest.approx(tpr)
    assert found.auc_ci95[0] <= found.auc <= found.auc_ci95[1]


def test_one_percent_of_a_hundred_is_one() -> None:
    others = torch.arange(100.0)
    assert membership_attack(torch.tensor([98.5, 97.0]), others).tpr_at_1_percent_fpr == 0.5
    assert membership_attack(torch.tensor([98.5, 99.5]), others[:99]).tpr_at_1_percent_fpr == 1.0
    assert membership_attack(torch.tensor([97.5]), others[:99]).tpr_at_1_percent_fpr == 0.0


@given(scores, scores)
def test_a_monotone_map_changes_nothing_and_a_swap_mirrors(members: list[float], others: list[float]) -> None:
    one, two = torch.tensor(members), torch.tensor(others)
    plain, mapped = membership_attack(one, two), membership_attack(torch.exp(one), torch.exp(two))
    assert mapped == plain
    assert membership_attack(two, one).auc == pytest.approx(1 - plain.auc)


def simulate(
    shift: float, *, shadows: int, examples: int = 2000, spread: float = 1.0, seed: int = 0, **options: int
) -> MembershipAttack:
    """Examples of different difficulty; half are members, whose confidence is `shift` higher and `spread` as wide."""
    generator = torch.Generator().manual_seed(seed)

    def draw(contained: Tensor) -> Tensor:
        noise = torch.randn(contained.shape, generator=generator)
        return difficulty + torch.where(contained, shift + spread * noise, noise)

    difficulty = 5 * torch.randn(examples, generator=generator)
    contained = torch.arange(shadows)[:, None] % 2 == torch.arange(examples) % 2
    member = torch.arange(examples) < examples // 2
    ratios = likelihood_ratios(draw(contained), contained, draw(member), **options)
    return membership_attack(ratios[member], ratios[~member])


@pytest.mark.parametrize("shadows", [16, 200])
@pytest.mark.parametrize("shift", [0.5, 1.5, 3.0])
def test_a_shift_of_d_gives_the_auc_of_two_gaussians(shift: float, shadows: int) -> None:
    """The log likelihood ratio of N(d, 1) against N(0, 1) is linear: AUC = Phi(d / sqrt 2).

    With S shadow models a side the means are known to 1/S, which costs little: both pooled and single variances.
    """
    found = simulate(shift, shadows=shadows)
    expected = NORMAL.cdf(shift / math.sqrt(2))
    assert found.auc == pytest.approx(expected, abs=0.03 if shadows == 200 else 0.06)
    if shadows == 200:
        at_one_percent = NORMAL.cdf(shift - NORMAL.inv_cdf(0.99))
        assert found.tpr_at_1_percent_fpr == pytest.approx(at_one_percent, abs=0.08)


def test_a_wider_spread_is_told_by_its_variance() -> None:
    """N(0, s^2) against N(0, 1): the ratio grows with the square, AUC = 2/pi arctan(s)."""
    found = simulate(0.0, shadows=400, spread=3.0)
    assert found.auc == pytest.approx(2 / math.pi * math.atan(3.0), abs=0.02)


@pytest.mark.parametrize("shadows", [8, 128])
def test_without_information_the_interval_holds_one_half(shadows: int) -> None:
    inside = [simulate(0.0, shadows=shadows, examples=400, seed=seed).auc_ci95 for seed in range(20)]
    held = sum(low <= 0.5 <= high for low, high in inside)
    # At 95 % fewer than 16 of 20 happen once in 400 times.
    assert held >= 16
    assert all(high - low < 0.13 for low, high in inside)


def test_raw_confidences_are_a_weaker_attack_than_one_per_example() -> None:
    """The point of U-LiRA: how hard an example is hides what was left of it."""
    generator = torch.Generator().manual_seed(0)
    difficulty = 5 * torch.randn(1000, generator=generator)
    phi = difficulty + torch.randn(1000, generator=generator)
    phi[:500] += 2.0
    assert membership_attack(phi[:500], phi[500:]).auc < 0.7 < 0.88 < simulate(2.0, shadows=64).auc


def test_the_fits_by_hand() -> None:
    shadows = torch.tensor([[1.0, 5.0], [3.0, 7.0], [0.0, 0.0], [2.0, 6.0]])
    contained = torch.tensor([[True, True], [True, True], [False, False], [False, False]])
    audited = torch.tensor([2.5, 6.0])
    single = likelihood_ratios(shadows, contained, audited, least_shadows=2)
    first = NormalDist(2, math.sqrt(2)).pdf(2.5) / NormalDist(1, math.sqrt(2)).pdf(2.5)
    second = NormalDist(6, math.sqrt(2)).pdf(6.0) / NormalDist(3, math.sqrt(18)).pdf(6.0)
    assert single.tolist() == pytest.approx([math.log(first), math.log(second)])
    pooled = likelihood_ratios(shadows, contained, audited)
    second = NormalDist(6, math.sqrt(2)).pdf(6.0) / NormalDist(3, math.sqrt(10)).pdf(6.0)
    assert float(pooled[1]) == pytest.approx(math.log(second))


def test_shadow_models_that_all_agree_leave_finite_scores() -> None:
    shadows = torch.tensor([[1.0, 0.0]] * 4)
    contained = torch.tensor([[True, True], [True, True], [False, False], [False, False]])
    found = likelihood_ratios(shadows, contained, torch.tensor([1.0, 2.0]))
    assert found.tolist() == [0.0, 0.0]


@settings(deadline=None, max_examples=100)
@given(st.floats(0, 1), st.integers(1, 500), st.integers(1, 500))
def test_the_interval_holds_the_auc_and_stays_inside(auc: float, members: int, others: int) -> None:
    low, high = auc_interval(auc, members, others)
    assert 0 <= low <= auc <= high <= 1 and high > low
    mirrored = auc_interval(1 - auc, others, members)
    assert mirrored == (pytest.approx(1 - high, abs=1e-9), pytest.approx(1 - low, abs=1e-9))


@pytest.mark.parametrize(("shift", "size"), [(0.0, 20), (2.5, 20), (1.5, 60)])
def test_the_interval_keeps_its_promise(shift: float, size: int) -> None:
    generator = np.random.default_rng(0)
    true = NORMAL.cdf(shift / math.sqrt(2))
    held = 0
    for _ in range(400):
        members, others = generator.normal(shift, 1, size), generator.normal(0, 1, size)
        auc = float((members[:, None] > others).mean())
        low, high = auc_interval(auc, size, size)
        held += low <= true <= high
    assert 0.92 <= held / 400 <= 1.0


def test_what_cannot_be_measured_says_why() -> None:
    shadows, audited = torch.randn(4, 3), torch.randn(3)
    contained = torch.tensor([[True] * 3, [True] * 3, [False] * 3, [False] * 3])
    with pytest.raises(NotMeasurableError, match="no shadow model with it, or none without"):
        likelihood_ratios(shadows, torch.ones(4, 3, dtype=torch.bool), audited)
    with pytest.raises(NotMeasurableError, match="one a side leaves no variance"):
        likelihood_ratios(shadows[1:3], contained[1:3], audited)
    with pytest.raises(NotMeasurableError, match="audited model are not all finite"):
        likelihood_ratios(shadows, contained, audited / 0)
    with pytest.raises(NotMeasurableError, match="no scores of non-members"):
        membership_attack(audited, audited[:0])
    with pytest.raises(ValueError, match="shapes"):
        likelihood_ratios(shadows, contained[:3], audited)


SEEN, MODELS = 400, 8


@dataclass
class KnownImages:
    """A pool of 800 apples and buses, and models whose embeddings tell what they were made to remember.

    Attributes:
        left: How far the embedding of a remembered image lies nearer to its class than that of another one.
    """

    left: float

    def __post_init__(self) -> None:
        random = np.random.default_rng(3)
        self.pool = cast(Any, Apples())
        self.seen = SEEN
        half = random.random((MODELS // 2, 2 * SEEN)) < 0.5
        self.contained = torch.from_numpy(np.stack([half, ~half], axis=1).reshape(MODELS, 2 * SEEN))
        self.difficulty = torch.from_numpy(random.normal(0, 0.3, 2 * SEEN))
        self.clips = [tiny_clip("vit") for _ in range(MODELS)]

    def unlearned(self) -> Iterator[Any]:
        yield from self.clips

    def images(self, clip: Any, dataset: Any, split: str, *, rows: NDArray[np.int64]) -> Tensor:
        """Unit embeddings at an angle to the class that depends on the image, on chance, and on what is remembered."""
        number = next((n for n, each in enumerate(self.clips) if each is clip), MODELS)
        knows = self.contained[number] if number < MODELS else torch.arange(2 * SEEN) < SEEN
        noise = torch.from_numpy(np.random.default_rng((number, 1)).normal(0, 0.05, 2 * SEEN))
        angle = (0.8 + self.difficulty + noise - self.left * knows)[rows]
        other = torch.zeros(len(rows), len(NAMES), dtype=torch.float64)
        other[:, 0], other[:, 1] = angle.cos(), angle.sin()
        return other

    def classifier(self, clip: Any, names: Any, templates: Any) -> Tensor:
        return torch.eye(len(NAMES), dtype=torch.float64)


class Apples(TinyDataset):
    """The pool of `KnownImages`: it is asked for labels alone."""

    def split(self, name: Any) -> Any:
        return cast(Any, type("Labels", (), {"labels": np.zeros(2 * SEEN, dtype=np.int64), "images": range(2 * SEEN)}))

    def forget_mask(self, split: Any, request: Any) -> NDArray[np.bool_]:
        return np.arange(2 * SEEN) % 2 == 0


def measured(left: float) -> tuple[float, float, int]:
    known = KnownImages(left)
    context = context_of(tiny_clip("vit", seed=1), APPLE)
    context.store, context.shadows, context.retrained = cast(Any, known), cast(Any, known), context.original
    found = measure(context)
    auc, tpr = found["forget/membership_auc"], found["forget/membership_tpr"]
    assert auc.n == SEEN // 2 and context.report["membership"] == {"shadow models": MODELS, "non-members": SEEN // 2}
    assert auc.value is not None and tpr.value is not None and auc.n is not None
    return auc.value, tpr.value, auc.n


def test_a_model_that_remembers_is_found_out_and_one_that_does_not_is_not() -> None:
    remembered, told, _ = measured(left=0.15)
    assert remembered > 0.95 and told > 0.5
    forgotten, by_chance, _ = measured(left=0.0)
    assert abs(forgotten - 0.5) < 0.08 and by_chance < 0.06


def test_without_shadow_models_or_classes_there_is_no_value() -> None:
    context = context_of(tiny_clip("vit"), APPLE)
    with pytest.raises(NotMeasurableError, match="no retrained model"):
        measure(context)
    context.retrained, context.no_shadows = context.original, "no shadow models: of the moon"
    with pytest.raises(NotMeasurableError, match="of the moon"):
        measure(context)
