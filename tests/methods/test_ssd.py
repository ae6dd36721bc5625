"""Selective synaptic dampening on Fishers made by hand, and its Fishers against plain autograd."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny import NAMES, random_images, tiny_clip, tiny_spec

from datamodules.common.module import Pairs
from datamodules.common.request import ForgetRequest
from methods.common.clip import contrastive_loss
from methods.ssd import SSD, Hyperparameters, dampening, loss_among, pooled


def pairs(labels: list[int], seed: int) -> Pairs:
    return Pairs(
        images=random_images(len(labels), seed=seed),
        texts=[f"a photo of a {NAMES[label]}" for label in labels],
        labels=torch.tensor(labels),
        indices=torch.arange(len(labels)),
    )


def run(method: SSD, batches: list[dict[Any, Pairs]]) -> None:
    """Training without a Trainer."""
    for index, batch in enumerate(batches):
        method.training_step(batch, index)
    method.on_train_end()


def test_factors_by_hand() -> None:
    forget = torch.tensor([21.0, 20.0, 40.0, 0.0, 5.0, 30.0])
    reference = torch.tensor([2.0, 2.0, 1.0, 0.0, 0.0, 2.9])
    # selected where F_f > 10 F_D: 21 > 20, not 20 > 20, 40 > 10, not 0 > 0, 5 > 0, 30 > 29
    wanted = torch.tensor([2 / 21, 1.0, 1 / 40, 1.0, 0.0, 2.9 / 30])
    torch.testing.assert_close(dampening(forget, reference, selection=10.0, strength=1.0), wanted)


def test_a_strong_dampening_constant_is_bounded_by_one() -> None:
    forget, reference = torch.tensor([30.0, 100.0]), torch.tensor([1.0, 1.0])
    wanted = torch.tensor([1.0, 0.5])
    torch.testing.assert_close(dampening(forget, reference, selection=10.0, strength=50.0), wanted)


def test_pooled_fisher_is_that_of_all_images() -> None:
    found = pooled({"w": torch.tensor([8.0])}, {"w": torch.tensor([4.0])}, {"forget": 1, "retain": 3})
    assert found["w"].item() == pytest.approx((8 + 3 * 4) / 4)


def test_weights_are_dampened_by_squared_batch_gradients() -> None:
    batches = [{"forget": pairs([0, 0], 10 + i), "retain": pairs([1, 2, 3], 20 + i)} for i in range(2)]
    method = SSD(tiny_clip("vit"), tiny_spec(), Hyperparameters(selection=1.5))
    clip = tiny_clip("vit")
    fishers = {part: {n: torch.zeros_like(p) for n, p in clip.model.named_parameters()} for part in batches[0]}
    for batch in batches:
        for part, each in batch.items():
            names = [text.removeprefix("a photo of a ") for text in each["texts"]]
            logits = clip.logit_scale * torch.nn.functional.normalize(clip.encode_image(each["images"]), dim=-1)
            logits = logits @ clip.zero_shot_classifier(NAMES, tiny_spec().templates).T
            loss = -logits.log_softmax(dim=-1)[range(len(names)), [NAMES.index(n) for n in names]].mean()
            clip.model.zero_grad()
            loss.backward()
            for name, parameter in clip.model.named_parameters():
                fishers[part][name] += parameter.grad.square() / len(batches)
    run(method, batches)
    touched = 0
    for (name, before), after in zip(clip.model.named_parameters(), method.clip.model.parameters(), strict=True):
        forget, retain = fishers["forget"][name], fishers["retain"][name]
        selected = (forget > 1.5 * retain) & (name != "logit_scale")
        # Near the threshold rounding decides: leave those entries out.
        clear = (forget / (1.5 * retain).clamp(min=1e-30) - 1).abs() > 1e-3
        wanted = torch.where(selected, before * (retain / forget).clamp(max=1), before)
        torch.testing.assert_close(after[clear], wanted[clear], rtol=2e-3, atol=1e-7)
        touched += int(selected.sum())
    assert touched > 0
    assert method.report["dampened_share"] == pytest.approx(
        touched / sum(p.numel() for n, p in clip.model.named_parameters() if n != "logit_scale"), rel=1e-2
    )


def test_equal_parts_select_nothing() -> None:
    same = pairs([0, 1, 2, 3], 1)
    method = SSD(tiny_clip("resnet"), tiny_spec(), Hyperparameters())
    run(method, [{"forget": same, "retain": same}])
    before = tiny_clip("resnet").model.state_dict()
    assert all(torch.equal(v, before[n]) for n, v in method.clip.model.state_dict().items())


def test_loss_of_pairs_alone_among_others_written_out() -> None:
    generator = torch.Generator().manual_seed(0)
    image, text, others, captions = (
        torch.nn.functional.normalize(torch.randn(n, 6, generator=generator), dim=1) for n in (2, 2, 3, 3)
    )
    wanted = 0.0
    for x, t in zip(image, text, strict=True):
        for row, negatives in ((x, captions), (t, others)):
            logits = 7.0 * torch.stack([x @ t, *(row @ negative for negative in negatives)])
            wanted += float(logits.logsumexp(0) - logits[0]) / 4
    found = loss_among(3 * image, text, others, 2 * captions, torch.tensor(7.0))
    assert found.item() == pytest.approx(wanted, rel=1e-5)


def test_a_pair_among_the_rest_of_its_batch_has_its_share_of_the_contrastive_loss() -> None:
    generator = torch.Generator().manual_seed(1)
    image, text, scale = (
        torch.randn(4, 6, generator=generator),
        torch.randn(4, 6, generator=generator),
        torch.tensor(5.0),
    )
    rest = [[j for j in range(4) if j != i] for i in range(4)]
    alone = [loss_among(image[i : i + 1], text[i : i + 1], image[r], text[r], scale).item() for i, r in enumerate(rest)]
    assert sum(alone) / 4 == pytest.approx(contrastive_loss(image, text, scale).item(), rel=1e-5)


def test_a_concept_is_contrasted_with_the_retained_pairs() -> None:
    method = SSD(tiny_clip("vit"), tiny_spec(), Hyperparameters())
    object.__setattr__(method.spec, "request", ForgetRequest(concept="apple"))
    forget, retain = pairs([0, 0], 1), pairs([1, 2, 3], 2)
    method.training_step({"forget": forget, "retain": retain}, 0)
    clip = tiny_clip("vit")
    encoded = [
        e for part in (forget, retain) for e in (clip.encode_image(part["images"]), clip.encode_text(part["texts"]))
    ]
    losses = {
        "forget": loss_among(*encoded, clip.logit_scale),
        "retain": contrastive_loss(*encoded[2:], clip.logit_scale),
    }
    for part, loss in losses.items():
        (wanted,) = torch.autograd.grad(loss, clip.model.visual.proj, retain_graph=True)
        torch.testing.assert_close(method.fisher[part]["visual.proj"], wanted.square(), rtol=1e-3, atol=1e-9)
