"""The calibrated projection against a least-squares solver, its limits, and the pairs that it makes alike."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny import NAMES, random_images, tiny_clip, tiny_spec
from torch import Tensor

from datamodules.common.request import ForgetRequest
from methods.calibrated_projection import CalibratedProjection, Hyperparameters, calibrated_projection
from methods.nullspace import partial_projection


def unit_columns(rows: int, count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, count, generator=generator, dtype=torch.float64), dim=0)


@pytest.mark.parametrize(("named", "pairs", "weight"), [(1, 1, 1000.0), (2, 3, 7.0), (3, 8, 0.5)])
def test_closed_form_is_a_projection_after_the_least_squares_calibration(named: int, pairs: int, weight: float) -> None:
    v, d = unit_columns(6, named, 1), unit_columns(6, pairs, 2) - unit_columns(6, pairs, 3)
    eye = torch.eye(6, dtype=torch.float64)
    keys = torch.cat([eye, (weight / pairs) ** 0.5 * d], dim=1)
    values = torch.cat([eye, torch.zeros(6, pairs).double()], dim=1)
    calibration = torch.linalg.lstsq(keys.T, values.T).solution.T
    projection = eye - v @ torch.linalg.inv(v.T @ v) @ v.T
    found = calibrated_projection(v, d, calibration_weight=weight)
    torch.testing.assert_close(found, projection @ calibration)
    torch.testing.assert_close(v.T @ found, torch.zeros(named, 6).double(), atol=1e-12, rtol=0)


def test_without_calibration_it_is_the_nullspace_projection() -> None:
    v = unit_columns(6, 2, 4)
    torch.testing.assert_close(calibrated_projection(v, v, calibration_weight=0.0), partial_projection(v, 1.0))
    torch.testing.assert_close(calibrated_projection(v, v[:, :0], calibration_weight=9.0), partial_projection(v, 1.0))


def test_a_large_weight_makes_the_pairs_alike() -> None:
    named, neutral = unit_columns(6, 2, 5), unit_columns(6, 2, 6)
    apart = []
    for weight in (0.0, 1e8):
        p = calibrated_projection(named, named - neutral, calibration_weight=weight)
        apart.append((p @ named - p @ neutral).norm())
    assert apart[0] > 0.1 and apart[1] < 1e-6


@pytest.mark.parametrize("kind", ["resnet", "vit"])
@pytest.mark.parametrize("classes", [("apple",), ("cat", "bus")])
@pytest.mark.parametrize("neutral", ["empty", "mean"])
def test_images_are_projected_by_prompts_against_the_neutral_prompt(
    kind: str, classes: tuple[str, ...], neutral: Literal["empty", "mean"]
) -> None:
    clip, spec, x = tiny_clip(kind), tiny_spec(ForgetRequest(classes=classes)), random_images(4)

    def embed(names: tuple[str, ...]) -> np.ndarray:
        texts = [t.format(n).replace("  ", " ").strip() for n in names for t in ("a photo of a {}", "the {} here")]
        z = clip.encode_text(texts).detach().double().numpy()
        return z / np.linalg.norm(z, axis=1, keepdims=True)

    z, blank = embed(spec.forget_names), embed(("",) * len(classes))
    if neutral == "mean":
        means = embed(spec.retain_names).reshape(-1, 2, 16).mean(axis=0)
        blank = np.tile(means / np.linalg.norm(means, axis=1, keepdims=True), (len(classes), 1))
    before, t = clip.encode_image(x).detach().double().numpy(), clip.zero_shot_classifier(NAMES, spec.templates)
    m = sum(np.outer(a - b, a - b) for a, b in zip(z, blank, strict=True)) / len(z)
    v = z.reshape(len(classes), 2, -1).mean(axis=1).T  # the scale of a column does not matter
    p = (np.eye(16) - v @ np.linalg.inv(v.T @ v) @ v.T) @ np.linalg.inv(np.eye(16) + 1000 * m)
    method = CalibratedProjection(clip, spec, Hyperparameters(neutral=neutral))
    with torch.no_grad():
        method.edit()
    after = clip.encode_image(x).detach().double().numpy()
    np.testing.assert_allclose(after, before @ p, atol=1e-4)
    t = t.detach().double().numpy()
    np.testing.assert_allclose(after @ t.T, before @ (p @ t.T), atol=1e-4)
