"""The kNN probe against loops over all orders of ties, and on features with and without the class."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from benchmark.evaluation.families import NotMeasurableError
from benchmark.evaluation.measures.knn_probe import KnnProbe, _votes, knn_probe
from benchmark.evaluation.numerics import features as shared
from benchmark.evaluation.numerics.features import cosines, unit_norm


def brute_votes(scores: list[float], labels: list[int], classes: int, neighbours: int, temperature: float) -> Tensor:
    """Votes averaged over every order in which equal scores could come; relative to the best score."""
    total = torch.zeros(classes, dtype=torch.float64)
    orders = [
        order
        for order in itertools.permutations(range(len(scores)))
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order))
    ]
    for order in orders:
        for item in order[:neighbours]:
            total[labels[item]] += math.exp((scores[item] - max(scores)) / temperature)
    return total / len(orders)


@settings(deadline=None, max_examples=80)
@given(st.data(), st.integers(1, 6), st.integers(1, 3))
def test_votes_are_the_mean_over_all_orders_of_ties(data: st.DataObject, count: int, classes: int) -> None:
    values = st.sampled_from([-0.5, 0.0, 0.25, 0.5])
    scores = data.draw(st.lists(values, min_size=count, max_size=count))
    labels = data.draw(st.lists(st.integers(0, classes - 1), min_size=count, max_size=count))
    neighbours = data.draw(st.integers(1, count))
    found = _votes(torch.tensor([scores]), torch.tensor(labels), classes, neighbours, 0.3)[0]
    assert torch.allclose(found, brute_votes(scores, labels, classes, neighbours, 0.3))


def clouds(each: int, *, seed: int, classes: int = 4, noise: float = 0.3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.eye(classes, 6)
    labels = torch.arange(classes).repeat(each)
    return centres[labels] + noise * torch.randn(len(labels), 6, generator=generator), labels


def brute_probe(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, forget: Tensor) -> KnnProbe:
    """Twenty neighbours at a temperature of 0.07, one image after another; without ties."""
    right: dict[bool, list[bool]] = {True: [], False: []}
    for image, label, forgotten in zip(test, test_labels.tolist(), forget.tolist(), strict=True):
        scores = [float(torch.cosine_similarity(image, each, dim=0)) for each in train]
        nearest = sorted(range(len(scores)), key=lambda item: -scores[item])[:20]
        votes: dict[int, float] = {}
        for item in nearest:
            votes[int(train_labels[item])] = votes.get(int(train_labels[item]), 0) + math.exp(scores[item] / 0.07)
        right[forgotten].append(max(votes, key=votes.__getitem__) == label)
    means = [sum(right[part]) / len(right[part]) for part in (True, False)]
    return KnnProbe(*means, len(right[True]), len(right[False]))


def test_the_probe_equals_brute_force() -> None:
    train, test = clouds(15, seed=0, noise=0.6), clouds(8, seed=1, noise=0.6)
    found = knn_probe(*train, *test, test[1] == 2)
    assert found == brute_probe(*train, *test, test[1] == 2)
    assert 0 < found.forget_accuracy < 1


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = clouds(15, seed=0, noise=0.6), clouds(8, seed=1, noise=0.6)
    whole = knn_probe(*train, *test, test[1] == 0)
    monkeypatch.setattr(shared, "BLOCK_VALUES", 130)
    assert knn_probe(*train, *test, test[1] == 0) == whole


def test_features_that_hold_the_class_and_features_that_do_not() -> None:
    train, test = clouds(30, seed=0, noise=0.1), clouds(10, seed=1, noise=0.1)
    assert knn_probe(*train, *test, test[1] == 0) == KnnProbe(1.0, 1.0, 10, 30)
    # Every image of class 0 takes the place of an image of class 1, 2 or 3.
    for features, labels in (train, test):
        mine = (labels == 0).nonzero().flatten()
        features[mine] = features[mine + 1 + torch.arange(len(mine)) % 3] + 0.01
    moved = knn_probe(*train, *test, test[1] == 0)
    assert moved.forget_accuracy < 0.2 and moved.retain_accuracy > 0.9


def test_a_collapsed_model_scores_chance() -> None:
    labels = torch.arange(5).repeat(40)
    train, test = torch.ones(200, 3), torch.full((200, 3), 0.7)
    found = knn_probe(train, labels, test, labels, labels == 0)
    assert found.forget_accuracy == pytest.approx(0.2) and found.retain_accuracy == pytest.approx(0.2)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.floats(0.01, 100), st.booleans())
def test_scale_rotation_and_order_do_not_matter(seed: int, scale: float, turn: bool) -> None:
    train, labels = clouds(12, seed=seed, noise=0.5)
    test, test_labels = clouds(5, seed=seed + 1, noise=0.5)
    plain = knn_probe(train, labels, test, test_labels, test_labels == 1)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=generator))[0] if turn else torch.eye(6)
    other = knn_probe(
        scale * train[order] @ rotation, labels[order], scale * test @ rotation, test_labels, test_labels == 1
    )
    assert other.forget_accuracy == pytest.approx(plain.forget_accuracy, abs=0.2001)
    assert other.retain_accuracy == pytest.approx(plain.retain_accuracy, abs=0.0667)


def test_a_tiny_temperature_is_the_nearest_neighbour() -> None:
    train, test = clouds(12, seed=0, noise=0.8), clouds(10, seed=1, noise=0.8)
    nearest = train[1][cosines(unit_norm(test[0], "test"), unit_norm(train[0], "train")).argmax(dim=1)]
    found = knn_probe(*train, *test, test[1] == 0, temperature=1e-5)
    assert found.forget_accuracy == pytest.approx(float((nearest == test[1])[test[1] == 0].float().mean()))


@pytest.mark.parametrize(
    ("how", "reason"),
    [("few", "8 train images cannot give 20"), ("absent", "class 3 has 0"), ("diverged", "train features are not")],
)
def test_what_cannot_be_measured_says_why(how: str, reason: str) -> None:
    train, labels = clouds(2 if how == "few" else 12, seed=0)
    test, test_labels = clouds(5, seed=1)
    if how == "absent":
        train, labels = train[labels != 3], labels[labels != 3]
    if how == "diverged":
        train[0, 0] = math.inf
    with pytest.raises(NotMeasurableError, match=reason):
        knn_probe(train, labels, test, test_labels, test_labels == 0)
