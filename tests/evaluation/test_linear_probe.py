"""The linear probe: the solver against its own optimality conditions, and what the probe finds where it is hidden."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from benchmark.evaluation.families import NotMeasurableError
from benchmark.evaluation.measures import linear_probe as module
from benchmark.evaluation.measures.linear_probe import LinearProbe, linear_probe, search, stratified_part
from benchmark.evaluation.numerics.logistic_regression import LinearClassifier, fit, principal_axes

FORGOTTEN = 0


def world(
    classes: int = 4, width: int = 8, each: int = 60, *, apart: float = 6.0, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Features of `each` images a class, standard Gaussian clouds around centres of norm `apart`, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    centres = apart * torch.nn.functional.normalize(torch.randn(classes, width, generator=generator), dim=1)
    if classes <= width:
        centres = apart * torch.linalg.qr(centres.T)[0].T
    labels = torch.arange(classes).repeat(each)
    return centres[labels] + torch.randn(len(labels), width, generator=generator), labels


def probe(features: Tensor, labels: Tensor, *, seed: int = 0, scaling: module.Scaling = "whitened") -> LinearProbe:
    """The probe with the first three quarters of the images as train split."""
    cut = 3 * len(labels) // 4
    test = labels[cut:]
    return linear_probe(
        features[:cut], labels[:cut], features[cut:], test, test == FORGOTTEN, seed=seed, scaling=scaling
    )


def slope(model: LinearClassifier, features: Tensor, labels: Tensor, penalty: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of the regression's objective, by autograd in float64."""
    weight, bias = (each.double().requires_grad_() for each in (model.weight, model.bias))
    logits = features.double() @ weight + bias
    loss = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    loss = loss + 0.5 * (penalty[:, None] * weight.square()).sum()
    loss.backward()
    assert weight.grad is not None and bias.grad is not None
    return weight.grad, bias.grad


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000), st.integers(2, 5), st.floats(-1, 4))
def test_the_fit_is_a_minimum(seed: int, classes: int, exponent: float) -> None:
    features, labels = world(classes, 5, 30, apart=2.0, seed=seed)
    features = principal_axes(features).whiten(features)
    penalty = 10**exponent * torch.linspace(0.5, 2.0, features.shape[1], dtype=torch.float64)
    model = fit(features, labels, penalty, classes)
    at_zero = slope(LinearClassifier(0 * model.weight, 0 * model.bias), features, labels, penalty)
    found = slope(model, features, labels, penalty)
    assert float(torch.cat([found[0].flatten(), found[1]]).norm()) < 0.01 * float(at_zero[0].norm())


def test_the_start_does_not_matter() -> None:
    features, labels = world(apart=2.0)
    features = principal_axes(features).whiten(features)
    penalty = torch.full((features.shape[1],), 10.0)
    cold = fit(features, labels, penalty, 4)
    warm = fit(features, labels, penalty, 4, start=fit(features, labels, 100 * penalty, 4))
    assert torch.allclose(cold.weight, warm.weight, atol=5e-3)


def test_features_that_hold_the_class_are_recognised() -> None:
    found = probe(*world())
    assert found.forget_accuracy == 1.0 and found.retain_accuracy == 1.0
    assert (found.forget_n, found.retain_n, found.train_n, found.axes) == (15, 45, 180, 8)


def test_a_class_that_looks_like_the_others_is_not_recognised() -> None:
    features, labels = world(each=120)
    others, disguise = world(each=120, seed=0)[0], (labels == FORGOTTEN).nonzero().flatten()
    # Each forgotten image is a fresh draw of another class: the features hold nothing of it.
    generator = torch.Generator().manual_seed(5)
    donors = (labels != FORGOTTEN).nonzero().flatten()
    chosen = donors[torch.randint(len(donors), (len(disguise),), generator=generator)]
    features[disguise] = others[chosen] + 0.5 * torch.randn(len(disguise), 8, generator=generator)
    found = probe(features, labels)
    assert found.forget_accuracy < 0.2 and found.retain_accuracy > 0.9


