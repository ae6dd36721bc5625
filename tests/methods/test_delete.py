"""DELETE: its target, its gradient in the logits, and where its loss ends, against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fitting import CONCEPT, Array, caption_pairs, class_pairs, kl, log_softmax, move, unit
from tiny import TinyDataset, tiny_clip, tiny_spec

from datamodules.common.module import ForgetSpec, Pairs
from datamodules.common.request import ForgetRequest
from methods.delete import DELETE, Hyperparameters


def method_of(spec: ForgetSpec | None = None, *, masked: str = "all") -> DELETE:
    method = DELETE(tiny_clip("vit"), spec or tiny_spec(), Hyperparameters(masked=masked))
    method.on_fit_start()
    return method


def logits_of(method: DELETE, pairs: Pairs, *, original: bool = False) -> Array:
    clip = method.original if original else method.clip
    return clip.logit_scale.item() * unit(clip.encode_image(pairs["images"])) @ unit(method.names.weights).T


def test_the_loss_is_the_divergence_from_the_originals_other_names() -> None:
    method, pairs = method_of(), class_pairs([0, 0, 0], 1)
    move(method.clip)
    wanted = np.delete(logits_of(method, pairs, original=True), 0, axis=1)
    now = log_softmax(logits_of(method, pairs))
    p = np.exp(log_softmax(wanted))
    expected = float((p * (np.log(p) - now[:, 1:])).sum(1).mean())
    assert method.training_step({"forget": pairs}, 0).item() == pytest.approx(expected, rel=1e-4)


def test_at_the_start_it_is_the_log_of_what_is_left_to_the_other_names() -> None:
    method, pairs = method_of(), class_pairs([0, 0, 0], 1)
    p = np.exp(log_softmax(logits_of(method, pairs)))[:, 0]
    assert method.training_step({"forget": pairs}, 0).item() == pytest.approx(-np.log(1 - p).mean(), rel=1e-3)


def test_of_several_names_all_are_masked_or_the_images_own_alone() -> None:
    spec, pairs = tiny_spec(ForgetRequest(classes=("cat", "bus"))), class_pairs([1, 2, 1], 1)  # columns: cat, bus
    for masked, hidden in (("all", [[0, 1]] * 3), ("own", [[1], [0], [1]])):
        method = method_of(spec, masked=masked)
        move(method.clip)
        wanted = logits_of(method, pairs, original=True)
        for row, columns in enumerate(hidden):
            wanted[row, columns] = -1e10
        expected = kl(wanted, logits_of(method, pairs))
        assert method.training_step({"forget": pairs}, 0).item() == pytest.approx(expected, rel=1e-4)


def test_a_concept_is_masked_among_the_vocabulary_and_gradients_are_finite() -> None:
    method = method_of(ForgetSpec.of(TinyDataset(captions=True), CONCEPT))
    pairs = caption_pairs(["one apple", "a big apple"], 1)
    move(method.clip)
    wanted = logits_of(method, pairs, original=True)
    wanted[:, 0] = -1e10
    loss = method.training_step({"forget": pairs}, 0)
    assert loss.item() == pytest.approx(kl(wanted, logits_of(method, pairs)), rel=1e-4)
    gradients = torch.autograd.grad(loss, method.editable_parameters())
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
