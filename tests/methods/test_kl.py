"""KL against plain NumPy."""

from __future__ import annotations

import pytest
import torch
from double import in_double
from fitting import Array, class_pairs, cross_entropy, kl, move, unit
from tiny import tiny_clip, tiny_spec

from datamodules.common.module import Pairs
from methods.common.clip import Clip
from methods.kl import KL, Hyperparameters

FORGET, RETAIN = class_pairs([0, 0, 0], 1), class_pairs([1, 2, 3, 2], 2)


def logits(clip: Clip, pairs: Pairs) -> Array:
    with torch.no_grad():
        return (
            float(clip.logit_scale)
            * unit(clip.encode_image(pairs["images"]))
            @ unit(clip.encode_text(pairs["texts"])).T
        )


@pytest.mark.parametrize("weight", [1.0, 0.5])
def test_loss_is_minus_infonce_plus_the_mean_divergence_of_both_directions(weight: float) -> None:
    method = KL(tiny_clip("resnet"), tiny_spec(), Hyperparameters(divergence_weight=weight, ascent="contrastive"))
    kept = method.original
    move(method.clip)
    forget, now, before = logits(method.clip, FORGET), logits(method.clip, RETAIN), logits(kept, RETAIN)
    infonce = (cross_entropy(forget, [0, 1, 2]) + cross_entropy(forget.T, [0, 1, 2])) / 2
    near = (kl(before, now) + kl(before.T, now.T)) / 2
    assert near > 1e-3
    loss = method.training_step({"forget": FORGET, "retain": RETAIN}, 0)
    assert loss.item() == pytest.approx(weight * near - infonce, rel=1e-4)


@in_double()
def test_at_the_original_only_the_forget_pairs_pull() -> None:
    clip = tiny_clip("vit")
    clip.model.double()
    method = KL(clip, tiny_spec(), Hyperparameters(ascent="contrastive"))
    forget, retain = (Pairs(**{**pairs, "images": pairs["images"].double()}) for pairs in (FORGET, RETAIN))
    method.training_step({"forget": forget, "retain": retain}, 0).backward()
    both = [p.grad.clone() for p in method.editable_parameters() if p.grad is not None]
    alone = torch.autograd.grad(-method.pair_loss(forget), method.editable_parameters(), allow_unused=True)
    for a, b in zip(both, [g for g in alone if g is not None], strict=True):
        torch.testing.assert_close(a, b, atol=1e-10 * float(b.abs().max()) + 1e-15, rtol=0)
