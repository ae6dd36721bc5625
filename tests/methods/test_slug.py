"""SLUG's gradients, front, search and choice against plain computations."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from tiny import NAMES, random_images, tiny_clip, tiny_spec

from datamodules.common.module import Pairs
from datamodules.common.request import ForgetRequest
from methods.common.clip import contrastive_loss
from methods.common.held_out import HeldOut, pair_hits
from methods.slug import SLUG, Hyperparameters, pareto_front, search, without


def pairs(labels: list[int], seed: int, *, first: int = 0) -> Pairs:
    return Pairs(
        images=random_images(len(labels), seed=seed),
        texts=[f"a photo of a {NAMES[label]}" for label in labels],
        labels=torch.tensor(labels),
        indices=torch.arange(first, first + len(labels)),
    )


BATCHES = [
    {"forget": pairs([0, 0, 0], 2 * i, first=10 * i), "retain": pairs([1, 2, 3], 2 * i + 1, first=100 + 10 * i)}
    for i in range(3)
]


def run(kind: str, **settings: Any) -> SLUG:
    """Training without a Trainer: one held-out batch, two that give gradients."""
    h = Hyperparameters(held_out_batches=1, gradient_batches=2, **settings)
    method = SLUG(tiny_clip(kind), tiny_spec(), h)
    cast(Any, method).manual_backward = lambda loss: loss.backward()
    assert method.planned_steps({}) == len(BATCHES)
    for index, batch in enumerate(BATCHES):
        method.training_step(cast(Any, batch), index)
    method.on_train_end()
    return method


@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_one_layer_makes_one_step_along_the_mean_cosine_gradient(kind: str) -> None:
    method = run(kind)
    clip, layer = tiny_clip(kind), method.report["layer"]
    loss = torch.zeros(())
    for batch in BATCHES[1:]:
        image, text = clip.encode_image(batch["forget"]["images"]), clip.encode_text(batch["forget"]["texts"])
        unit = [x / x.norm(dim=1, keepdim=True) for x in (image, text)]
        loss = loss + (unit[0] * unit[1]).sum(dim=1).mean() / 2
    loss.backward()
    before = dict(clip.model.named_parameters())
    for name, parameter in method.clip.model.named_parameters():
        if name != layer:
            assert torch.equal(parameter, before[name])
    gradient = before[layer].grad
    assert gradient is not None
    wanted = before[layer] - method.report["step"] * gradient
    torch.testing.assert_close(method.clip.model.get_parameter(layer), wanted, rtol=1e-3, atol=1e-5)


def test_retain_gradient_is_that_of_the_contrastive_loss() -> None:
    method = run("vit")
    clip = tiny_clip("vit")
    losses = [
        contrastive_loss(clip.encode_image(b["images"]), clip.encode_text(b["texts"]), clip.logit_scale)
        for b in (batch["retain"] for batch in BATCHES[1:])
    ]
    (sum(losses) / 2).backward()
    gradient = clip.model.get_parameter("visual.proj").grad
    torch.testing.assert_close(method.gradients["retain"]["visual.proj"], gradient, rtol=1e-3, atol=1e-6)


def test_candidates_are_the_fronts_of_both_encoders() -> None:
    method = run("vit")
    weights = {n: p.detach() for n, p in tiny_clip("vit").model.named_parameters()}
    points = {}
    for name in method.gradients["forget"]:
        forget, retain = method.gradients["forget"][name].double(), method.gradients["retain"][name].double()
        if forget.norm() > 0 and not any(part in name for part in ("bias", "embedding", "position", "scale")):
            cosine = float((forget * retain).sum() / forget.norm() / retain.norm())
            points[name] = (float(forget.norm() / weights[name].double().norm()), abs(cosine))
    wanted = set()
    for name, (importance, alignment) in points.items():
        side = [o for o in points if o.startswith("visual.") == name.startswith("visual.") and o != name]
        if not any(points[o][0] > importance and points[o][1] < alignment for o in side):
            wanted.add(name)
    assert set(method.report["front"]) == wanted and 2 <= len(wanted) < len(points)


def test_pareto_front_by_hand() -> None:
    importance = {"a": 3.0, "b": 2.0, "c": 1.0, "d": 2.0, "e": 1.0}
    alignment = {"a": 0.9, "b": 0.5, "c": 0.1, "d": 0.6, "e": 0.5}
    assert pareto_front([*importance], importance, alignment) == ["a", "b", "c"]


def test_search_doubles_then_bisects_to_the_smallest_step_that_forgets() -> None:
    seen: list[float] = []

    def measure(step: float) -> tuple[float, float]:
        seen.append(step)
        return (0.0 if step >= 5.3 else 0.8), 0.9 - 0.02 * step

    trial = search(measure, 1.0, retain_before=0.9, target=0.0, steps=10)
    assert seen[:7] == [1.0, 2.0, 4.0, 8.0, 6.0, 5.0, 5.5] and len(seen) == 10
    assert 5.3 <= trial.step < 5.4 and trial.forget == 0.0


def test_search_ends_when_nothing_was_lost() -> None:
    seen: list[float] = []

    def measure(step: float) -> tuple[float, float]:
        seen.append(step)
        return (0.0 if step >= 2 else 0.5), 0.9

    assert search(measure, 1.0, retain_before=0.9, target=0.0, steps=10).step == 2.0 and len(seen) == 2


def test_search_ends_when_half_is_lost_before_the_target() -> None:
    seen: list[float] = []

    def measure(step: float) -> tuple[float, float]:
        seen.append(step)
        return 0.5, 0.9 / step

    trial = search(measure, 1.0, retain_before=0.9, target=0.0, steps=10)
    assert seen == [1.0, 2.0, 4.0] and trial.step == 1.0


def test_held_out_images_give_no_gradient() -> None:
    batch = pairs([0, 1, 2], 1, first=5)
    left = without(batch, [pairs([0, 0], 2, first=4)])
    assert left["indices"].tolist() == [6, 7] and left["texts"] == batch["texts"][1:]
    assert torch.equal(left["images"], batch["images"][1:])
    assert without(batch, [batch]) is batch


@pytest.mark.parametrize("changed", ["visual", "text"])
def test_held_out_accuracy_of_a_changed_encoder_is_that_of_the_whole_clip(changed: str) -> None:
    clip, spec = tiny_clip("vit"), tiny_spec()
    forget, retain = [pairs([0] * 6, 1)], [pairs([1, 2, 3] * 4, 2), pairs([1] * 5, 3)]
    held_out = HeldOut(clip, spec, forget, retain)

    def hits(batch: Pairs) -> list[bool]:
        with torch.no_grad():
            rows = clip.zero_shot_classifier(spec.all_names, spec.templates)
            chosen = (clip.encode_image(batch["images"]) @ rows.T).argmax(dim=1)
        return [spec.all_names[i] in text for i, text in zip(chosen.tolist(), batch["texts"], strict=True)]

    def direct() -> tuple[float, float]:
        kept = [hit for batch in retain for hit in hits(batch)]
        return sum(hits(forget[0])) / 6, sum(kept) / 17

    assert held_out.before == pytest.approx(direct())
    with torch.no_grad():
        name = "visual.proj" if changed == "visual" else "text_projection"
        weight = clip.model.get_parameter(name)
        for seed in range(9):  # until another encoder answers otherwise
            weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed)))
            if direct() != pytest.approx(held_out.before):
                break
    assert held_out.accuracy(changed=cast(Any, changed)) == pytest.approx(direct())
    assert held_out.accuracy(changed=cast(Any, changed)) != pytest.approx(held_out.before)


def test_pair_hits_by_hand() -> None:
    cosines = torch.tensor([[0.9, 0.1, 0.2], [0.1, 0.2, 0.8], [0.95, 0.3, 0.4]])
    # images choose texts 0, 2, 0; texts choose images 2, 2, 1; the last two texts are equal
    assert pair_hits(cosines, ["x", "y", "y"]).tolist() == [0.5, 1.0, 0.5]
    assert pair_hits(cosines, ["x", "y", "z"]).tolist() == [0.5, 0.0, 0.0]


def test_a_concept_is_measured_by_recall() -> None:
    clip, spec = tiny_clip("vit"), tiny_spec()
    object.__setattr__(spec, "request", ForgetRequest(concept="apple"))
    held_out = HeldOut(clip, spec, [pairs([0, 0], 1)], [pairs([1, 2], 2)])
    texts = [f"a photo of a {NAMES[i]}" for i in (0, 0, 1, 2)]
    with torch.no_grad():
        images = torch.cat([clip.encode_image(random_images(2, seed=seed)) for seed in (1, 2)])
        cosines = (
            torch.nn.functional.normalize(images, dim=1) @ torch.nn.functional.normalize(clip.encode_text(texts)).T
        )
    hits = pair_hits(cosines, texts)
    assert held_out.before == pytest.approx((float(hits[:2].mean()), float(hits[2:].mean())))
