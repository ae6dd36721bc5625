"""Fisher forgetting and influence: noise and step, against plain loops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fitting import fit
from tiny import tiny_clip
from torch import Tensor

from datamodules.common.module import Pairs
from methods import fisher_forgetting, influence
from methods.common.clip import Clip
from methods.fisher_forgetting import FisherForgetting, noise_variance
from methods.influence import Influence


def visual(clip: Clip) -> list[Tensor]:
    return [p for n, p in clip.model.named_parameters() if n.startswith("visual.")]


def losses(clip: Clip, rows: Tensor, images: Tensor) -> Tensor:
    """-log p of every name, shape (B, C)."""
    image = clip.encode_image(images)
    logits = clip.logit_scale.detach() * image / image.norm(dim=1, keepdim=True) @ rows.T
    return -logits.log_softmax(1)


def gradients(loss: Tensor, clip: Clip) -> list[Tensor]:
    return list(torch.autograd.grad(loss, visual(clip), retain_graph=True))


def test_the_variance_is_bounded_one_for_each_row_and_larger_for_vectors() -> None:
    fisher = torch.tensor([[0.5, 0.0, 2.0], [1e-9, 1e-9, 1e-9]], dtype=torch.float64)
    found = noise_variance(fisher, 0.1).numpy()
    first = 0.1 * np.mean([1 / (0.5 + 1e-8), 1e3, 1 / (2 + 1e-8)])
    np.testing.assert_allclose(found, [[first] * 3, [0.1 * 1e3] * 3])
    np.testing.assert_allclose(noise_variance(fisher[0], 0.1).numpy(), [10 * 0.1 * v for v in (2, 1e3, 0.5)], rtol=1e-6)
    assert noise_variance(torch.ones(2, 3, 4, 4), 1.0).shape == (2, 3, 4, 4)


class Remembering(FisherForgetting):
    """Keeps its batches."""

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.seen: list[Any] = []

    def training_step(self, batch: Any, index: int) -> Tensor:
        self.seen.append(batch["retain"])
        return super().training_step(batch, index)


def test_the_drawn_names_give_the_weighted_sum_over_all_names(tmp_path: Path) -> None:
    h = fisher_forgetting.Hyperparameters(batch_size=6, max_steps=2, draws=200, alpha=0.0)
    method = fit(Remembering, h, tiny_clip("vit"), tmp_path)
    clip, rows = tiny_clip("vit"), method.names.weights
    wanted = [torch.zeros_like(p) for p in visual(clip)]
    for retain in method.seen:
        each = losses(clip, rows, retain["images"])
        p = (-each).exp().mean(0).detach()
        for c in range(4):
            for total, gradient in zip(wanted, gradients(each[:, c].mean(), clip), strict=True):
                total += p[c] * gradient**2
    for total, found in zip(wanted, method.sums, strict=True):
        assert float((found - total).norm()) <= 0.2 * float(total.norm())
    largest = int(np.argmax([float(total.norm()) for total in wanted]))
    assert float(wanted[largest].norm()) > 0
    for parameter, before in zip(method.editable_parameters(), visual(clip), strict=True):
        assert torch.equal(parameter, before), "no noise, no change"


def test_the_noise_has_the_variance(tmp_path: Path) -> None:
    h = fisher_forgetting.Hyperparameters(batch_size=6, max_steps=2, draws=2, alpha=1e-6)
    method = fit(Remembering, h, tiny_clip("vit"), tmp_path)
    moved = [
        ((p - b).detach() / noise_variance(s / 2, 1e-6).sqrt()).flatten()
        for p, b, s in zip(method.editable_parameters(), visual(tiny_clip("vit")), method.sums, strict=True)
    ]
    noise = torch.cat(moved)
    assert float(noise.std()) == pytest.approx(1, abs=0.02) and float(noise.mean()) == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("hessian", ["fisher", "identity"])
def test_the_step_is_the_damped_newton_step(hessian: str, tmp_path: Path) -> None:
    batches: list[Any] = []

    class Watched(Influence):
        def training_step(self, batch: Any, index: int) -> Tensor:
            batches.append(batch)
            return super().training_step(batch, index)

    h = influence.Hyperparameters(batch_size=3, max_steps=3, alpha=0.07, damping=0.5, hessian=hessian)
    method = fit(Watched, h, tiny_clip("vit"), tmp_path)
    clip, rows, names = tiny_clip("vit"), method.names.weights, method.spec.all_names

    def gradient(pairs: Pairs) -> np.ndarray:
        labels = [names.index(text.removeprefix("a photo of a ")) for text in pairs["texts"]]
        loss = losses(clip, rows, pairs["images"])[torch.arange(len(labels)), labels].mean()
        return torch.cat([g.flatten() for g in gradients(loss, clip)]).double().numpy()

    forget, retain = ([gradient(batch[part]) for batch in batches] for part in ("forget", "retain"))
    v = 6 / 24 * (np.mean(forget, axis=0) - np.mean(retain, axis=0))  # 1/N sum_f g - n_f / (N n_r) sum_r g
    fisher = np.mean(np.square(retain), axis=0)
    step = v / (fisher + 0.5 * fisher.mean()) if hessian == "fisher" else v
    weights = torch.cat([p.detach().flatten() for p in visual(clip)]).double().numpy()
    step = 0.07 * np.linalg.norm(weights) * step / np.linalg.norm(step)
    moved = [(p - b).detach().flatten() for p, b in zip(method.editable_parameters(), visual(clip), strict=True)]
    np.testing.assert_allclose(torch.cat(moved).double().numpy(), step, atol=2e-3 * np.abs(step).max())
    assert method.report["step_norm"] == pytest.approx(0.07 * np.linalg.norm(weights), rel=1e-3)
