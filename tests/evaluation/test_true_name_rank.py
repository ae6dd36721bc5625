"""The rank of the true name: by hand, against loops with ties, and where nothing is known."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from benchmark.evaluation.families import NotMeasurableError
from benchmark.evaluation.measures.true_name_rank import TOP, true_name_rank
from benchmark.evaluation.numerics import features as shared


@st.composite
def zero_shot(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    """Images, names and true classes; names repeat, so that ties are common."""
    names, images = draw(st.integers(2, 9)), draw(st.integers(1, 5))
    corners = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.6, 0.8]])
    pick = st.integers(0, len(corners) - 1)
    classifier = corners[draw(st.lists(pick, min_size=names, max_size=names))]
    embedded = corners[draw(st.lists(pick, min_size=images, max_size=images))]
    labels = torch.tensor(draw(st.lists(st.integers(0, names - 1), min_size=images, max_size=images)))
    return embedded, classifier, labels


def brute(images: Tensor, classifier: Tensor, labels: Tensor) -> list[tuple[float, float, float]]:
    """Rank, margin and chance of the top 5 for each image."""
    found = []
    for image, label in zip(images, labels.tolist(), strict=True):
        scores = [round(float(image @ name), 6) for name in classifier]
        rivals = [score for name, score in enumerate(scores) if name != label]
        above = sum(score > scores[label] for score in rivals)
        tied = sum(score == scores[label] for score in rivals)
        places = range(above + 1, above + tied + 2)
        top = sum(place <= TOP for place in places) / len(places)
        found.append((sum(places) / len(places), scores[label] - max(rivals), top))
    return found


@settings(deadline=None, max_examples=120)
@given(zero_shot())
def test_it_equals_brute_force(case: tuple[Tensor, Tensor, Tensor]) -> None:
    found, expected = true_name_rank(*case), torch.tensor(brute(*case), dtype=torch.float64)
    assert found.mean_rank == pytest.approx(float(expected[:, 0].mean()))
    assert found.median_rank == pytest.approx(float(expected[:, 0].quantile(0.5)))
    assert found.mean_margin == pytest.approx(float(expected[:, 1].mean()), abs=1e-5)
    assert found.top5 == pytest.approx(float(expected[:, 2].mean()))
    assert 1 <= found.mean_rank <= len(case[1]) and -2 <= found.mean_margin <= 2 and found.n == len(case[0])


def test_a_known_class_comes_first_and_a_removed_one_does_not() -> None:
    names = torch.eye(8)
    known = true_name_rank(names, names, torch.arange(8))
    assert (known.mean_rank, known.median_rank, known.mean_margin, known.top5) == (1.0, 1.0, 1.0, 1.0)
    # Seven names share the score 0; the true one is the last.
    opposite = true_name_rank(-names, names, torch.arange(8))
    assert (opposite.mean_rank, opposite.mean_margin, opposite.top5) == (8.0, -1.0, 0.0)


def test_just_over_the_border_is_rank_two() -> None:
    names = torch.eye(3)
    found = true_name_rank(torch.tensor([[0.99, 1.0, 0.0]]), names, torch.tensor([0]))
    assert found.mean_rank == 2.0 and -0.01 < found.mean_margin < 0


@pytest.mark.parametrize("names", [2, 5, 6, 40])
def test_a_collapsed_model_has_the_rank_of_chance(names: int) -> None:
    generator = torch.Generator().manual_seed(0)
    classifier = torch.randn(1, 16, generator=generator).expand(names, -1)
    found = true_name_rank(torch.randn(7, 16, generator=generator), classifier, torch.zeros(7, dtype=torch.long))
    assert found.mean_rank == found.chance_rank == (names + 1) / 2
    assert found.top5 == pytest.approx(min(1, TOP / names)) and found.mean_margin == pytest.approx(0, abs=2e-6)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.floats(0.01, 100))
def test_rotation_and_scale_do_not_matter(seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    images, names = torch.randn(6, 5, generator=generator), torch.randn(9, 5, generator=generator)
    labels = torch.randint(9, (6,), generator=generator)
    turn, _ = torch.linalg.qr(torch.randn(5, 5, generator=generator))
    plain, turned = true_name_rank(images, names, labels), true_name_rank(scale * images @ turn, names @ turn, labels)
    assert turned.mean_margin == pytest.approx(plain.mean_margin, abs=1e-5)
    assert turned.mean_rank == pytest.approx(plain.mean_rank, abs=0.2)


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    images, names = (torch.randn(rows, 5, generator=generator) for rows in (20, 9))
    labels = torch.randint(9, (20,), generator=generator)
    whole = dataclasses.asdict(true_name_rank(images, names, labels))
    monkeypatch.setattr(shared, "BLOCK_VALUES", 20)
    blocks = dataclasses.asdict(true_name_rank(images, names, labels))
    assert blocks == pytest.approx(whole, rel=1e-6), "a product of another size may round otherwise"


def test_what_cannot_be_measured_says_why() -> None:
    with pytest.raises(NotMeasurableError, match="fewer than two names"):
        true_name_rank(torch.ones(1, 2), torch.ones(1, 2), torch.tensor([0]))
    with pytest.raises(NotMeasurableError, match="there are no embeddings of forgotten"):
        true_name_rank(torch.ones(0, 2), torch.eye(2), torch.zeros(0, dtype=torch.long))