def test_scaling_a_direction_down_hides_nothing() -> None:
    features, labels = world(20, 40, 60, apart=4.5, seed=1)
    direction = torch.nn.functional.normalize(features[labels == FORGOTTEN].mean(dim=0) - features.mean(dim=0), dim=0)
    within = torch.cov((features - torch.stack([features[labels == c].mean(dim=0) for c in range(20)])[labels]).T)
    sharp = torch.linalg.solve(within, direction)
    basis, _ = torch.linalg.qr(torch.stack([direction, sharp], dim=1))
    edited = features - 0.995 * features @ basis @ basis.T
    open_, hidden = probe(features, labels), probe(edited, labels)
    assert open_.forget_accuracy > 0.7
    assert hidden.forget_accuracy == pytest.approx(open_.forget_accuracy, abs=0.04)
    # The probe of features as they come believes it.
    assert probe(edited, labels, scaling="plain").forget_accuracy < open_.forget_accuracy - 0.2


def test_a_direction_that_is_projected_out_is_gone() -> None:
    """What float32 leaves of it is rounding, which whitening must not blow up into information."""
    generator = torch.Generator().manual_seed(3)
    features, labels = world(3, 12, 200, apart=8.0)
    turn, _ = torch.linalg.qr(torch.randn(12, 12, generator=generator))
    # Classes 0 and 1 differ along one direction only.
    features[labels == 0] = features[labels == 1][torch.randperm(200, generator=generator)]
    features[:, 0] = torch.randn(600, generator=generator) + 8.0 * (labels == 0)
    features = features @ turn + 3.0
    assert probe(features, labels).forget_accuracy > 0.99
    removed = features - (features @ turn[0])[:, None] * turn[0]
    found = probe(removed, labels)
    assert found.axes == 11 and 0.2 < found.forget_accuracy < 0.8 and found.retain_accuracy < 0.9


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10_000), st.floats(-4, 4), st.floats(-50, 50))
def test_an_invertible_linear_map_changes_nothing(seed: int, exponent: float, shift: float) -> None:
    features, labels = world(3, 4, 40, apart=2.5, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    left, _ = torch.linalg.qr(torch.randn(4, 4, generator=generator))
    right, _ = torch.linalg.qr(torch.randn(4, 4, generator=generator))
    mapping = 10**exponent * left @ torch.diag(torch.tensor([1.0, 0.3, 0.1, 0.01])) @ right
    plain, mapped = probe(features, labels), probe(features @ mapping + shift * 10**exponent, labels)
    assert mapped.axes == 4
    assert mapped.forget_accuracy == pytest.approx(plain.forget_accuracy, abs=0.1001)
    assert mapped.retain_accuracy == pytest.approx(plain.retain_accuracy, abs=0.0501)


def test_the_names_of_the_classes_do_not_matter() -> None:
    features, labels = world(apart=2.5)
    cut = 180
    new = torch.tensor([7, 2, 30, 11])[labels]
    renamed = linear_probe(features[:cut], new[:cut], features[cut:], new[cut:], labels[cut:] == FORGOTTEN)
    # Up to which images the seeded validation part holds.
    assert renamed.forget_accuracy == pytest.approx(probe(features, labels).forget_accuracy, abs=0.14)


def test_the_seed_alone_decides() -> None:
    features, labels = world(apart=1.5)
    first = probe(features, labels, seed=3)
    torch.manual_seed(99)
    assert probe(features, labels, seed=3) == first


def test_a_search_on_a_part_ends_in_a_fit_on_all(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def counting(features: Tensor, *rest: object, **start: object) -> LinearClassifier:
        sizes.append(len(features))
        return fit(features, *rest, **start)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "fit", counting)
    monkeypatch.setattr(module, "SEARCH_IMAGES", 40)
    found = probe(*world())
    assert sizes[-1] == 180 and set(sizes[:-1]) == {40}
    assert found.forget_accuracy > 0.9


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.floats(0.01, 1.0), st.integers(0, 3))
def test_the_part_is_stratified(counts: list[int], share: float, spare: int) -> None:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))]
    part = stratified_part(labels, share, seed=0, spare=spare)
    assert torch.equal(part, stratified_part(labels, share, seed=0, spare=spare))
    for label, count in enumerate(counts):
        taken = int(part[labels == label].sum())
        assert taken <= max(0, count - spare) and abs(taken - count * share) <= max(1, spare)
        assert taken >= min(1, max(0, count - spare))


