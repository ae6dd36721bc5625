"""SFR-on: its masks, weights and both kinds of steps, against a plain loop."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fitting import fit
from tiny import tiny_clip
from torch import Tensor

from datamodules.common.module import Pairs
from methods.sfron import Hyperparameters, SFRon, forgetting_masks, share_of_ones, weighted


def test_the_weighted_loss_is_a_quotient_of_two_sums() -> None:
    losses = torch.tensor([0.1, 2.0, 7.0], dtype=torch.float64, requires_grad=True)
    loss = weighted(losses, 0.5)
    values = losses.detach().numpy()
    assert loss.item() == pytest.approx(np.sqrt(values).sum() / (values**-0.5).sum())
    (force,) = torch.autograd.grad(loss, losses)
    np.testing.assert_allclose(force.numpy(), values**-0.5 / (values**-0.5).sum())
    assert weighted(losses, 0.0).item() == pytest.approx(values.mean())


def test_masks_let_move_what_matters_to_the_forget_part() -> None:
    forget, retain = [torch.tensor([1.0, 2.0, 0.0, 0.0])], [torch.tensor([2.0, 1.0, 0.0, 1.0])]
    (mask,) = forgetting_masks(forget, retain)
    assert mask.tolist() == [0, 1, 1, 0] and share_of_ones([mask]) == 0.5


class Remembering(SFRon):
    """Keeps its batches."""

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.seen: list[Any] = []

    def training_step(self, batch: Any, index: int) -> Tensor:
        self.seen.append(batch)
        return super().training_step(batch, index)


def test_a_run_is_the_plain_loop(tmp_path: Path) -> None:
    h = Hyperparameters(
        batch_size=4, max_steps=4, saliency_steps=2, every=3, learning_rate=0.02, ascent_norm=0.5, retain_norm=None
    )
    clip = tiny_clip("vit")
    method = fit(Remembering, h, clip, tmp_path)
    model = copy.deepcopy(tiny_clip("vit"))
    rows, names = method.names.weights, method.spec.all_names
    visual = [p for n, p in model.model.named_parameters() if n.startswith("visual.")]

    def losses(pairs: Pairs) -> Tensor:
        image = model.encode_image(pairs["images"])
        logits = model.logit_scale.detach() * image / image.norm(dim=1, keepdim=True) @ rows.T
        labels = [names.index(text.removeprefix("a photo of a ")) for text in pairs["texts"]]
        return -logits.log_softmax(1)[torch.arange(len(labels)), labels]

    squares = {part: [torch.zeros_like(p) for p in visual] for part in ("forget", "retain")}
    for batch in method.seen[:2]:
        for part, sums in squares.items():
            for total, gradient in zip(sums, torch.autograd.grad(losses(batch[part]).mean(), visual), strict=True):
                total += gradient**2
    masks = [f + 1e-15 >= r + 1e-15 for f, r in zip(squares["forget"], squares["retain"], strict=True)]
    optimizer = torch.optim.SGD(visual, lr=0.02, momentum=0.9, weight_decay=5e-4)
    for step, batch in enumerate(method.seen[2:]):
        wave = (1 + math.cos(math.pi * step / 4)) / 2
        optimizer.param_groups[0]["lr"] = 0.02 * wave
        if step in (0, 3):
            optimizer.zero_grad()
            ce = losses(batch["forget"])
            weights = ce.detach() ** -0.5
            (-25 * wave * (weights / weights.mean() * ce).mean()).backward()
            for parameter, mask in zip(visual, masks, strict=True):
                parameter.grad *= mask
            torch.nn.utils.clip_grad_norm_(visual, 0.5)
            optimizer.step()
        optimizer.zero_grad()
        losses(batch["retain"]).mean().backward()
        optimizer.step()
    for parameter, found in zip(visual, method.editable_parameters(), strict=True):
        torch.testing.assert_close(found, parameter, rtol=1e-3, atol=1e-5)
    assert 0 < method.report["masked_share"] < 1 and method.report["masked_share"] == pytest.approx(
        1 - sum(int(m.sum()) for m in masks) / sum(m.numel() for m in masks), abs=1e-3
    )
