"""The classifier of names that the classifiers' methods share, against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fitting import CONCEPT, caption_pairs, class_pairs, kl, move, unit
from tiny import NAMES, TinyDataset, random_images, tiny_clip, tiny_spec

from datamodules.common.module import ForgetSpec
from datamodules.common.request import ForgetRequest
from methods.common.zero_shot import NameClassifier, divergence, draw_seed
from methods.graddiff import GradDiff, Hyperparameters

CAT_AND_BUS = ForgetRequest(classes=("cat", "bus"))


def classifier(request: ForgetRequest | None = None, *, kind: str = "vit") -> NameClassifier:
    spec = ForgetSpec.of(TinyDataset(captions=True), CONCEPT) if request is None else tiny_spec(request)
    return NameClassifier(GradDiff(tiny_clip(kind), spec, Hyperparameters()))


@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_logits_are_scaled_cosines_with_the_originals_names(kind: str) -> None:
    clip, x = tiny_clip(kind), random_images(3)
    names = classifier(CAT_AND_BUS, kind=kind)
    prompts = [[f"a photo of a {n}", f"the {n} here"] for n in ("cat", "bus", "apple", "sunflower")]
    rows = np.stack([unit(clip.encode_text(pair)).mean(0) for pair in prompts])
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    scale = clip.logit_scale.item()
    move(clip)
    with torch.no_grad():
        clip.model.logit_scale.fill_(np.log(scale))
    found = names.logits(clip, x)
    np.testing.assert_allclose(found.detach().numpy(), scale * unit(clip.encode_image(x)) @ rows.T, atol=1e-4)


def test_labels_of_a_request_by_class_are_columns_not_class_indices() -> None:
    names = classifier(CAT_AND_BUS)
    assert names.forget_labels(class_pairs([1, 2, 1], 0)).tolist() == [1, 0, 1]
    weights, labels = names.retain_classes(tiny_clip("vit"), class_pairs([3, 0], 0))
    assert weights is names.weights and labels.tolist() == [3, 2]


def test_by_concept_the_forget_label_is_the_concept_and_retain_classes_are_the_captions() -> None:
    names, clip = classifier(), tiny_clip("vit")
    assert names.forget_labels(caption_pairs(["one apple", "a big apple"], 0)).tolist() == [0, 0]
    texts = ["one bus", "a big cat", "one cat"]
    weights, labels = names.retain_classes(clip, caption_pairs(texts, 0))
    np.testing.assert_allclose(weights.numpy(), unit(clip.encode_text(texts)), atol=1e-6)
    assert labels.tolist() == [0, 1, 2] and not weights.requires_grad


def test_other_names_are_kept_ones_fixed_for_an_image_and_drawn_from_all() -> None:
    names = classifier(CAT_AND_BUS)
    pairs = class_pairs([1] * 200, 3)
    drawn = names.other_names(pairs, 7)
    assert set(drawn.tolist()) == {2, 3}
    assert abs(float((drawn == 2).float().mean()) - 0.5) < 0.15
    order = torch.randperm(200)
    shuffled = {**pairs, "indices": pairs["indices"][order]}
    assert torch.equal(names.other_names(shuffled, 7), drawn[order])
    assert not torch.equal(names.other_names(pairs, 8), drawn)


def test_the_drawn_seed_follows_torchs() -> None:
    torch.manual_seed(3)
    first = draw_seed()
    torch.manual_seed(3)
    assert draw_seed() == first
    torch.manual_seed(4)
    assert draw_seed() != first


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_divergence_is_the_double_loop_and_not_its_mirror(temperature: float) -> None:
    generator = torch.Generator().manual_seed(0)
    p, q = (torch.randn(3, len(NAMES), generator=generator) * 3 for _ in range(2))
    wanted = kl(p.double().numpy(), q.double().numpy(), temperature)
    assert float(divergence(p, q, temperature=temperature)) == pytest.approx(wanted, rel=1e-5)
    assert float(divergence(q, p, temperature=temperature)) != pytest.approx(wanted, rel=1e-2)
    assert float(divergence(p, p)) == pytest.approx(0, abs=1e-6)
