"""SCRUB against plain NumPy, and its turns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fitting import CONCEPT, Array, caption_pairs, class_pairs, cross_entropy, fit, kl, move, unit
from tiny import TinyDataset, tiny_clip, tiny_spec

from datamodules.common.module import ForgetSpec, Pairs
from methods.common.clip import Clip
from methods.scrub import SCRUB, Hyperparameters, rate_share, turns

FORGET, RETAIN = class_pairs([0, 0, 0], 1), class_pairs([1, 2, 3, 2], 2)


def made(*, concept: bool = False, **hyper: float) -> SCRUB:
    spec = ForgetSpec.of(TinyDataset(captions=True), CONCEPT) if concept else tiny_spec()
    method = SCRUB(tiny_clip("vit"), spec, Hyperparameters(**hyper))
    method.on_fit_start()
    move(method.clip)
    return method


def logits(clip: Clip, pairs: Pairs, rows: Array) -> Array:
    with torch.no_grad():
        return clip.logit_scale.item() * unit(clip.encode_image(pairs["images"])) @ rows.T


def test_max_step_is_minus_the_divergence_over_the_names() -> None:
    method = made(temperature=3.0)
    rows = unit(method.names.weights)
    before, now = logits(method.original, FORGET, rows), logits(method.clip, FORGET, rows)
    assert method.max_loss(FORGET).item() == pytest.approx(-kl(before, now, 3.0), rel=1e-4)


@pytest.mark.parametrize("concept", [False, True])
def test_min_step_is_alpha_divergence_plus_gamma_cross_entropy(concept: bool) -> None:
    method = made(concept=concept, alpha=0.3, gamma=0.8, temperature=2.0)
    if concept:
        texts = ["one bus", "a big cat", "one sunflower here"]
        retain, labels = caption_pairs(texts, 2), [0, 1, 2]
        rows = unit(method.clip.encode_text(texts))
    else:
        retain, labels, rows = RETAIN, [1, 2, 3, 2], unit(method.names.weights)
    before, now = logits(method.original, retain, rows), logits(method.clip, retain, rows)
    wanted = 0.3 * kl(before, now, 2.0) + 0.8 * cross_entropy(now, labels)
    assert method.min_loss(retain).item() == pytest.approx(wanted, rel=1e-4)


def test_the_order_of_the_official_loop() -> None:
    wanted = []
    for epoch in range(1, 11):  # 24 forget images in batches of 3, 43 min steps
        wanted += [("max", epoch)] * 8 if epoch <= 3 else []
        wanted += [("min", epoch)] * (5 if epoch <= 3 else 4)
    assert turns(43, 8, epochs=10, max_epochs=3) == wanted
    assert turns(2, 1, epochs=10, max_epochs=3) == [("max", 1), ("min", 1), ("max", 2), ("min", 2)]
    assert [rate_share(epoch) for epoch in range(1, 11)] == pytest.approx([1] * 5 + [0.1] * 3 + [0.01, 0.001])


def test_a_run_takes_its_max_and_min_steps_at_the_rates_of_their_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, float]] = []
    for name in ("max_loss", "min_loss"):
        inner = getattr(SCRUB, name)

        def spy(self: SCRUB, pairs: Pairs, name: str = name, inner: object = inner) -> torch.Tensor:
            seen.append((name[:3], self.trainer.optimizers[0].param_groups[0]["lr"]))
            return inner(self, pairs)

        monkeypatch.setattr(SCRUB, name, spy)
    h = Hyperparameters(batch_size=4, max_steps=7, max_epochs=1, epochs=7, learning_rate=1e-3)
    method = fit(SCRUB, h, tiny_clip("vit"), tmp_path)
    assert [name for name, _ in seen] == [kind for kind, _ in method.turns]
    assert {name for name, _ in seen[:-7]} == {"max"} and seen[0][0] == "max"
    assert [rate for _, rate in seen[-7:]] == pytest.approx([1e-3] * 5 + [1e-4] * 2)


def test_max_steps_alone_stray_from_the_original(tmp_path: Path) -> None:
    h = Hyperparameters(learning_rate=1e-3, batch_size=4, max_steps=4, max_epochs=4, alpha=0.0, gamma=0.0)
    method = fit(SCRUB, h, tiny_clip("vit"), tmp_path)
    assert method.max_loss(FORGET).item() < -0.01
