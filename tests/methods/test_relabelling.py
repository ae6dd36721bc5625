"""Amnesiac, SalUn and Boundary Shrink: their wrong labels, losses and masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fitting import CONCEPT, caption_pairs, class_pairs, cross_entropy, fit, move, unit
from tiny import APPLE, TinyDataset, tiny_clip, tiny_spec
from torch import nn

from datamodules.common.images import Preprocessing
from datamodules.common.module import ForgetSpec, Pairs
from datamodules.common.request import ForgetRequest
from methods import amnesiac, boundary_shrink, salun
from methods.amnesiac import Amnesiac
from methods.boundary_shrink import BoundaryShrink, step_in_pixels
from methods.salun import SalUn, saliency_masks

FORGET, RETAIN = class_pairs([0, 0, 0], 1), class_pairs([1, 2, 3, 2], 2)


@pytest.mark.parametrize("concept", [False, True])
def test_amnesiac_is_the_mean_of_both_cross_entropies(concept: bool) -> None:
    spec = ForgetSpec.of(TinyDataset(captions=True), CONCEPT) if concept else tiny_spec()
    method = Amnesiac(tiny_clip("vit"), spec, amnesiac.Hyperparameters())
    method.on_fit_start()
    move(method.clip)
    retain, labels, rows = RETAIN, [1, 2, 3, 2], unit(method.names.weights)
    forget, names = FORGET, rows
    if concept:
        retain, labels = caption_pairs(["one bus", "a cat"], 2), [0, 1]
        forget, rows = caption_pairs(["one apple"] * 3, 1), unit(method.clip.encode_text(retain["texts"]))
    scale = method.clip.logit_scale.item()
    wrong = scale * unit(method.clip.encode_image(forget["images"])) @ names.T
    right = scale * unit(method.clip.encode_image(retain["images"])) @ rows.T
    drawn = method.names.other_names(forget, method.seed).tolist()
    assert 0 not in drawn
    wanted = (cross_entropy(wrong, drawn) + cross_entropy(right, labels)) / 2
    for _ in range(2):  # the labels of an image stay
        loss = method.training_step({"forget": forget, "retain": retain}, 0)
        assert loss.item() == pytest.approx(wanted, rel=1e-4)


def test_amnesiac_draws_other_labels_with_another_seed(tmp_path: Path) -> None:
    h = amnesiac.Hyperparameters(batch_size=4, max_steps=1)
    first, again, other = (fit(Amnesiac, h, tiny_clip("vit"), tmp_path, seed=seed).seed for seed in (0, 0, 1))
    assert first == again != other


def test_saliency_masks_cut_at_the_median_of_all_parameters_together() -> None:
    a, b, c = nn.Parameter(torch.zeros(4)), nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(3))
    a.grad = torch.tensor([-9.0, 8.0, 0.1, -0.2])
    b.grad = torch.tensor([[7.0, -0.3], [0.05, 6.0]])
    sizes = np.abs(np.concatenate([a.grad.numpy(), b.grad.numpy().ravel(), np.zeros(3)]))
    threshold = np.sort(sizes)[5]  # the median of eleven
    masks = saliency_masks([a, b, c], 0.5)
    assert masks[0].tolist() == [True, True, False, True] and masks[1].tolist() == [[True, True], [False, True]]
    assert masks[2].tolist() == [False] * 3 and threshold == pytest.approx(0.2)
    assert torch.cat([m.flatten() for m in saliency_masks([a, b, c], 0.0)]).all()


@pytest.mark.parametrize(("proportions", "alpha"), [("natural", 1.0), ("natural", 0.5), ("equal", 1.0), ("equal", 3.0)])
def test_salun_weighs_both_parts_by_their_sizes_or_alike(proportions: str, alpha: float, tmp_path: Path) -> None:
    h = salun.Hyperparameters(
        batch_size=24, max_steps=1, saliency_steps=1, retain_weight=alpha, proportions=proportions, learning_rate=0.0
    )
    seen: list[tuple[dict, float]] = []

    class Remembering(SalUn):
        def training_step(self, batch: dict, index: int) -> torch.Tensor:
            loss = super().training_step(batch, index)
            seen.append((batch, float(loss)))
            return loss

    method = fit(Remembering, h, tiny_clip("vit"), tmp_path)
    batch, loss = seen[1]
    rows, scale = unit(method.names.weights), method.clip.logit_scale.item()
    forget, retain = (
        scale * unit(method.clip.encode_image(batch[part]["images"])) @ rows.T for part in ("forget", "retain")
    )
    drawn = method.names.other_names(batch["forget"], method.seed + 1).tolist()
    labels = [method.spec.all_names.index(text.removeprefix("a photo of a ")) for text in batch["retain"]["texts"]]
    if proportions == "natural":  # the batch holds all 6 and all 18 images: a mean over them together
        total = 6 * cross_entropy(forget, drawn) + alpha * 18 * cross_entropy(retain, labels)
        wanted = total / (6 + alpha * 18)
    else:
        wanted = (cross_entropy(forget, drawn) + alpha * cross_entropy(retain, labels)) / (1 + alpha)
    assert len(batch["forget"]["texts"]) == 6 and len(labels) == 18
    assert loss == pytest.approx(wanted, rel=1e-4)


class Decaying(SalUn):
    """SalUn whose optimizer would move every weight: momentum and decay, whatever the gradient."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.editable_parameters(), lr=1e-2, weight_decay=0.5)


