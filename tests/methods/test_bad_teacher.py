"""Bad Teacher and LoTUS: their teachers and targets, and the share of each part, against plain NumPy."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fitting import Array, fit, kl, log_softmax, unit
from tiny import random_images, tiny_clip

from methods import bad_teacher, lotus
from methods.bad_teacher import BadTeacher, entropy, ignorant
from methods.common.clip import Clip
from methods.common.proportions import forget_share
from methods.lotus import LoTUS, gumbel, sampled_labels, smoothed_targets

SIZES = {"forget": 6, "retain": 18}


def logits_of(clip: Clip, images: torch.Tensor, rows: torch.Tensor) -> Array:
    with torch.no_grad():
        return clip.logit_scale.item() * unit(clip.encode_image(images)) @ unit(rows).T


def test_the_share_of_the_forget_part_is_that_of_a_shuffle() -> None:
    assert forget_share(SIZES, "natural") == 0.25
    assert forget_share(SIZES, "natural", retain_share=1 / 3) == pytest.approx(0.5)
    assert forget_share(SIZES, "equal", retain_share=0.1) == 0.5


@pytest.mark.parametrize("kind", ["resnet", "vit", "timm"])
def test_the_ignorant_teacher_shares_nothing_with_the_original(kind: str) -> None:
    clip = tiny_clip(kind)
    torch.manual_seed(7)  # the tiny CLIPs are drawn with 0
    teacher = ignorant(clip)
    before, after = clip.model.state_dict(), teacher.model.state_dict()
    for name, value in after.items():
        same = torch.equal(value, before[name])
        plain = value.unique().numel() == 1  # biases, norms and statistics begin as zeros and ones
        assert same if not name.startswith("visual.") else (plain or not same), name
    assert torch.isfinite(teacher.encode_image(random_images(2))).all()
    assert not any(parameter.requires_grad for parameter in teacher.model.parameters())


def test_entropy_is_between_nothing_and_the_uniform_one() -> None:
    rows = entropy(torch.tensor([[0.0, 0.0, 0.0, 0.0], [100.0, 0.0, 0.0, 0.0], [1.0, 2.0, 0.0, -1.0]]))
    p = np.exp(log_softmax(np.array([[1.0, 2.0, 0.0, -1.0]])))
    assert rows.tolist() == pytest.approx([math.log(4), 0, float(-(p * np.log(p)).sum())], abs=1e-6)


@pytest.mark.parametrize(("scale", "proportions"), [(1.0, "natural"), (None, "equal"), (0.0, "equal")])
def test_bad_teacher_is_the_weighted_sum_of_two_divergences(
    scale: float | None, proportions: str, tmp_path: Path
) -> None:
    seen: list[tuple[Any, float]] = []

    class Remembering(BadTeacher):
        def training_step(self, batch: Any, index: int) -> torch.Tensor:
            with torch.no_grad():
                for parameter in self.editable_parameters():
                    parameter.mul_(1.2)
            loss = super().training_step(batch, index)
            seen.append((batch, float(loss)))
            return loss

    h = bad_teacher.Hyperparameters(
        batch_size=24, max_steps=1, learning_rate=0.0, teacher_scale=scale, retain_share=0.5, proportions=proportions
    )
    method = fit(Remembering, h, tiny_clip("vit"), tmp_path)
    ((batch, loss),) = seen
    rows, forget, retain = method.names.weights, batch["forget"]["images"], batch["retain"]["images"]
    bad = logits_of(method.ignorant, forget, rows)
    if scale is not None:
        bad *= scale / method.clip.logit_scale.item()
    share = 6 / (6 + 9) if proportions == "natural" else 0.5
    wanted = share * kl(bad, logits_of(method.clip, forget, rows))
    wanted += (1 - share) * kl(logits_of(method.original, retain, rows), logits_of(method.clip, retain, rows))
    assert loss == pytest.approx(wanted, rel=1e-3)
    p = np.exp(log_softmax(bad))
    assert method.report["teacher_entropy"] == pytest.approx(float(-(p * np.log(p)).sum(1).mean()), rel=1e-3)
    assert (method.report["teacher_entropy"] == pytest.approx(math.log(4))) == (scale == 0.0)


def test_an_epoch_reads_the_share_of_the_retain_part() -> None:
    method = BadTeacher(tiny_clip("vit"), None, bad_teacher.Hyperparameters())  # type: ignore[arg-type]
    assert method.planned_steps({"forget": 500, "retain": 49_500}) == 60
    assert (
        LoTUS(tiny_clip("vit"), None, lotus.Hyperparameters()).planned_steps(  # type: ignore[arg-type]
            {"forget": 500, "retain": 49_500}
        )
        == 1200
    )


def test_gumbel_noise_samples_the_softmax() -> None:
    torch.manual_seed(0)
    logits = torch.tensor([1.0, 0.0, -1.0, 2.0]).repeat(20_000, 1)
    counts = sampled_labels(logits).bincount(minlength=4) / 20_000
    np.testing.assert_allclose(counts.numpy(), logits[0].softmax(0).numpy(), atol=0.01)
    noise = gumbel(torch.zeros(20_000))
    assert float(noise.mean()) == pytest.approx(0.5772, abs=0.03) and torch.isfinite(noise).all()


def test_smoothed_targets_are_uniform_while_hot_and_noisy_predictions_at_one() -> None:
    logits = torch.tensor([[9.0, 0.0, -3.0]])
    np.testing.assert_allclose(smoothed_targets(logits, 1e9).numpy(), np.full((1, 3), 1 / 3), atol=1e-6)
    torch.manual_seed(1)
    noise = gumbel(logits)
    torch.manual_seed(1)
    np.testing.assert_allclose(
        smoothed_targets(logits, 2.0).numpy(), np.exp(log_softmax(((logits + noise) / 2).double().numpy())), rtol=1e-5
    )


def test_lotus_takes_the_temperature_from_the_latest_pass_and_weighs_both_parts(tmp_path: Path) -> None:
    seen: list[tuple[Any, float, list[bool], Any]] = []

    class Remembering(LoTUS):
        def training_step(self, batch: Any, index: int) -> torch.Tensor:
            state = torch.random.get_rng_state()
            loss = super().training_step(batch, index)
            now = torch.random.get_rng_state()
            torch.random.set_rng_state(state)
            noise = (
                gumbel(torch.zeros(len(batch["forget"]["texts"]), 4)),
                gumbel(torch.zeros(len(batch["retain"]["texts"]), 4)),
            )
            torch.random.set_rng_state(now)
            right = logits_of(self.clip, batch["forget"]["images"], self.names.weights).argmax(1) == 0
            seen.append((batch, float(loss), right.tolist(), noise))
            return loss

    h = lotus.Hyperparameters(
        batch_size=3, max_steps=3, learning_rate=0.0, alpha=3.0, target_accuracy=0.1, proportions="natural"
    )
    method = fit(Remembering, h, tiny_clip("vit"), tmp_path)
    rows = method.names.weights
    batch, loss, right, noise = seen[-1]
    accuracy = np.mean([*seen[-2][2], *right])  # of the last two batches of three: one pass over six images
    temperature = math.exp(3.0 * (accuracy - 0.1))
    assert method.report["last_temperature"] == pytest.approx(temperature)
    forget, retain = (logits_of(method.clip, batch[part]["images"], rows) for part in ("forget", "retain"))
    target = np.exp(log_softmax((forget + noise[0].numpy()) / temperature))  # nothing moved: the original's
    lost = float(-(target * log_softmax(forget)).sum(1).mean())
    drawn = (retain + noise[1].numpy()).argmax(1)
    kept = float(-log_softmax(retain)[np.arange(len(drawn)), drawn].mean())
    share = 6 / (6 + 0.3 * 18)
    assert loss == pytest.approx(share * lost + (1 - share) * kept, rel=1e-4)
