"""l1-sparse and UNSIR, which read no forget image: their losses, schedules and noise, against plain NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fitting import cross_entropy, fit, unit
from tiny import tiny_clip, tiny_spec

from methods import l1_sparse, unsir
from methods.l1_sparse import L1Sparse, norm_share
from methods.unsir import UNSIR, noise_share


def test_the_norm_loses_an_equal_part_of_its_weight_after_each_epoch() -> None:
    assert [norm_share(step, 8, 4) for step in range(8)] == [1.0, 1.0, 0.75, 0.75, 0.5, 0.5, 0.25, 0.25]
    assert norm_share(0, 3, 10) == 1.0 and norm_share(2, 3, 10) == pytest.approx(0.4)


def test_l1_sparse_is_the_cross_entropy_and_the_weighted_norm_of_what_learns(tmp_path: Path) -> None:
    seen: list[tuple[Any, float]] = []

    class Remembering(L1Sparse):
        def training_step(self, batch: Any, index: int) -> torch.Tensor:
            loss = super().training_step(batch, index)
            seen.append((batch, float(loss)))
            return loss

    h = l1_sparse.Hyperparameters(batch_size=4, max_steps=4, epochs=2, alpha=1e-3, learning_rate=0.0)
    method = fit(Remembering, h, tiny_clip("vit"), tmp_path)
    norm = sum(float(p.abs().sum()) for n, p in method.clip.model.named_parameters() if n.startswith("visual."))
    for step, (batch, loss) in enumerate(seen):
        retain = batch["retain"]
        logits = method.clip.logit_scale.item() * unit(method.clip.encode_image(retain["images"]))
        labels = [method.spec.all_names.index(text.removeprefix("a photo of a ")) for text in retain["texts"]]
        wanted = cross_entropy(logits @ unit(method.names.weights).T, labels) + 1e-3 * (1, 1, 0.5, 0.5)[step] * norm
        assert loss == pytest.approx(wanted, rel=1e-4)
    assert method.report["last_norm_term"] == pytest.approx(5e-4 * norm, rel=1e-4)


def test_l1_sparse_shrinks_the_norm(tmp_path: Path) -> None:
    norms = []
    for alpha in (0.0, 1.0):
        h = l1_sparse.Hyperparameters(batch_size=4, max_steps=3, alpha=alpha, learning_rate=1e-2)
        method = fit(L1Sparse, h, tiny_clip("vit"), tmp_path)
        norms.append(sum(float(p.detach().abs().sum()) for p in method.editable_parameters()))
    assert norms[1] < norms[0] - 0.5


def test_the_share_of_the_noise_in_a_batch() -> None:
    assert noise_share(240 / 10, 24) == 0.5
    assert noise_share(240 / 194, 256) == pytest.approx(0.0048, abs=1e-4)


def test_unsir_impairs_with_noise_first_and_then_repairs_without(tmp_path: Path) -> None:
    seen: list[tuple[Any, float]] = []

    class Remembering(UNSIR):
        def training_step(self, batch: Any, index: int) -> torch.Tensor:
            loss = super().training_step(batch, index)
            seen.append((batch, float(loss)))
            return loss

    h = unsir.Hyperparameters(batch_size=4, max_steps=4, learning_rate=0.0, images=2, copies=6, noise_steps=2)
    method = fit(Remembering, h, tiny_clip("vit"), tmp_path)
    rows, scale = unit(method.names.weights), method.clip.logit_scale.item()
    wrong = cross_entropy(scale * unit(method.clip.encode_image(method.noise)) @ rows.T, [0, 0])
    for step, (batch, loss) in enumerate(seen):
        retain = batch["retain"]
        labels = [method.spec.all_names.index(text.removeprefix("a photo of a ")) for text in retain["texts"]]
        kept = cross_entropy(scale * unit(method.clip.encode_image(retain["images"])) @ rows.T, labels)
        share = 6 / (6 + 4) if step < 2 else 0.0  # 2 images x 6 copies over two steps, beside four retain images
        assert loss == pytest.approx(share * wrong + (1 - share) * kept, rel=1e-4)


def test_the_noise_raises_the_error_and_stays_bounded(tmp_path: Path) -> None:
    def made(**settings: Any) -> UNSIR:
        h = unsir.Hyperparameters(batch_size=4, max_steps=1, learning_rate=0.0, **settings)
        method: UNSIR = fit(UNSIR, h, tiny_clip("vit"), tmp_path)
        return method

    def error(method: UNSIR) -> float:
        with torch.no_grad():
            return float(
                torch.nn.functional.cross_entropy(method.names.logits(method.clip, method.noise), method.labels)
            )

    plain, climbed = made(noise_rate=0.0), made(norm_weight=0.0)
    assert error(climbed) > error(plain) + 0.5
    assert float(made().noise.square().mean()) < 0.5 * float(plain.noise.square().mean())
    assert plain.noise.shape == (3, 3, 32, 32) and float(plain.noise.std()) == pytest.approx(1, abs=0.05)


def test_the_published_pass_reads_five_hundred_images_of_each_class() -> None:
    method = UNSIR(tiny_clip("vit"), tiny_spec(), unsir.Hyperparameters())
    assert method.planned_steps({"retain": 49_500}) == 2 * int(np.ceil(1500 / 256))  # three names to keep
    assert method.planned_steps({"retain": 300}) == 4
