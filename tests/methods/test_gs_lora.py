"""GS-LoRA: its factors, groups and loss, against plain NumPy."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fitting import cross_entropy, fit, unit
from tiny import random_images, tiny_clip
from torch import nn

from datamodules.common.images import Preprocessing
from methods.common.clip import Clip
from methods.gs_lora import BlockFactors, GSLoRA, Hyperparameters, NoFactorsError


def learned(clip: Clip, *, rank: int = 2) -> BlockFactors:
    """Factors whose B are not zero."""
    factors = BlockFactors(clip, rank=rank)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for factor in factors.factors():
            factor.add_(0.3 * torch.randn(factor.shape, generator=generator))
    return factors


def test_both_maps_of_every_mlp_have_factors_and_a_block_is_a_group() -> None:
    factors = learned(tiny_clip("vit"))
    maps = [f"transformer.resblocks.{block}.mlp.{part}.weight" for block in (0, 1) for part in ("c_fc", "c_proj")]
    assert list(factors.adapted()) == maps and len(factors.factors()) == 8
    norms = [math.sqrt(sum(float(f.square().sum()) for f in factors.factors()[4 * k : 4 * k + 4])) for k in (0, 1)]
    assert factors.group_norms().tolist() == pytest.approx(norms)


@pytest.mark.parametrize("kind", ["vit", "resnet", "timm"])
def test_factors_act_as_the_merged_weights_and_begin_as_nothing(kind: str) -> None:
    clip, images = tiny_clip(kind), random_images(3)
    before = clip.encode_image(images)
    torch.testing.assert_close(BlockFactors(clip, rank=3).encode_image(images), before)
    factors, start = learned(clip, rank=3), {n: p.detach().clone() for n, p in clip.visual.named_parameters()}
    wanted = factors.encode_image(images)
    factors.merge()
    torch.testing.assert_close(clip.encode_image(images), wanted)
    assert not torch.allclose(wanted, before, rtol=1e-2)
    for (name, value), (down, up) in zip(
        factors.adapted().items(), zip(factors.factors()[::2], factors.factors()[1::2], strict=True), strict=True
    ):
        product = up.detach().double().numpy() @ down.detach().double().numpy() / 3
        merged = dict(clip.visual.named_parameters())[name].detach()
        np.testing.assert_allclose(
            merged.numpy(), start[name].numpy() + product.reshape(merged.shape), rtol=1e-4, atol=1e-5
        )
        assert value.shape == merged.shape


@pytest.mark.parametrize("margin", [0.0, 50.0])
def test_the_loss_is_a_bounded_ascent_beside_the_cross_entropy_and_late_the_norms(
    margin: float, tmp_path: Path
) -> None:
    seen: list[tuple[Any, float]] = []

    class Remembering(GSLoRA):
        def training_step(self, batch: Any, index: int) -> torch.Tensor:
            loss = super().training_step(batch, index)
            seen.append((batch, float(loss)))
            return loss

    h = Hyperparameters(batch_size=4, max_steps=5, learning_rate=0.0, margin=margin, alpha=0.2, weight_decay=0.0)
    method = fit(Remembering, h, tiny_clip("vit"), tmp_path)
    rows, scale = unit(method.names.weights), method.clip.logit_scale.item()
    bounds = []
    for step, (batch, loss) in enumerate(seen):
        forget, retain = (
            scale * unit(method.clip.encode_image(batch[part]["images"])) @ rows.T for part in ("forget", "retain")
        )
        labels = [method.spec.all_names.index(text.removeprefix("a photo of a ")) for text in batch["retain"]["texts"]]
        bounded = max(0.0, math.log(4) + margin - cross_entropy(forget, [0] * 4))
        norms = 0.0 if step < 1 else 0.2 * sum(method.report["group_norms"])
        assert loss == pytest.approx(0.15 * bounded + cross_entropy(retain, labels) + norms, rel=1e-4)
        bounds.append(bounded)
    assert all(bounds) if margin else min(bounds) == 0 or max(bounds) < math.log(4)


def test_the_norm_makes_blocks_small_and_the_merge_moves_the_maps_alone(tmp_path: Path) -> None:
    sizes = []
    for alpha in (0.0, 5.0):
        clip, start = tiny_clip("vit"), tiny_clip("vit").model.state_dict()
        h = Hyperparameters(batch_size=4, max_steps=20, alpha=alpha)
        sizes.append(sum(fit(GSLoRA, h, clip, tmp_path).report["group_norms"]))
        moved = [name for name, value in clip.model.state_dict().items() if not torch.equal(value, start[name])]
        assert moved and all(".mlp." in name and name.endswith("weight") for name in moved)
    assert sizes[1] < 0.9 * sizes[0]


def test_an_encoder_without_blocks_is_refused_in_words() -> None:
    model = nn.Module()
    model.visual = nn.Linear(3, 3)
    clip = Clip(model, lambda texts: torch.zeros(len(texts), 1), Preprocessing(224), "plain", "published")
    with pytest.raises(NoFactorsError, match="'plain' has no blocks"):
        BlockFactors(clip, rank=2)