@pytest.mark.parametrize("kind", ["resnet", "vit"])
@pytest.mark.parametrize("method_class", [SalUn, Decaying])
def test_salun_leaves_unmasked_weights_bit_identical(kind: str, method_class: type[SalUn], tmp_path: Path) -> None:
    clip = tiny_clip(kind)
    before = [p.detach().clone() for n, p in clip.model.named_parameters() if n.startswith("visual.")]
    h = salun.Hyperparameters(learning_rate=1e-2, batch_size=4, max_steps=3, saliency_steps=2)
    method = fit(method_class, h, clip, tmp_path)
    moved = 0
    for parameter, old, mask in zip(method.editable_parameters(), before, method.masks, strict=True):
        assert torch.equal(parameter[~mask], old[~mask])
        moved += int((parameter[mask] != old[mask]).sum())
    share = sum(int(m.sum()) for m in method.masks) / sum(m.numel() for m in method.masks)
    assert 0.5 <= share < 0.52
    assert moved > 0.9 * share * sum(m.numel() for m in method.masks)


def test_salun_measures_first_and_takes_no_step_there(tmp_path: Path) -> None:
    clip = tiny_clip("vit")
    before = {n: v.clone() for n, v in clip.model.state_dict().items()}
    states: list[bool] = []

    class Watched(SalUn):
        def on_train_batch_end(self, *args: object) -> None:
            states.append(all(torch.equal(v, before[n]) for n, v in self.clip.model.state_dict().items()))

    method = fit(Watched, salun.Hyperparameters(batch_size=4, max_steps=2, learning_rate=1e-3), clip, tmp_path)
    assert method.planned_steps({"forget": 6, "retain": 18}) == 4  # one pass over six images, then two steps
    assert states == [True, True, False, False]


def test_salun_masks_by_the_gradient_of_the_forget_loss(tmp_path: Path) -> None:
    method = SalUn(tiny_clip("vit"), tiny_spec(), salun.Hyperparameters(batch_size=6, max_steps=1, saliency_steps=1))
    fitted = fit(Watcher, method.h, tiny_clip("vit"), tmp_path)
    (forget,) = fitted.seen
    scale, weights = method.clip.logit_scale, method.classifier().detach()
    image = method.clip.encode_image(forget["images"])
    logits = scale.detach() * image / image.norm(dim=1, keepdim=True) @ weights.T
    loss = -logits.log_softmax(1)[:, 0].mean()
    gradients = torch.autograd.grad(loss, method.editable_parameters())
    median = torch.cat([g.abs().flatten() for g in gradients]).median()
    agree = sum(int(((g.abs() >= median) == m).sum()) for g, m in zip(gradients, fitted.masks, strict=True))
    assert agree / sum(g.numel() for g in gradients) > 0.999


