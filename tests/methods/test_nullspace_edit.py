"""The null-space edit: its closed form two ways, exact retention, and what happens where the null space is empty."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny import NAMES, WIDTH, random_images, tiny_clip, tiny_spec
from torch import Tensor

from datamodules.common.module import NameSet
from methods.nullspace_edit import Hyperparameters, NullspaceEdit, null_space, null_space_edit


def unit_columns(rows: int, count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, count, generator=generator, dtype=torch.float64), dim=0)


@pytest.mark.parametrize(("forget", "retain", "g"), [(1, 3, 1e-2), (2, 4, 1.0), (3, 0, 0.3), (4, 6, 5.0)])
def test_closed_form_is_the_paper_s_and_the_least_squares_solution(forget: int, retain: int, g: float) -> None:
    k1, basis = unit_columns(8, forget, 1), null_space(unit_columns(8, retain, 2), 1e-9)
    found, eye, p = null_space_edit(k1, basis, regularisation=g), torch.eye(8).double(), basis @ basis.T
    paper = -k1 @ k1.T @ p @ torch.linalg.inv(k1 @ k1.T @ p + g * eye)
    torch.testing.assert_close(found, eye + paper)
    inside = basis.T @ k1  # D P = X basis^T with X free: min ||X inside + k1||^2 + g ||X||^2
    keys = torch.cat([inside, g**0.5 * torch.eye(basis.shape[1]).double()], dim=1)
    values = torch.cat([-k1, torch.zeros(8, basis.shape[1]).double()], dim=1)
    free = torch.linalg.lstsq(keys.T, values.T).solution.T
    torch.testing.assert_close(found, eye + free @ basis.T)


def test_retained_keys_keep_their_outputs_and_the_forgotten_ones_lose_theirs() -> None:
    k1, k0 = unit_columns(9, 2, 3), unit_columns(9, 5, 4)
    basis = null_space(k0, 1e-9)
    assert basis.shape == (9, 4)
    edited = null_space_edit(k1, basis, regularisation=1e-9)
    torch.testing.assert_close(edited @ k0, k0)
    assert (edited @ k1).norm() < 1e-6


def test_the_share_of_the_logit_that_is_kept() -> None:
    t, k0 = unit_columns(9, 1, 5), unit_columns(9, 6, 6)
    basis, g = null_space(k0, 1e-9), 0.04
    kept = float((t.T @ null_space_edit(t, basis, regularisation=g) @ t).squeeze())
    inside = float((basis.T @ t).square().sum())
    assert kept == pytest.approx(g / (g + inside))


def test_a_space_that_the_retained_keys_fill_is_left_alone() -> None:
    k1, basis = unit_columns(5, 1, 7), null_space(unit_columns(5, 9, 8), 1e-6)
    assert basis.shape[1] == 0
    torch.testing.assert_close(null_space_edit(k1, basis, regularisation=0.1), torch.eye(5).double())


def test_the_threshold_bounds_what_retained_keys_may_lose() -> None:
    k0 = torch.eye(4).double()[:, [0, 0, 1]]
    k0[:, 2] = F.normalize(torch.tensor([1.0, 0.05, 0.0, 0.0]).double(), dim=0)  # all but in the line of the others
    assert null_space(k0, 1e-6).shape[1] == 2 and null_space(k0, 1e-2).shape[1] == 3
    assert (null_space(k0, 1e-2).T @ k0).square().sum() < 1e-2 * k0.square().sum()
    assert null_space(k0, 0.0).shape[1] == 2


@pytest.mark.parametrize("share", [1e-9, 0.01, 0.1, 0.4])
def test_the_null_space_is_the_largest_that_holds_no_more_than_its_share(share: float) -> None:
    k0 = unit_columns(8, 6, 9)
    basis = null_space(k0, share)
    lengths = np.linalg.svd(k0.numpy())[1] ** 2  # independent: squared singular values, largest first
    lengths = np.concatenate([lengths, np.zeros(2)])[::-1]
    assert basis.shape[1] == int((np.cumsum(lengths) <= share * lengths.sum()).sum())
    assert float((basis.T @ k0).square().sum()) <= share * 6 + 1e-12
    torch.testing.assert_close(basis.T @ basis, torch.eye(basis.shape[1]).double())
    repeated = null_space(torch.cat([k0] * 99, dim=1), share)
    torch.testing.assert_close(repeated @ repeated.T, basis @ basis.T)


@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_retained_logits_stay_and_the_report_tells_the_null_space(kind: str) -> None:
    clip, x = tiny_clip(kind), random_images(5)
    t = clip.zero_shot_classifier(NAMES, tiny_spec().templates).detach()
    before = (clip.encode_image(x) @ t.T).detach()
    method = NullspaceEdit(clip, tiny_spec(), Hyperparameters(threshold=1e-9, regularisation=1e-6))
    with torch.no_grad():
        method.edit()
    after = (clip.encode_image(x) @ t.T).detach()
    torch.testing.assert_close(after[:, 1:], before[:, 1:], atol=1e-4, rtol=1e-4)
    assert (after[:, 0] - before[:, 0]).abs().max() > 1e-2
    assert method.report["null_space_dimension"] == WIDTH - 3 and method.report["dimension"] == WIDTH
    assert method.report["logit_kept"] == pytest.approx([0.0], abs=1e-2)


def test_names_of_other_data_sets_are_retained_if_asked_for() -> None:
    spec = dataclasses.replace(tiny_spec(), others=(NameSet(("red", "blue"), ("a {} shape",)),))
    for chosen, dimension in (("dataset", WIDTH - 3), ("all", WIDTH - 5)):
        method = NullspaceEdit(tiny_clip("vit"), spec, Hyperparameters(threshold=1e-9, retain_names=chosen))
        with torch.no_grad():
            method.edit()
        assert method.report["null_space_dimension"] == dimension
