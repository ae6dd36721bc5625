"""MUNBa: the direction of its step against the official code's weights, its losses, and which steps bargain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fitting import CONCEPT, Array, caption_pairs, class_pairs, cross_entropy, fit, unit
from tiny import TinyDataset, tiny_clip, tiny_spec

from datamodules.common.module import ForgetSpec, Pairs
from methods.munba import Hyperparameters, MUNBa, bargaining_steps, bisector

FORGET, RETAIN = class_pairs([0, 0, 0, 0], 1), class_pairs([1, 2, 3, 2], 2)


def official(g_r: Array, g_f: Array) -> Array:
    """The weights of the official code without its 1e-8, then its clipping at norm 1."""
    g1, g2, g3 = g_r @ g_r, g_r @ g_f, g_f @ g_f
    a_r = np.sqrt((g1 * g3 - g2 * np.sqrt(g1 * g3)) / (g1**2 * g3 - g1 * g2**2))
    a_f = (1 - g1 * a_r**2) / (g2 * a_r)
    step = a_r * g_r + a_f * g_f
    return np.asarray(step / max(1.0, np.linalg.norm(step)))


@pytest.mark.parametrize("size", [1e-3, 1.0, 50.0])
def test_the_step_is_the_clipped_bargain_of_the_official_code(size: float) -> None:
    random = np.random.default_rng(0)
    g_r, g_f = random.normal(size=12), size * random.normal(size=12)
    parts = [[torch.from_numpy(g[:6]).reshape(2, 3), torch.from_numpy(g[6:])] for g in (g_r, g_f)]
    found = torch.cat([part.flatten() for part in bisector(*parts)]).numpy()
    np.testing.assert_allclose(found, official(g_r, g_f), rtol=1e-6)
    assert np.linalg.norm(found) == pytest.approx(1)


def test_without_a_direction_the_others_is_taken_and_of_opposites_nothing_is_left() -> None:
    some, zero = [torch.tensor([3.0, 4.0])], [torch.zeros(2)]
    for pair in ((some, zero), (zero, some)):
        torch.testing.assert_close(bisector(*pair)[0], torch.tensor([0.6, 0.8]))
    assert bisector(some, [-2 * some[0]])[0].tolist() == [0, 0] == bisector(zero, zero)[0].tolist()


def test_an_epoch_bargains_while_forget_batches_last() -> None:
    assert bargaining_steps({"forget": 5, "retain": 11}, 3) == [True, True, False, False]
    assert bargaining_steps({"forget": 11, "retain": 5}, 3) == [True] * 4


@pytest.mark.parametrize("tower", ["text", "visual", "both"])
def test_only_the_attention_of_the_chosen_encoder_learns(tower: str) -> None:
    for kind in ("vit", "timm"):
        method = MUNBa(tiny_clip(kind), tiny_spec(), Hyperparameters(tower=tower))
        names = [name for name, p in method.clip.model.named_parameters() if p.requires_grad]
        visual = [name for name in names if name.startswith("visual.")]
        text = [name for name in names if not name.startswith("visual.")]
        assert bool(text) == (tower != "visual") and bool(visual) == (tower != "text")
        assert all("attn" in name for name in text)
        assert all("attn" in name for name in visual) == (kind == "vit" or tower == "text")


def test_the_losses_are_cross_entropies_over_the_current_prompts() -> None:
    method = MUNBa(tiny_clip("vit"), tiny_spec(), Hyperparameters(random_weight=0.5))
    with torch.no_grad():
        method.clip.model.transformer.resblocks[0].attn.in_proj_weight.mul_(1.5)
        rows = unit(method.classifier())
    scale = method.clip.logit_scale.item()
    forget, retain = (scale * unit(method.clip.encode_image(p["images"])) @ rows.T for p in (FORGET, RETAIN))
    torch.manual_seed(3)
    drawn = torch.randint(4, (4,)).tolist()
    torch.manual_seed(3)
    assert method.forget_loss(FORGET).item() == pytest.approx(0.5 * cross_entropy(forget, drawn), rel=1e-4)
    assert method.retain_loss(RETAIN).item() == pytest.approx(cross_entropy(retain, [1, 2, 3, 2]), rel=1e-4)


def test_a_concept_keeps_by_the_contrastive_loss() -> None:
    method = MUNBa(tiny_clip("vit"), ForgetSpec.of(TinyDataset(captions=True), CONCEPT), Hyperparameters())
    pairs = caption_pairs(["one bus", "a cat"], 2)
    assert method.retain_loss(pairs).item() == pytest.approx(method.pair_loss(pairs).item())


def test_a_run_steps_by_the_rate_along_the_bargain_and_elsewhere_along_the_retain_gradient(tmp_path: Path) -> None:
    h = Hyperparameters(
        batch_size=24, max_steps=1, learning_rate=0.1, momentum=0.0, weight_decay=0.0, bargains="always"
    )
    clip, start = tiny_clip("vit"), tiny_clip("vit").model.state_dict()
    method = fit(MUNBa, h, clip, tmp_path)
    moved = [(p.detach() - start[name]).flatten() for name, p in clip.model.named_parameters() if method.may_edit(name)]
    assert float(torch.cat(moved).norm()) == pytest.approx(0.1, rel=1e-4)

    bargained: list[bool] = []

    class Watched(MUNBa):
        def forget_loss(self, forget: Pairs) -> torch.Tensor:
            bargained.append(True)
            return super().forget_loss(forget)

    h = Hyperparameters(batch_size=3, max_steps=6, learning_rate=0.1, bargains="while forget batches last")
    method = fit(Watched, h, tiny_clip("vit"), tmp_path)
    assert method.order == [True, True, False, False, False, False] and len(bargained) == 2
