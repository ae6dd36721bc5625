"""DIET: hyperbolic geometry against its definitions, the transport against brute force, LoRA against plain weights."""

from __future__ import annotations

from itertools import permutations
from typing import Any, cast

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from tiny import random_images, tiny_clip, tiny_spec
from torch import Tensor

from datamodules.common.module import Pairs
from methods.common.lora import NoAttentionError, VisualLoRA
from methods.diet import DIET, Hyperparameters, busemann, diet_loss, poincare, sinkhorn


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def distance(z: Tensor, w: Tensor) -> Tensor:
    """Of the Poincare ball of curvature -1."""
    ratio = (z - w).square().sum(-1) / ((1 - z.square().sum(-1)) * (1 - w.square().sum(-1)))
    return torch.acosh(1 + 2 * ratio)


def test_busemann_is_the_limit_of_distance_minus_time_along_the_ray() -> None:
    points, ideal = poincare(randn(5, 3), max_norm=3.0), torch.nn.functional.normalize(randn(2, 3, seed=1), dim=1)
    time = 15.0
    ray = np.tanh(time / 2) * ideal  # unit speed: d(0, ray) = time
    assert distance(torch.zeros(3, dtype=torch.float64), ray[0]).item() == pytest.approx(time, abs=1e-4)
    limit = torch.stack([distance(points, ray[k]) - time for k in range(2)], dim=1)
    torch.testing.assert_close(busemann(points, ideal), limit, rtol=0, atol=1e-4)


def test_exponential_map_keeps_direction_and_gives_twice_artanh() -> None:
    features = randn(4, 6)
    points = poincare(features, max_norm=100.0)
    torch.testing.assert_close(distance(torch.zeros_like(points), points), features.norm(dim=1))
    torch.testing.assert_close(points / points.norm(dim=1, keepdim=True), features / features.norm(dim=1, keepdim=True))


def test_feature_norms_are_clipped() -> None:
    points = poincare(torch.tensor([[3.0, 4.0], [0.3, 0.4]]), max_norm=1.0)
    assert points.norm(dim=1).tolist() == pytest.approx([np.tanh(0.5), np.tanh(0.25)])


def test_sinkhorn_marginals() -> None:
    plan = sinkhorn(3 * randn(16, 23), regularisation=0.5)
    torch.testing.assert_close(plan.sum(dim=0), torch.full((23,), 1 / 23, dtype=torch.float64))
    torch.testing.assert_close(plan.sum(dim=1), torch.full((16,), 1 / 16, dtype=torch.float64), rtol=1e-5, atol=0)
    assert bool((plan > 0).all())


@pytest.mark.parametrize("regularisation", [0.1, 0.5, 2.0])
def test_sinkhorn_is_the_minimum_over_all_plans_of_two_by_two(regularisation: float) -> None:
    cost = np.array([[0.3, 1.1], [0.9, 0.2]])

    def plan(t: float) -> np.ndarray:  # all plans with these marginals
        return np.array([[t, 0.5 - t], [0.5 - t, t]])

    def objective(t: float) -> float:
        return float((plan(t) * cost).sum() + regularisation * (plan(t) * np.log(plan(t))).sum())

    best = minimize_scalar(objective, bounds=(1e-9, 0.5 - 1e-9), method="bounded", options={"xatol": 1e-10}).x
    found = sinkhorn(torch.from_numpy(cost), regularisation=regularisation)
    np.testing.assert_allclose(found.numpy(), plan(best), atol=5e-5)