class Watcher(SalUn):
    """Remembers the forget batch that it measures."""

    def training_step(self, batch: dict, index: int) -> torch.Tensor:
        if index == 0:
            self.seen = [batch["forget"]]
        return super().training_step(batch, index)


def shrink(request: ForgetRequest = APPLE, *, epsilon: float = 0.1) -> BoundaryShrink:
    method = BoundaryShrink(tiny_clip("vit"), tiny_spec(request), boundary_shrink.Hyperparameters(epsilon=epsilon))
    method.on_fit_start()
    return method


def pixel_pairs(labels: list[int]) -> Pairs:
    generator = torch.Generator().manual_seed(4)
    pixels = torch.rand(len(labels), 3, 32, 32, generator=generator)
    return {**class_pairs(labels, 4), "images": Preprocessing(32).normalise(pixels)}


def test_without_a_step_the_nearest_name_is_the_originals_second_choice() -> None:
    method, pairs = shrink(epsilon=0.0), pixel_pairs([0] * 6)
    move(method.clip)
    logits = unit(method.original.encode_image(pairs["images"])) @ unit(method.names.weights).T
    assert method.nearest_names(pairs).tolist() == (1 + logits[:, 1:].argmax(1)).tolist()


def test_nearest_names_are_the_originals_after_one_signed_step_in_pixels() -> None:
    method, pairs = shrink(epsilon=0.3), pixel_pairs([0] * 12)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (Preprocessing(32).mean, Preprocessing(32).std))
    x = pairs["images"].clone().requires_grad_(True)
    image = method.original.encode_image(x)
    logits = method.original.logit_scale * image / image.norm(dim=1, keepdim=True) @ method.names.weights.T
    (-logits.log_softmax(1)[:, 0]).mean().backward()
    pixels = (x.detach() * std + mean + 0.3 * x.grad.sign()).clamp(0, 1)
    moved = unit(method.original.encode_image((pixels - mean) / std)) @ unit(method.names.weights).T
    move(method.clip)  # the original decides, not the model that unlearns
    found = method.nearest_names(pairs)
    assert found.tolist() == (1 + moved[:, 1:].argmax(1)).tolist()
    assert not torch.equal(found, shrink(epsilon=0.0).nearest_names(pairs))


def test_a_name_that_is_also_forgotten_is_no_neighbour() -> None:
    assert set(
        shrink(ForgetRequest(classes=("apple", "bus", "cat"))).nearest_names(pixel_pairs([0, 1, 2])).tolist()
    ) == {3}


def test_boundary_shrink_is_the_cross_entropy_with_the_nearest_names() -> None:
    method, pairs = shrink(), pixel_pairs([0] * 4)
    move(method.clip)
    logits = (
        method.clip.logit_scale.item() * unit(method.clip.encode_image(pairs["images"])) @ unit(method.names.weights).T
    )
    wanted = cross_entropy(logits, method.nearest_names(pairs).tolist())
    assert method.training_step({"forget": pairs}, 0).item() == pytest.approx(wanted, rel=1e-4)


def test_a_step_in_pixels_stays_within_them() -> None:
    preprocessing = Preprocessing(4)
    x = preprocessing.normalise(torch.tensor([0.0, 0.5, 0.95]).view(3, 1, 1, 1).expand(3, 3, 4, 4))
    moved = step_in_pixels(x, torch.ones_like(x), 0.1, preprocessing)
    wanted = preprocessing.normalise(torch.tensor([0.1, 0.6, 1.0]).view(3, 1, 1, 1).expand(3, 3, 4, 4))
    torch.testing.assert_close(moved, wanted, atol=1e-5, rtol=0)