def test_another_seed_takes_another_part() -> None:
    labels = torch.zeros(200, dtype=torch.long)
    first, second = (stratified_part(labels, 0.1, seed=seed) for seed in (0, 1))
    assert int(first.sum()) == int(second.sum()) == 20 and not torch.equal(first, second)


@pytest.mark.parametrize("peak", [-5.6, -0.4, 0.0, 1.3, 4.9, 6.0])
def test_the_search_finds_a_peak_to_half_a_decade(peak: float) -> None:
    asked: list[float] = []

    def grade(exponent: float) -> float:
        asked.append(exponent)
        return 0.9 * math.exp(-((exponent - peak) ** 2) / 20)

    best = search(grade, module.COARSE, module.FINER, images=100)
    assert abs(best - peak) <= 0.5 and len(asked) == len(set(asked)) and max(asked) <= 6 and min(asked) >= -6


@pytest.mark.parametrize(
    ("accuracies", "asked"),
    [
        ((0.2, 0.9, 0.9, 0.5), 4),  # one large fall
        ((0.2, 0.9, 0.89, 0.89), 4),  # two small ones in a row
        ((0.2, 0.9, 0.89, 0.9, 0.89, 0.9, 0.89), 7),
        ((0.2, 1.0), 2),
    ],
)
def test_the_search_ends_early_and_the_strongest_of_equals_wins(accuracies: tuple[float, ...], asked: int) -> None:
    given = dict(zip(module.COARSE, accuracies, strict=False))
    seen: list[float] = []

    def grade(exponent: float) -> float:
        seen.append(exponent)
        return given[exponent]

    assert search(grade, module.COARSE, (), images=100) == 4.0
    assert len(seen) == asked


def _break(features: Tensor, labels: Tensor, how: str) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    cut = 180
    parts = [features[:cut].clone(), labels[:cut].clone(), features[cut:].clone(), labels[cut:].clone()]
    forget = parts[3] == FORGOTTEN
    if how == "one train image":
        keep = parts[1] != FORGOTTEN
        keep[(~keep).nonzero()[0]] = True
        parts[0], parts[1] = parts[0][keep], parts[1][keep]
    elif how == "no train image":
        keep = parts[1] != FORGOTTEN
        parts[0], parts[1] = parts[0][keep], parts[1][keep]
    elif how == "diverged":
        parts[2][3, 1] = math.nan
    elif how == "constant":
        parts[0][:] = 1.0
    elif how == "no forgotten":
        forget = torch.zeros_like(forget)
    elif how == "wide":
        generator = torch.Generator().manual_seed(0)
        parts[0], parts[2] = (torch.randn(len(each), 300, generator=generator) for each in (parts[0], parts[2]))
    return parts[0], parts[1], parts[2], parts[3], forget


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("one train image", "class 0 has 1 train images"),
        ("no train image", "class 0 has 0 train images"),
        ("diverged", "test features are not all finite"),
        ("constant", "the same for every image"),
        ("no forgotten", "no forgotten test images"),
        ("wide", "180 train images are too few for 179 axes"),
    ],
)
def test_what_cannot_be_measured_says_why(how: str, reason: str) -> None:
    with pytest.raises(NotMeasurableError, match=reason) as caught:
        linear_probe(*_break(*world(), how))
    assert caught.value.reason == str(caught.value)
