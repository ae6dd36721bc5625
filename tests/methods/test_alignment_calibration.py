"""Alignment Calibration: its loss against a double loop, and which pairs forget pairs are pulled to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fitting import CONCEPT, fit, unit
from tiny import TinyDataset, tiny_clip

from datamodules.common.module import ForgetSpec
from methods.alignment_calibration import AlignmentCalibration, Hyperparameters, calibrated_loss, shifted
from methods.common.clip import contrastive_loss


def test_the_loss_is_the_double_loop() -> None:
    random = np.random.default_rng(0)
    v, t = (unit(torch.from_numpy(random.normal(size=(7, 5)))) for _ in range(2))
    s, (alpha, gamma, beta), share, others = 9.0, (0.7, 1.3, 4.0), 0.3, [4, 6, 5]
    rows = [np.log(sum(np.exp(s * v[i] @ t[j]) for j in range(7))) for i in range(7)]
    columns = [np.log(sum(np.exp(s * t[i] @ v[j]) for j in range(7))) for i in range(7)]
    spread = [(row + column) / 2 for row, column in zip(rows, columns, strict=True)]
    kept = np.mean([spread[i] - s * v[i] @ t[i] for i in range(3, 7)])
    pulls = [s / 2 * (v[i] @ t[k] + t[i] @ v[k]) for i, k in enumerate(others)]
    lost = np.mean([gamma * spread[i] - alpha * pulls[i] + beta * v[i] @ t[i] for i in range(3)])
    found = calibrated_loss(
        torch.from_numpy(s * v @ t.T), torch.tensor(others), weights=(alpha, gamma, beta / s), share=share
    )
    assert found.item() == pytest.approx(share * lost + (1 - share) * kept)


def test_pulled_to_their_own_partners_all_pairs_together_are_clips_own_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    v, t = (torch.randn(6, 8, generator=generator) for _ in range(2))
    logits = 5.0 * torch.from_numpy(unit(v) @ unit(t).T).float()
    own, others = (
        calibrated_loss(logits, places, weights=(1.0, 1.0, 0.0), share=0.5).item()
        for places in (torch.arange(3), torch.tensor([3, 4, 5]))
    )
    clips = contrastive_loss(v, t, torch.tensor(5.0)).item()
    assert own == pytest.approx(clips, rel=1e-5) and others != pytest.approx(clips, rel=1e-3)


def test_a_shift_leaves_none_in_its_place() -> None:
    for seed in range(20):
        torch.manual_seed(seed)
        others = shifted(5)
        assert sorted(others.tolist()) == [0, 1, 2, 3, 4] and not (others == torch.arange(5)).any()
    assert shifted(1).tolist() == [0]


@pytest.mark.parametrize("captions", [False, True])
def test_forget_pairs_of_a_class_are_pulled_to_retain_pairs(captions: bool, tmp_path: Path) -> None:
    seen: list[tuple[Any, torch.Tensor, float]] = []

    class Remembering(AlignmentCalibration):
        def training_step(self, batch: Any, index: int) -> torch.Tensor:
            state = torch.random.get_rng_state()
            others = shifted(4) if captions else 4 + torch.randint(4, (4,))
            torch.random.set_rng_state(state)
            loss = super().training_step(batch, index)
            seen.append((batch, others, float(loss)))
            return loss

    h = Hyperparameters(batch_size=4, max_steps=1, learning_rate=0.0, beta=3.0, proportions="natural")
    method = fit(Remembering, h, tiny_clip("vit"), tmp_path, captions=captions)
    ((batch, others, loss),) = seen
    images = torch.cat([batch[part]["images"] for part in ("forget", "retain")])
    texts = [text for part in ("forget", "retain") for text in batch[part]["texts"]]
    s = method.clip.logit_scale.item()
    logits = s * unit(method.clip.encode_image(images)) @ unit(method.clip.encode_text(texts)).T
    spread = (np.log(np.exp(logits).sum(0)) + np.log(np.exp(logits).sum(1))) / 2
    own, pulled = np.diag(logits), [(logits[i, k] + logits[k, i]) / 2 for i, k in enumerate(others.tolist())]
    lost = np.mean(spread[:4]) - np.mean(pulled) + 3.0 * np.mean(own[:4]) / s
    assert method.share == 0.25 and set(ForgetSpec.of(TinyDataset(captions=True), CONCEPT).forget_names) == {"apple"}
    assert loss == pytest.approx(0.25 * lost + 0.75 * np.mean(spread[4:] - own[4:]), rel=1e-4)
