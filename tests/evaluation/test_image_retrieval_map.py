"""Image-to-image mAP against brute force over all orders of ties, and against torchmetrics where there are none."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.retrieval import retrieval_average_precision

from benchmark.evaluation.families import NotMeasurableError
from benchmark.evaluation.measures.image_retrieval_map import _chance, average_precision, image_retrieval_map
from benchmark.evaluation.numerics import features as shared


def precision_of(hits: list[bool]) -> float:
    """Average precision of one order."""
    precisions = [sum(hits[: place + 1]) / (place + 1) for place, hit in enumerate(hits) if hit]
    return sum(precisions) / len(precisions)


def brute_precision(scores: list[float], hits: list[bool]) -> float:
    """The mean over every order that the scores allow."""
    found = [
        precision_of([hits[item] for item in order])
        for order in itertools.permutations(range(len(scores)))
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order))
    ]
    return sum(found) / len(found)


RANKED = st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=6)


@settings(deadline=None, max_examples=100)
@given(RANKED.filter(lambda items: any(hit for _, hit in items)))
def test_ties_count_by_the_mean_of_their_orders(items: list[tuple[int, bool]]) -> None:
    items = sorted(items, key=lambda item: -item[0])
    scores, hits = [float(score) for score, _ in items], [hit for _, hit in items]
    found = float(average_precision(torch.tensor([scores]), torch.tensor([hits])))
    assert found == pytest.approx(brute_precision(scores, hits)) and 0 < found <= 1


@pytest.mark.parametrize(("relevant", "others"), [(1, 1), (1, 5), (2, 5), (5, 5), (3, 6)])
def test_chance_is_the_mean_over_all_orders(relevant: int, others: int) -> None:
    hits = [True] * relevant + [False] * (others - relevant)
    found = float(_chance(torch.tensor([float(relevant)]), others))
    assert found == pytest.approx(brute_precision([0.0] * others, hits))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(2, 5))
def test_it_equals_torchmetrics_without_ties(seed: int, classes: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat(4)
    images = torch.nn.functional.normalize(torch.randn(len(labels), 16, generator=generator), dim=1)
    forget = labels < classes - 1
    theirs = []
    for query in forget.nonzero().flatten().tolist():
        rest = torch.arange(len(labels)) != query
        # torchmetrics drops what scores 0 or less, so its cosines are shifted above 0.
        scores = images[rest].double() @ images[query].double() + 2  # in single precision the shift makes ties
        theirs.append(float(retrieval_average_precision(scores, labels[rest] == labels[query])))
    found = image_retrieval_map(images, labels, forget)
    assert found.n == len(theirs)
    assert found.mean_average_precision == pytest.approx(sum(theirs) / len(theirs), abs=1e-5)


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.randn(30, 5, generator=generator), torch.arange(3).repeat(10)
    whole = image_retrieval_map(images, labels, labels == 1)
    monkeypatch.setattr(shared, "BLOCK_VALUES", 1500)
    assert image_retrieval_map(images, labels, labels == 1) == whole


def test_features_that_hold_the_class_and_features_that_do_not() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(10).repeat(40)
    noise = torch.randn(400, 20, generator=generator)
    held = image_retrieval_map(torch.eye(10, 20)[labels] + 0.05 * noise, labels, labels == 0)
    assert held.mean_average_precision == 1.0 and held.n == 40
    random = image_retrieval_map(noise, labels, labels == 0)
    assert random.mean_average_precision == pytest.approx(random.chance, abs=0.03)
    assert random.chance == pytest.approx(39 / 399, abs=0.02)


def test_a_collapsed_model_scores_chance_exactly() -> None:
    labels = torch.arange(4).repeat(5)
    found = image_retrieval_map(torch.ones(20, 3), labels, labels == 2)
    assert found.mean_average_precision == pytest.approx(found.chance)


def test_a_query_never_finds_itself() -> None:
    images = torch.tensor([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.0]])
    found = image_retrieval_map(images, torch.tensor([0, 1, 0]), torch.tensor([True, False, True]))
    # Each image of class 0 meets class 1 first and its own class, opposite, second.
    assert found.mean_average_precision == 0.5 and found.n == 2


def test_a_class_of_one_image_has_nothing_to_find() -> None:
    labels = torch.tensor([0, 1, 1])
    with pytest.raises(NotMeasurableError, match="another of its class"):
        image_retrieval_map(torch.eye(3), labels, labels == 0)
    both = image_retrieval_map(torch.eye(3), labels, torch.tensor([True, True, False]))
    assert both.n == 1
