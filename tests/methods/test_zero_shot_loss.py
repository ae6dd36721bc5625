"""The losses by which classifiers' methods are carried over, against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import NAMES, random_images, tiny_clip, tiny_spec

from datamodules.common.module import Pairs
from datamodules.common.request import ForgetRequest
from methods.common.zero_shot import targets, task_loss
from methods.graddiff import GradDiff, Hyperparameters

TEXTS = ["a photo of a cat", "a photo of a apple", "a photo of a sunflower", "a photo of a cat"]
PAIRS = Pairs(images=random_images(4, seed=3), texts=TEXTS, labels=torch.full((4,), -1), indices=torch.arange(4))


def test_targets_are_rows_of_forgotten_then_kept_names() -> None:
    spec = tiny_spec(ForgetRequest(classes=("cat",)))
    assert spec.all_names == ("cat", "apple", "bus", "sunflower")
    assert targets(spec, PAIRS).tolist() == [0, 1, 3, 0]


def test_class_request_is_cross_entropy_over_all_names() -> None:
    spec = tiny_spec(ForgetRequest(classes=("cat",)))
    method = GradDiff(tiny_clip("vit"), spec, Hyperparameters())
    with torch.no_grad():
        images = method.clip.encode_image(PAIRS["images"]).double().numpy()
        rows = method.clip.zero_shot_classifier(spec.all_names, spec.templates).double().numpy()
    logits = float(method.clip.logit_scale) * (images / np.linalg.norm(images, axis=1, keepdims=True)) @ rows.T
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    wanted = -np.mean([log_p[i, row] for i, row in enumerate([0, 1, 3, 0])])
    assert task_loss(method, PAIRS).item() == pytest.approx(wanted, rel=1e-4)
    frozen = torch.from_numpy(rows).float()
    assert task_loss(method, PAIRS, classifier=frozen).item() == pytest.approx(wanted, rel=1e-4)


def test_a_frozen_classifier_passes_no_gradient_to_the_text_encoder() -> None:
    method = GradDiff(tiny_clip("vit"), tiny_spec(), Hyperparameters())
    with torch.no_grad():
        rows = method.classifier()
    task_loss(method, PAIRS, classifier=rows).backward()
    assert method.clip.model.text_projection.grad is None
    task_loss(method, PAIRS).backward()
    assert method.clip.model.text_projection.grad is not None


def test_concept_request_is_the_contrastive_loss() -> None:
    spec = tiny_spec(ForgetRequest(classes=(NAMES[0],)))
    method = GradDiff(tiny_clip("vit"), spec, Hyperparameters())
    by_class = task_loss(method, PAIRS).item()
    object.__setattr__(method.spec, "request", ForgetRequest(concept="cat"))
    assert task_loss(method, PAIRS).item() == pytest.approx(method.pair_loss(PAIRS).item()) != pytest.approx(by_class)
