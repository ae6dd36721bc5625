"""NPO and SimNPO: their losses and the force on an image, against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fitting import CONCEPT, Array, caption_pairs, class_pairs, cross_entropy, log_softmax, move, unit
from tiny import TinyDataset, tiny_clip, tiny_spec

from datamodules.common.module import ForgetSpec
from methods import npo, simnpo
from methods.npo import NPO, preference_loss
from methods.simnpo import SimNPO

FORGET, RETAIN = class_pairs([0, 0, 0], 1), class_pairs([1, 2, 3, 2], 2)


def logits_of(
    method: NPO | SimNPO, images: torch.Tensor, rows: torch.Tensor | None = None, *, of: str = "now"
) -> Array:
    clip = method.clip if of == "now" else method.original
    weights = unit(method.names.weights if rows is None else rows)
    return clip.logit_scale.item() * unit(clip.encode_image(images)) @ weights.T


@pytest.mark.parametrize("beta", [0.1, 1.0, 3.0])
def test_the_force_on_an_image_falls_with_its_rise(beta: float) -> None:
    rise = torch.tensor([0.0, 3.0, 10.0], dtype=torch.float64, requires_grad=True)
    loss = preference_loss(rise, beta=beta)
    expected = np.mean([2 / beta * np.log1p(np.exp(-beta * r)) for r in (0.0, 3.0, 10.0)])
    assert loss.item() == pytest.approx(expected)
    (force,) = torch.autograd.grad(3 * loss, rise)  # -2 p_u^b / (p_u^b + p_o^b), with p_u = p_o exp(-rise)
    np.testing.assert_allclose(force.numpy(), [-2 / (1 + np.exp(beta * r)) for r in (0.0, 3.0, 10.0)])
    assert force[0] == -1


@pytest.mark.parametrize("concept", [False, True])
def test_npo_compares_with_the_original(concept: bool) -> None:
    spec = ForgetSpec.of(TinyDataset(captions=True), CONCEPT) if concept else tiny_spec()
    forget = caption_pairs(["one apple", "a big apple"], 1) if concept else FORGET
    method = NPO(tiny_clip("vit"), spec, npo.Hyperparameters(beta=0.7))
    method.on_fit_start()
    move(method.clip)
    p_u, p_o = (np.exp(log_softmax(logits_of(method, forget["images"], of=of)))[:, 0] for of in ("now", "before"))
    expected = float(np.mean(2 / 0.7 * np.log(1 + (p_u / p_o) ** 0.7)))
    assert method.training_step({"forget": forget}, 0).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("concept", [False, True])
def test_simnpo_has_a_margin_for_the_original_and_keeps_the_retain_images(concept: bool) -> None:
    spec = ForgetSpec.of(TinyDataset(captions=True), CONCEPT) if concept else tiny_spec()
    h = simnpo.Hyperparameters(beta=2.5, margin=0.4, forget_weight=0.3)
    method = SimNPO(tiny_clip("vit"), spec, h)
    method.on_fit_start()
    move(method.clip)
    forget, retain, rows, labels = FORGET, RETAIN, method.names.weights, [1, 2, 3, 2]
    if concept:
        forget, retain, labels = caption_pairs(["one apple"], 1), caption_pairs(["one bus", "a cat"], 2), [0, 1]
        rows = method.clip.encode_text(retain["texts"])
    losses = -log_softmax(logits_of(method, forget["images"]))[:, 0]
    lost = float(np.mean(2 / 2.5 * np.log(1 + np.exp(-2.5 * (losses - 0.4)))))
    kept = cross_entropy(logits_of(method, retain["images"], rows), labels)
    loss = method.training_step({"forget": forget, "retain": retain}, 0)
    assert loss.item() == pytest.approx(0.3 * lost + kept, rel=1e-4)
