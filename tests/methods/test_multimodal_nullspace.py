"""The multimodal nullspace: its directions and closed form, against plain NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fitting import fit, unit
from tiny import random_images, tiny_clip

from datamodules.common import synthetic
from methods.common.projections import visual_projection
from methods.multimodal_nullspace import Hyperparameters, MultimodalNullspace, spread


def test_places_are_spread() -> None:
    assert spread(3, 8) == [0, 1, 2] and spread(99, 4) == [0, 24, 49, 74] and spread(5, 1) == [0]


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_the_projection_is_ccups_with_text_and_centred_prototypes(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthetic, "_accepted", lambda model, target, x, threshold: x.new_ones(len(x)).bool())
    made: dict[int, torch.Tensor] = {}

    class Remembering(MultimodalNullspace):
        def _mean_embeddings(self, rows: torch.Tensor, targets: list[int]) -> torch.Tensor:
            means = super()._mean_embeddings(rows, targets)
            made.update(zip(targets, means, strict=True))
            return means

    h = Hyperparameters(images=3, iterations=2, centre_names=2, forget_weight=7.0, retain_weight=2.0)
    clip, before = tiny_clip(kind), tiny_clip(kind)
    method = fit(Remembering, h, clip, tmp_path)
    assert sorted(made) == [0, 1, 2]  # of three names to keep the first and the second third
    t = unit(before.zero_shot_classifier(method.spec.all_names, method.spec.templates)).T
    u = made[0].double().numpy() - np.mean([made[k].double().numpy() for k in (1, 2)], axis=0)
    s = np.stack([t[:, 0], u / np.linalg.norm(u)], axis=1)
    keep = np.eye(16) + 2.0 * t[:, 1:] @ t[:, 1:].T
    wanted = keep @ np.linalg.inv(keep + 7.0 * s @ s.T)
    images = random_images(5)
    with torch.no_grad():
        found = clip.encode_image(images).double().numpy()
        old = before.encode_image(images).double().numpy()
    np.testing.assert_allclose(found, old @ wanted, atol=1e-4 * np.abs(old).max())
    assert method.report["prototype_cosines"][0] == pytest.approx(float(s[:, 0] @ s[:, 1]), abs=1e-5)
    assert visual_projection(clip).matrix.shape[1] == 16


def test_prototypes_are_means_of_unit_embeddings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "_accepted", lambda model, target, x, threshold: x.new_ones(len(x)).bool())
    method = fit(MultimodalNullspace, Hyperparameters(images=2, iterations=1), tiny_clip("vit"), tmp_path)
    method.clip = tiny_clip("vit")
    rows = method.classifier().detach()
    recorded: list[torch.Tensor] = []
    make = method.data.synthetic_forget_set

    def recording(*arguments: object) -> object:
        made = make(*arguments)
        recorded.append(made.images)
        return made

    monkeypatch.setattr(method.data, "synthetic_forget_set", recording)
    with torch.no_grad():
        (found,) = method._mean_embeddings(rows, [1])
    np.testing.assert_allclose(found.numpy(), unit(method.clip.encode_image(recorded[0])).mean(0), atol=1e-5)
