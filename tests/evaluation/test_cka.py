"""Linear CKA: against the centring matrix, its invariances, and both of its forms."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from benchmark.evaluation.families import NotMeasurableError
from benchmark.evaluation.measures.cka import linear_cka


def features(rows: int, width: int, seed: int) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)) + 3.0


def brute_cka(x: Tensor, y: Tensor) -> float:
    """HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) with the centring matrix written out."""
    n = len(x)
    centre = torch.eye(n, dtype=torch.float64) - 1 / n
    k, l = (centre @ (each.double() @ each.double().T) @ centre for each in (x, y))  # noqa: E741
    hsic = [float(torch.trace(a @ b)) for a, b in ((k, l), (k, k), (l, l))]
    return hsic[0] / math.sqrt(hsic[1] * hsic[2])


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 30), st.integers(1, 12), st.integers(1, 12), st.integers(0, 10_000))
def test_it_equals_brute_force_in_both_forms(rows: int, first: int, second: int, seed: int) -> None:
    x, y = features(rows, first, seed), features(rows, second, seed + 1)
    y[:, 0] += x[:, 0]
    found = linear_cka(x, y)
    assert found == pytest.approx(brute_cka(x, y), abs=1e-9) and 0 <= found <= 1
    assert found == pytest.approx(linear_cka(y, x), abs=1e-12)


@pytest.mark.parametrize(("rows", "width"), [(500, 16), (16, 200)])
def test_a_model_is_like_itself_rotated_scaled_and_shifted(rows: int, width: int) -> None:
    x = features(rows, width, 0)
    turn, _ = torch.linalg.qr(features(width, width, 1))
    assert linear_cka(x, x) == pytest.approx(1.0, abs=1e-6)
    assert linear_cka(x, -0.01 * x @ turn + 5.0) == pytest.approx(1.0, abs=1e-6)
    y = features(rows, 7, 2) + x[:, :7]
    assert linear_cka(1e3 * x @ turn - 2, 1e-8 * y) == pytest.approx(linear_cka(x, y), abs=1e-5)


def test_it_sees_other_linear_maps() -> None:
    x = features(500, 4, 0)
    assert linear_cka(x, x * torch.tensor([1.0, 1.0, 1.0, 20.0])) < 0.6


def test_unrelated_features_score_near_the_stated_bias() -> None:
    x, y = features(2000, 20, 0), features(2000, 45, 1)
    assert linear_cka(x, y) == pytest.approx(math.sqrt(20 * 45) / 2000, rel=0.2)


def test_orthogonal_features_score_zero() -> None:
    x = torch.tensor([[1.0], [1.0], [-1.0], [-1.0]])
    y = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])
    assert linear_cka(x, y) == 0.0


def test_what_cannot_be_measured_says_why() -> None:
    x = features(10, 3, 0)
    with pytest.raises(NotMeasurableError, match="the same for every image"):
        linear_cka(x, torch.full((10, 3), 0.1))
    with pytest.raises(NotMeasurableError, match="not all finite"):
        linear_cka(x, x / 0)
    with pytest.raises(NotMeasurableError, match="single image"):
        linear_cka(x[:1], x[:1])
    with pytest.raises(ValueError, match="10 and 9"):
        linear_cka(x, x[:9])
