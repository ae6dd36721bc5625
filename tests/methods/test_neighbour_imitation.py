"""Neighbour imitation against plain NumPy, and what its targets say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fitting import Array, class_pairs, fit, move, unit
from tiny import tiny_clip, tiny_spec

from methods.neighbour_imitation import Hyperparameters, NeighbourImitation, nameless, neighbour_targets

FORGET, RETAIN = class_pairs([0, 0, 0], 1), class_pairs([1, 2, 3, 2], 2)


def drawn(rows: int, seed: int) -> Array:
    return unit(torch.from_numpy(np.random.default_rng(seed).normal(size=(rows, 6))))


def distance(a: Array, b: Array) -> float:
    return float(np.mean([1 - x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in zip(a, b, strict=True)]))


def neighbours(forget: Array, retain: Array, shared: Array, temperature: float) -> Array:
    targets = []
    for x in forget:
        apart = x - (x @ shared) * shared
        likeness = retain @ (apart / np.linalg.norm(apart)) / temperature
        weights = np.exp(likeness - likeness.max())
        target = (weights / weights.sum()) @ retain
        targets.append(target / np.linalg.norm(target))
    return np.array(targets)


def test_targets_are_means_of_the_alike() -> None:
    forget, retain, shared = drawn(5, 0), drawn(9, 1), drawn(1, 2)[0]
    for temperature in (0.03, 1.0):
        arguments = (torch.from_numpy(part).float() for part in (forget, retain, shared))
        found = neighbour_targets(*arguments, temperature=temperature)  # type: ignore[arg-type]
        assert found.numpy() == pytest.approx(neighbours(forget, retain, shared, temperature), abs=1e-5)


def test_an_image_that_differs_from_a_retained_one_in_what_is_shared_alone_takes_its_place() -> None:
    retain, shared = torch.eye(6)[:3], torch.eye(6)[5]
    forget = torch.nn.functional.normalize(retain[[2, 0]] + 1.7 * shared, dim=1)
    assert torch.allclose(neighbour_targets(forget, retain, shared, temperature=1e-3), retain[[2, 0]], atol=1e-5)


def test_a_text_keeps_all_but_what_the_name_says() -> None:
    said, centre = torch.eye(4)[0], torch.tensor([0.0, 0.3, 0.2, 0.0])
    alone = torch.nn.functional.normalize(centre + 0.8 * said, dim=0)[None]
    beside = torch.nn.functional.normalize(torch.tensor([[0.5, 0.1, 0.0, 0.7]]), dim=1)
    cleaned = nameless(torch.cat([alone, beside]), said, centre)
    assert torch.allclose(cleaned @ said, torch.zeros(2), atol=1e-6)
    assert torch.allclose(cleaned[0], torch.nn.functional.normalize(centre, dim=0), atol=1e-6)  # as any name
    assert torch.allclose(cleaned[1], torch.nn.functional.normalize(torch.tensor([0.0, 0.1, 0.0, 0.7]), dim=0))


def test_the_loss_of_a_step() -> None:
    h = Hyperparameters(forget_weight=0.7, temperature=0.2, names=0)
    method = NeighbourImitation(tiny_clip("vit"), tiny_spec(), h)
    method.on_fit_start()
    move(method.clip)
    loss = method.training_step({"forget": FORGET, "retain": RETAIN}, 0).item()

    def features(clip: object, texts: list[str]) -> tuple[Array, Array, Array]:
        with torch.no_grad():
            parts = [clip.encode_image(part["images"]) for part in (FORGET, RETAIN)]  # type: ignore[attr-defined]
            return unit(parts[0]), unit(parts[1]), unit(clip.encode_text(texts))  # type: ignore[attr-defined]

    kept = list(dict.fromkeys(RETAIN["texts"]))
    texts = [*FORGET["texts"], *kept]
    x0, r0, t0 = features(method.original, texts)
    x, r, t = features(method.clip, texts)
    spec = tiny_spec()
    named, others = (
        unit(method.original.encode_text([f.format(n) for n in names for f in spec.templates]).detach())
        for names in (spec.forget_names, spec.retain_names)
    )
    centre = others.mean(axis=0)
    said = (named.mean(axis=0) - centre) / np.linalg.norm(named.mean(axis=0) - centre)
    shared = x0.mean(axis=0) - r0.mean(axis=0)
    y = neighbours(x0, r0, shared / np.linalg.norm(shared), 0.2)
    q = t0[:3] - np.outer((t0[:3] - centre) @ said, said)
    wanted = 0.7 * (distance(x, y) + distance(t[:3], q)) + distance(r, r0) + distance(t[3:], t0[3:])
    assert loss == pytest.approx(wanted, rel=1e-4)


def test_training_brings_forgotten_images_to_their_neighbours_and_leaves_the_others(tmp_path: Path) -> None:
    h = Hyperparameters(batch_size=4, max_steps=25, learning_rate=2e-3)
    method = fit(NeighbourImitation, h, tiny_clip("vit"), tmp_path)
    with torch.no_grad():
        before, after = (
            clip.zero_shot_classifier(("apple",), method.spec.templates) for clip in (method.original, method.clip)
        )
        kept = method.spec.retain_names
        rest = [clip.zero_shot_classifier(kept, method.spec.templates) for clip in (method.original, method.clip)]
    said = method._said
    assert abs(float((after - method._centre) @ said)) < 0.5 * abs(float((before - method._centre) @ said))
    assert float((rest[0] * rest[1]).sum(dim=1).min()) > 0.9
