"""EMMN: noise of many classes together is the noise of each alone; it errs and it shows; it is repeated."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from fitting import fit
from tiny import tiny_clip, tiny_spec
from torch import Tensor

from methods import emmn
from methods.common.zero_shot import NameClassifier
from methods.emmn import EMMN, Hyperparameters, optimise_noise


def alone(f: object, start: Tensor, label: int, *, steps: int, forget: bool) -> Tensor:
    """The noise of one class as published: mean over its images, its own Adam."""
    noise = start.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([noise], lr=0.1)
    for _ in range(steps):
        error = F.cross_entropy(f(noise), torch.full((len(noise),), label))
        loss = -error + 0.1 * noise.square().sum(dim=(1, 2, 3)).mean() if forget else error
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return noise.detach()


@pytest.mark.parametrize("forget", [True, False])
def test_classes_together_are_each_alone(forget: bool) -> None:
    clip = tiny_clip("vit")
    names = NameClassifier(EMMN(clip, tiny_spec(), Hyperparameters()))

    def f(x: Tensor) -> Tensor:
        return names.logits(clip, x)

    start = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    wanted = torch.cat([alone(f, part, i + 1, steps=4, forget=forget) for i, part in enumerate(start.split(2))])
    sign, weight = (-1.0, 0.1) if forget else (1.0, 0.0)
    labels = torch.tensor([1, 1, 2, 2, 3, 3])
    found = optimise_noise(f, start, labels, steps=4, rate=0.1, sign=sign, norm_weight=weight)
    # Adam turns rounding of tiny gradients into steps: nearly all entries agree
    assert float(((found - wanted).abs() < 1e-3).float().mean()) > 0.99


def test_forget_noise_errs_and_retain_noise_shows_its_name(tmp_path: Path) -> None:
    clip = tiny_clip("vit")
    untouched = clip.copy()
    method = fit(EMMN, Hyperparameters(images=2, batch_size=4, max_steps=1, norm_weight=0.0), clip, tmp_path)
    with torch.no_grad():
        probability = method.names.logits(untouched, method.noise).softmax(1)
    own = probability[torch.arange(8), method.labels]
    assert method.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert own[:2].max() < 0.1 and own[2:].min() > 0.5


def test_chunks_and_all_at_once_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    h = Hyperparameters(images=2, batch_size=4, max_steps=1, forget_iterations=2, retain_iterations=2)
    first = fit(EMMN, h, tiny_clip("vit"), tmp_path).noise
    monkeypatch.setattr(emmn, "TOGETHER", 2)
    second = fit(EMMN, h, tiny_clip("vit"), tmp_path).noise
    assert float(((first - second).abs() < 1e-3).float().mean()) > 0.99


def test_each_image_comes_as_often_as_it_is_repeated(tmp_path: Path) -> None:
    h = Hyperparameters(images=2, repeats=3, batch_size=5, epochs=2, forget_iterations=1, retain_iterations=1)
    method = fit(EMMN, h, tiny_clip("vit"), tmp_path)
    assert method.planned_steps({}) == 2 * 5  # 4 names, 2 images, 3 times: 24 items in batches of 5
    counts = Counter(torch.cat(method.batches).tolist())
    assert counts == dict.fromkeys(range(8), 6)
    first_epoch = Counter(torch.cat(method.batches[:5]).tolist())
    assert first_epoch == dict.fromkeys(range(8), 3)
