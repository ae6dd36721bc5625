"""MultiDelete against plain NumPy."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from fitting import class_pairs, move, unit
from tiny import WIDTH, tiny_clip, tiny_spec

from methods import multidelete
from methods.multidelete import Embedded, Hyperparameters, MultiDelete, product, unrelated

FORGET, RETAIN = class_pairs([0, 0, 0], 1), class_pairs([1, 2, 3, 2], 2)
TEXTS = RETAIN["texts"]


def test_product_sums_to_the_cosine() -> None:
    image, text = (torch.nn.functional.normalize(torch.randn(5, 7), dim=1) for _ in range(2))
    cosines = torch.cosine_similarity(image, text)
    torch.testing.assert_close(product(Embedded(image, text)).sum(1) / 7**0.5, cosines)


def test_unrelated_pairs_never_share_a_text() -> None:
    image, text = torch.eye(4), 10 * torch.eye(4)
    torch.manual_seed(0)
    seen = set()
    for row in unrelated(Embedded(image + 1, text + 1), TEXTS, 300) / 2:  # sqrt(D) = 2
        p, q = _decode(row)
        assert TEXTS[p] != TEXTS[q]
        seen.add((p, q))
    assert len(seen) == 4 * 4 - 4 - 2  # all but the own text, and the one text that two images share
    equal = unrelated(Embedded(image, text), ["same"] * 4, 5)
    assert equal.shape == (5, 4)


def _decode(row: torch.Tensor) -> tuple[int, int]:
    """Image p has 2 at entry p and 1 elsewhere, text q has 11 and 1."""
    values = row.tolist()
    q = next(i for i, v in enumerate(values) if v >= 11)
    p = next((i for i, v in enumerate(values) if v in (2, 22)), q)
    return p, q


WEIGHTS = [(1.0, 1.0, 1.0), (2.0, 0.0, 0.0), (0.0, 3.0, 0.0), (0.0, 0.0, 5.0)]


def hyperparameters(weights: tuple[float, float, float], form: Literal["port", "product"]) -> Hyperparameters:
    return Hyperparameters(
        form=form, decoupling_weight=weights[0], multimodal_weight=weights[1], unimodal_weight=weights[2]
    )


@pytest.mark.parametrize("weights", WEIGHTS)
def test_the_port_is_the_weighted_sum_of_three_mean_squares(
    weights: tuple[float, float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    method = MultiDelete(tiny_clip("vit"), tiny_spec(), hyperparameters(weights, "port"))
    kept = method.original
    move(method.clip)
    monkeypatch.setattr(torch, "randperm", lambda count: torch.arange(count).flip(0))
    image_f, text_f = _units(method.clip, FORGET)
    image_r, text_r = _units(method.clip, RETAIN)
    image_o, text_o = _units(kept, RETAIN)
    before, _ = _units(kept, FORGET)
    decoupling = 0.0
    for i in range(3):  # images by texts and texts by images, unrelated texts 3, 2, 1 of the retain batch
        for j in range(3):
            decoupling += 2 * float(image_f[i] @ text_f[j] - before[i] @ text_o[3 - j]) ** 2 / 9
    multimodal = np.mean((unit_rows(image_r + text_r) - unit_rows(image_o + text_o)) ** 2)
    unimodal = np.mean((image_r - image_o) ** 2) + np.mean((text_r - text_o) ** 2)
    assert min(decoupling, multimodal, unimodal) > 1e-4
    wanted = weights[0] * decoupling + weights[1] * multimodal + weights[2] * unimodal
    loss = method.training_step({"forget": FORGET, "retain": RETAIN}, 0)
    assert loss.item() == pytest.approx(wanted, rel=1e-4)


def unit_rows(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_the_product_form_is_the_weighted_sum_of_three_mean_squares(
    weights: tuple[float, float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    h = hyperparameters(weights, "product")
    method = MultiDelete(tiny_clip("vit"), tiny_spec(), h)
    kept = method.original
    move(method.clip)
    target = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(multidelete, "unrelated", lambda pairs, texts, count: target[:count])
    now = {part: _units(method.clip, pairs) for part, pairs in (("forget", FORGET), ("retain", RETAIN))}
    image_o, text_o = _units(kept, RETAIN)
    image_f, text_f = now["forget"]
    image_r, text_r = now["retain"]
    decoupling = np.mean((np.sqrt(WIDTH) * image_f * text_f - target.double().numpy()) ** 2)
    multimodal = np.mean(WIDTH * (image_r * text_r - image_o * text_o) ** 2)
    unimodal = np.mean((image_r - image_o) ** 2) + np.mean((text_r - text_o) ** 2)
    assert min(multimodal, unimodal) > 1e-4
    wanted = weights[0] * decoupling + weights[1] * multimodal + weights[2] * unimodal
    loss = method.training_step({"forget": FORGET, "retain": RETAIN}, 0)
    assert loss.item() == pytest.approx(wanted, rel=1e-4)


def _units(clip: object, pairs: dict) -> tuple[np.ndarray, np.ndarray]:
    with torch.no_grad():
        return unit(clip.encode_image(pairs["images"])), unit(clip.encode_text(pairs["texts"]))