def test_little_regularisation_is_the_best_assignment() -> None:
    cost = torch.rand(4, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    best = min(permutations(range(4)), key=lambda p: sum(float(cost[i, j]) for i, j in enumerate(p)))
    assert sinkhorn(cost, regularisation=0.005).argmax(dim=1).tolist() == list(best)


def test_the_loss_of_the_code_is_its_three_costs_written_out() -> None:
    features, prototypes = 0.8 * randn(3, 5), torch.nn.functional.normalize(randn(4, 5, seed=1), dim=1)
    signed, repelled = np.zeros((3, 4)), np.zeros((3, 4))
    for i, f in enumerate(features.numpy()):
        z = np.tanh(min(np.linalg.norm(f), 1.0)) * f / np.linalg.norm(f)
        for j, p in enumerate(prototypes.numpy()):
            inside = np.log(1 - (z**2).sum())
            signed[i, j] = 2 * np.log(np.sqrt(((p - z) ** 2).sum())) - inside
            repelled[i, j] = abs(np.log(((np.tanh(1.0) * p - z) ** 2).sum()) - inside)
    cost = np.abs(signed)
    plan = sinkhorn(torch.from_numpy(cost), regularisation=0.5).numpy()
    own = plan.argmax(axis=1)
    others = [max(0.0, 1 - repelled[i, j]) for i in range(3) for j in range(4) if j != own[i]]
    wanted = 30 * np.mean([signed[i, own[i]] for i in range(3)]) + (plan * cost).sum() + 20 * np.mean(others)
    found = diet_loss(features.float(), prototypes.float(), Hyperparameters(costs="code"))
    assert float(found) == pytest.approx(wanted, rel=1e-4)


def test_the_loss_of_the_formula_is_the_weighted_sum_written_out() -> None:
    h = Hyperparameters(costs="formula")
    features, prototypes = 0.8 * randn(3, 5), torch.nn.functional.normalize(randn(4, 5, seed=1), dim=1)
    cost, plan = np.zeros((3, 4)), sinkhorn(busemann(poincare(features, max_norm=1.0), prototypes), regularisation=0.5)
    for i, f in enumerate(features.numpy()):
        norm = min(np.linalg.norm(f), 1.0)
        z = np.tanh(norm / 2) * f / np.linalg.norm(f)
        for j, p in enumerate(prototypes.numpy()):
            cost[i, j] = np.log(((p - z) ** 2).sum() / (1 - (z**2).sum()))
    own = plan.numpy().argmax(axis=1)
    others = [max(0.0, 1 - cost[i, j]) for i in range(3) for j in range(4) if j != own[i]]
    wanted = 30 * np.mean([cost[i, own[i]] for i in range(3)]) + (plan.numpy() * cost).sum() + 20 * np.mean(others)
    assert float(diet_loss(features.float(), prototypes.float(), h)) == pytest.approx(wanted, rel=1e-4)


def test_one_prototype_repels_nothing() -> None:
    prototype = torch.nn.functional.normalize(randn(1, 5).float(), dim=1)
    assert torch.isfinite(diet_loss(randn(3, 5, seed=1).float(), prototype, Hyperparameters()))


@pytest.mark.parametrize(("kind", "weights", "factors"), [("resnet", 3, 6), ("vit", 2, 12), ("timm", 7, 14)])
def test_lora_starts_at_the_clip_and_its_merge_is_what_it_encoded(kind: str, weights: int, factors: int) -> None:
    clip, images = tiny_clip(kind), random_images(2)
    torch.manual_seed(0)
    lora = VisualLoRA(clip, rank=2, alpha=3.0)
    assert len(lora.adapted()) == weights and len(lora.factors()) == factors
    with torch.no_grad():
        torch.testing.assert_close(lora.encode_image(images), clip.encode_image(images))
        for factor in lora.factors():
            factor.normal_(std=0.3)
        adapted = lora.encode_image(images)
        assert not torch.allclose(adapted, clip.encode_image(images), atol=1e-3)
        before = {n: v.clone() for n, v in clip.model.state_dict().items()}
        lora.merge()
        torch.testing.assert_close(clip.encode_image(images), adapted)
    changed = [n for n, v in clip.model.state_dict().items() if not torch.equal(v, before[n])]
    parts = ("q_proj.weight", "k_proj.weight", "v_proj.weight", "in_proj_weight")
    if kind == "timm":
        parts = ("stem.weight", "conv1.weight", "conv2.weight", "shortcut.weight")
    assert len(changed) == weights and all(n.startswith("visual.") and n.endswith(parts) for n in changed)
    for third in clip.visual.get_parameter(changed[0].removeprefix("visual.")).sub(before[changed[0]]).split(32):
        if kind == "vit":
            assert torch.linalg.matrix_rank(third, rtol=1e-4) == 2


def test_lora_scale_and_product() -> None:
    clip = tiny_clip("resnet")
    lora = VisualLoRA(clip, rank=4, alpha=1.0)
    name = "attnpool.k_proj.weight"
    index = list(lora.adapted()).index(name)
    down, up = lora.factors()[2 * index : 2 * index + 2]
    torch.nn.init.normal_(up)
    wanted = clip.visual.get_parameter(name) + up @ down / 2  # 1 / sqrt(4)
    torch.testing.assert_close(lora.adapted()[name], wanted)


def test_an_encoder_with_nothing_to_adapt_is_an_error_that_says_so() -> None:
    clip = tiny_clip("vit")
    clip.model.visual = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3, 4))
    with pytest.raises(NoAttentionError, match="neither attention nor convolutions"):
        VisualLoRA(clip, rank=4, alpha=1.0)


@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_training_lowers_the_loss_and_leaves_the_rest_alone(kind: str) -> None:
    torch.manual_seed(0)
    clip = tiny_clip(kind)
    method = DIET(clip, tiny_spec(), Hyperparameters(learning_rate=0.01, shots=4, epochs=15))
    cast(Any, method).manual_backward = lambda loss: loss.backward()
    assert method.batch_size() == 4 and method.planned_steps({"forget": 100}) == 1
    images = random_images(4, seed=1)
    batch = Pairs(images=images, texts=["a photo of a apple"] * 4, labels=torch.zeros(4), indices=torch.arange(4))
    with torch.no_grad():
        prototypes = method.classifier()[1:]
        before = diet_loss(clip.encode_image(images), prototypes, method.h)
    method.training_step({"forget": batch}, 0)
    with torch.no_grad():
        after = diet_loss(clip.encode_image(images), prototypes, method.h)
    assert method.report["loss_by_epoch"][0] == pytest.approx(before.item(), rel=1e-4)
    assert after < before - 0.1
