"""JiT against a plain double loop, and its one pass."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from double import in_double
from fitting import fit
from tiny import random_images, tiny_clip, tiny_spec
from torch import Tensor

from methods.common.zero_shot import NameClassifier
from methods.jit import Hyperparameters, JiT, smoothness_loss


@in_double()
def test_loss_and_gradient_equal_a_double_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    clip, x = tiny_clip("resnet"), random_images(3).double()
    clip.model.double()
    names = NameClassifier(JiT(clip, tiny_spec(), Hyperparameters()))
    drawn: list[Tensor] = []
    original = torch.randn_like

    def record(like: Tensor) -> Tensor:
        drawn.append(original(like))
        return drawn[-1]

    monkeypatch.setattr(torch, "randn_like", record)
    loss = smoothness_loss(lambda images: names.logits(clip, images), x, sigma=0.7, draws=4)
    wanted = torch.zeros(())
    for noise in drawn:
        for b in range(3):
            noisy = torch.clamp(x[b] + 0.7 * noise[b], x.min(), x.max())
            clean, moved = names.logits(clip, x[b][None])[0], names.logits(clip, noisy[None])[0].detach()
            wanted = wanted + (clean - moved).square().sum().sqrt() / (x[b] - noisy).square().sum().sqrt() / 4
    assert len(drawn) == 4
    torch.testing.assert_close(loss, wanted, rtol=1e-12, atol=0)
    weights = [p for n, p in clip.model.named_parameters() if n.startswith("visual.")]
    for a, b in zip(torch.autograd.grad(loss, weights), torch.autograd.grad(wanted, weights), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10 * float(b.abs().max()) + 1e-15)


def test_one_pass_or_fewer_batches() -> None:
    def steps(**hyper: int | None) -> int:
        return JiT(tiny_clip("vit"), tiny_spec(), Hyperparameters(batch_size=4, **hyper)).planned_steps({"forget": 18})

    assert steps(max_steps=None) == 5 and steps(max_steps=3) == 3 and steps(max_steps=40) == 5


def test_a_run_smooths_the_logits_by_plain_sgd(tmp_path: Path) -> None:
    clip = tiny_clip("vit")
    names = NameClassifier(JiT(clip, tiny_spec(), Hyperparameters()))
    x = random_images(8, seed=5)

    def roughness() -> float:
        torch.manual_seed(0)
        return smoothness_loss(lambda images: names.logits(clip, images), x, sigma=0.5, draws=8).item()

    before = roughness()
    method = fit(JiT, Hyperparameters(learning_rate=0.3, batch_size=2, draws=4), clip, tmp_path)
    assert isinstance(method.trainer.optimizers[0], torch.optim.SGD)
    assert roughness() < 0.9 * before
