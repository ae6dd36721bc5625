"""Lip against a plain double loop, hand computations, and forced rollbacks."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import lightning as L
import numpy as np
import open_clip
import pytest
import torch
from double import in_double
from tiny import APPLE, TinyDataset, random_images, tiny_clip
from torch import Tensor, nn

from datamodules.common.guard import guarded
from datamodules.common.images import Preprocessing
from datamodules.common.module import UnlearningDataModule
from datamodules.common.request import ForgetRequest
from datamodules.common.spent import Spent
from datamodules.common.synthetic import SyntheticForgetSet, SyntheticRecipe
from methods import lip
from methods.common.clip import Clip, is_text_block
from methods.lip import Hyperparameters, Level, Lip, keep_largest, levels_for, lipschitz_loss

KINDS = ("resnet", "vit")


def plain_loss(clip: Clip, x: Tensor, prompt: str, noise: Tensor, sigma: float, factor: float = 1.0) -> Tensor:
    n, total = len(noise), torch.zeros(())
    for k in range(n):
        for b in range(len(x)):
            noisy = torch.clamp(x[b] + sigma * noise[k, b], x.min(), x.max())
            z_noisy = clip.encode_image(noisy[None])[0].detach()
            z, t = clip.encode_image(x[b][None])[0], factor * clip.encode_text([prompt])[0]
            numerator = (t - z_noisy).square().sum().sqrt() + (z - z_noisy).square().sum().sqrt()
            total = total + numerator / (2 * (x[b] - noisy).square().sum().sqrt())
    return total / (2 * n)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("together", [512, 3])
@pytest.mark.parametrize("factor", [1.0, 0.3])
@in_double()
def test_loss_and_gradient_equal_a_double_loop(
    kind: str, together: int, factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, x = tiny_clip(kind), random_images(3).double()
    clip.model.double()
    prompt = "A picture of apple"
    drawn: list[Tensor] = []
    original = torch.randn_like

    def record(like: Tensor) -> Tensor:
        drawn.append(original(like))
        return drawn[-1]

    monkeypatch.setattr(torch, "randn_like", record)
    monkeypatch.setattr(lip, "MAX_FORWARD_IMAGES", together)
    loss = lipschitz_loss(clip, x, prompt, sigma=0.7, draws=4, text_factor=factor)
    noise = torch.cat(drawn).view(4, 3, *x.shape[1:])
    wanted = plain_loss(clip, x, prompt, noise, 0.7, factor)
    torch.testing.assert_close(loss, wanted, atol=0, rtol=1e-12)
    parameters = [p for n, p in clip.model.named_parameters() if n != "logit_scale"]
    found = torch.autograd.grad(loss, parameters)
    expected = torch.autograd.grad(wanted, parameters)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-10 * float(b.abs().max()) + 1e-15, rtol=0)


def test_noisy_images_pass_without_gradient() -> None:
    clip, modes = tiny_clip("vit"), []
    encode = clip.model.encode_image
    clip.model.encode_image = lambda x: (modes.append((len(x), torch.is_grad_enabled())), encode(x))[1]
    lipschitz_loss(clip, random_images(2), "a", sigma=0.1, draws=5).backward()
    assert modes == [(10, False), (2, True)]


def test_top_k_by_mean_gradient_and_the_rest_stay_bit_identical() -> None:
    parameters = {
        "sum_large_mean_small": nn.Parameter(torch.ones(100)),
        "largest": nn.Parameter(torch.ones(2)),
        "negative": nn.Parameter(torch.ones(4)),
        "none": nn.Parameter(torch.ones(3)),
    }
    parameters["sum_large_mean_small"].grad = torch.full((100,), 0.5)
    parameters["largest"].grad = torch.tensor([3.0, -5.0])
    parameters["negative"].grad = torch.full((4,), -2.0)
    optimizer = torch.optim.Adam(parameters.values(), lr=0.1, weight_decay=0.2)
    assert keep_largest(parameters, 2) == ["largest", "negative"]
    assert parameters["sum_large_mean_small"].grad is None and parameters["none"].grad is None
    optimizer.step()
    changed = {n for n, p in parameters.items() if not torch.equal(p, torch.ones_like(p))}
    assert changed == {"largest", "negative"}
    assert len(optimizer.state) == 2


def test_top_k_of_more_than_there_are_keeps_all() -> None:
    parameter = nn.Parameter(torch.ones(2))
    parameter.grad = torch.ones(2)
    assert keep_largest({"a": parameter}, 9) == ["a"]


def published(name: str) -> Clip:
    config = open_clip.get_model_config(name)
    with torch.device("meta"):
        model = open_clip.CLIP(config["embed_dim"], config["vision_cfg"], config["text_cfg"])
    return Clip(model, lambda texts: torch.zeros(len(texts), 77), Preprocessing(224), name)


@pytest.mark.parametrize(
    ("name", "visual", "table"),
    [
        ("RN50", 8, [(5, 5), (7, 7), (8, 12), (8, 18), (8, 25), (8, 30), (8, 35)]),
        ("ViT-B-16", 152, [(k, k) for k in (25, 27, 30, 33, 35, 40, 45)]),
    ],
)
def test_candidates_and_levels_are_the_published_ones(name: str, visual: int, table: list[tuple[int, int]]) -> None:
    clip = published(name)
    found = lip.visual_candidates(clip)
    assert len(found) == visual
    text = sum(is_text_block(n) for n, _ in clip.model.named_parameters())
    assert text == 144
    if name == "RN50":
        assert all(n.startswith("visual.attnpool.") and "_proj." in n for n in found)
    sigmas = (0.1, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0)
    assert levels_for(clip, visual, text) == tuple(Level(s, v, t) for s, (v, t) in zip(sigmas, table, strict=True))


@pytest.mark.parametrize(
    ("kind", "scale", "visual", "table"),
    [
        ("resnet", "small", 8, [(5, 1), (7, 2), (8, 2), (8, 3), (8, 5), (8, 5), (8, 6)]),
        ("resnet", "published", 8, [(5, 1), (7, 2), (8, 2), (8, 3), (8, 5), (8, 5), (8, 6)]),
        ("vit", "small", 32, [(6, 5), (6, 5), (7, 5), (7, 6), (8, 6), (9, 7), (10, 8)]),
    ],
)
def test_any_other_model_takes_the_share_of_the_published_one_of_its_kind(
    kind: str, scale: Literal["small", "published"], visual: int, table: list[tuple[int, int]]
) -> None:
    clip = tiny_clip(kind, scale=scale)
    assert len(lip.visual_candidates(clip)) == visual
    levels = levels_for(clip, visual, 24)
    assert [(level.visual_tensors, level.text_tensors) for level in levels] == table
    exact = {
        "resnet": ((5, 7, 8, 8, 8, 8, 8), 8, (5, 7, 12, 18, 25, 30, 35)),
        "vit": ((25, 27, 30, 33, 35, 40, 45), 152, None),
    }
    numerators, of, texts = exact[kind]
    for level, v, t in zip(levels, numerators, texts or numerators, strict=True):
        assert Fraction(v, of) * visual <= level.visual_tensors < Fraction(v, of) * visual + 1
        assert Fraction(t, 144) * 24 <= level.text_tensors < Fraction(t, 144) * 24 + 1


def trainer() -> L.Trainer:
    """One epoch on the CPU, without a word."""
    return L.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


class Forced:
    """A Lip run on given images whose accuracies are given too; remembers each state after an optimizer step."""

    def __init__(
        self, kind: str, accuracies: Iterator[float], tmp_path: Path, patch: pytest.MonkeyPatch, **hyper: Any
    ) -> None:
        images = SyntheticForgetSet(random_images(2), torch.zeros(2, dtype=torch.long), Spent(1.5, flops=7), True)
        self.sigmas: list[float] = []
        self.states: list[tuple[dict[str, Tensor], dict[str, Any]]] = []
        loss = lipschitz_loss

        def spy(*args: Any, sigma: float, **others: Any) -> Tensor:
            self.sigmas.append(sigma)
            return loss(*args, sigma=sigma, **others)

        def accuracy(method: Lip) -> float:
            optimizer = method.trainer.optimizers[0]
            weights = {n: v.clone() for n, v in method.clip.model.state_dict().items()}
            self.states.append((weights, copy.deepcopy(optimizer.state_dict())))
            return next(accuracies)

        def made(method: Lip, recipe: SyntheticRecipe) -> SyntheticForgetSet:
            self.recipe = recipe
            return images

        patch.setattr(lip, "synthetic_images", made)
        patch.setattr(lip, "lipschitz_loss", spy)
        patch.setattr(Lip, "synthetic_accuracy", accuracy)
        clip, dataset = tiny_clip(kind), TinyDataset()
        self.before = {n: v.clone() for n, v in clip.model.state_dict().items()}
        data = UnlearningDataModule(
            dataset, APPLE, regime="names", preprocessing=clip.preprocessing, cache_dir=tmp_path
        )
        self.method = Lip(
            clip, data.spec, Hyperparameters(**{"draws": 2, "learning_rate": 1e-3, "norms": "equal", **hyper})
        )
        data.plan(steps=self.method.planned_steps(data.sizes), batch_size=1)
        self.trainer = trainer()
        with guarded(data.guard()):
            self.trainer.fit(self.method, datamodule=data)
        self.after = self.method.clip.model.state_dict()
        self.optimizer_state = self.trainer.optimizers[0].state_dict()


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


@pytest.mark.parametrize("kind", KINDS)
def test_seven_rollbacks_exhaust_it_and_leave_the_original(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Forced(kind, iter([1.0] * 30), tmp_path, monkeypatch)
    assert run.method.accuracies == [1.0] * 7
    assert run.sigmas == [0.1, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0]
    assert run.method.report["exhausted"] and run.method.report["synthetic_accuracy"] == 1.0
    assert same(dict(run.after), run.before)
    assert not run.optimizer_state["state"]
    assert not same(run.states[0][0], run.before)


@pytest.mark.parametrize("kind", KINDS)
def test_a_rollback_restores_weights_and_optimizer_of_the_best_step(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Forced(kind, iter([0.9, 0.5, 0.5, 0.7]), tmp_path, monkeypatch, max_steps=4)
    assert run.sigmas == [0.1, 0.1, 0.1, 0.3]
    best_weights, best_state = run.states[1]
    assert same(dict(run.after), best_weights)
    assert same(run.optimizer_state["state"], best_state["state"])
    assert len(best_state["state"]) > 0
    assert not same(run.states[3][0], best_weights)
    assert run.method.report["synthetic_accuracy"] == 0.5


def test_where_nothing_improved_the_last_failed_attempt_can_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = {"without_improvement": "last attempt"}
    run = Forced("vit", iter([1.0] * 30), tmp_path, monkeypatch, **last)
    assert same(dict(run.after), run.states[6][0]) and not same(run.states[6][0], run.states[5][0])
    run = Forced("vit", iter([0.9, *[1.0] * 30]), tmp_path, monkeypatch, **last)
    assert same(dict(run.after), run.states[0][0]), "the best state wins over a failed attempt"


def test_several_names_have_a_batch_each_and_their_losses_are_averaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Tensor] = []
    original = torch.randn_like
    monkeypatch.setattr(torch, "randn_like", lambda like: (drawn.append(original(like)), drawn[-1])[1])
    gradients: dict[str, Tensor] = {}

    def keep_none(parameters: Any, count: int) -> list[str]:
        gradients.update({name: p.grad.clone() for name, p in parameters.items() if p.grad is not None})
        return []

    clip, x = tiny_clip("vit"), random_images(5)
    forget_set = SyntheticForgetSet(x, torch.tensor([0, 1, 1, 0, 1]), Spent(1.0), True)
    monkeypatch.setattr(lip, "synthetic_images", lambda method, recipe: forget_set)
    monkeypatch.setattr(lip, "keep_largest", keep_none)
    monkeypatch.setattr(Lip, "synthetic_accuracy", lambda method: 0.0)
    data = UnlearningDataModule(
        TinyDataset(),
        ForgetRequest(classes=("apple", "bus")),
        regime="names",
        preprocessing=clip.preprocessing,
        cache_dir=tmp_path,
    )
    method = Lip(clip.copy(), data.spec, Hyperparameters(draws=2, learning_rate=0.0))
    data.plan(steps=1, batch_size=1)
    with guarded(data.guard()):
        trainer().fit(method, datamodule=data)
    assert (method.report["synthetic_images"], method.report["synthetic_images_asked"]) == (5, 2 * 64)
    loss = torch.zeros(())
    for name, rows, noise in zip(data.spec.forget_names, ([0, 3], [1, 2, 4]), drawn, strict=True):
        loss = loss + plain_loss(clip, x[rows], f"A picture of {name}", noise.view(2, len(rows), *x.shape[1:]), 0.1) / 2
    parameters = dict(clip.model.named_parameters())
    wanted = torch.autograd.grad(loss, [parameters[name] for name in gradients])
    for (name, found), expected in zip(gradients.items(), wanted, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-3 * float(expected.abs().max()) + 1e-6, rtol=0, msg=name)


def test_the_level_never_falls_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Forced("resnet", iter([1.0, 0.8, 0.9, 0.4, 0.3]), tmp_path, monkeypatch, max_steps=5)
    assert run.sigmas == [0.1, 0.3, 0.3, 0.5, 0.5]


def test_it_stops_at_a_tenth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Forced("vit", iter([0.6, 0.1, 0.0]), tmp_path, monkeypatch)
    assert run.method.accuracies == [0.6, 0.1]
    assert same(dict(run.after), run.states[1][0])


def test_each_step_updates_only_the_top_tensors_and_no_batch_norm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Forced("resnet", iter([0.9]), tmp_path, monkeypatch, max_steps=1)
    changed = {n for n, v in run.after.items() if not torch.equal(v, run.before[n])}
    level = run.method.levels[0]
    assert sum(n.startswith("visual.") for n in changed) == level.visual_tensors
    assert sum(is_text_block(n) for n in changed) == level.text_tensors
    assert len(changed) == level.visual_tensors + level.text_tensors


def candidates_by_name(kind: str, names: list[str]) -> tuple[list[str], list[str]]:
    """Lip's visual and text candidates, read off the names alone."""
    projections = {f"visual.attnpool.{p}_proj.{part}" for p in "qkvc" for part in ("weight", "bias")}
    visual = [n for n in names if (n in projections if kind == "resnet" else n.startswith("visual."))]
    return visual, [n for n in names if n.startswith("transformer.resblocks.")]


def norm_of_texts(clip: Clip) -> Tensor:
    return clip.encode_text(["A picture of apple"]).detach().norm(dim=-1).mean()


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_is_adams_on_the_tensors_with_the_largest_mean_gradients(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Tensor] = []
    original = torch.randn_like
    monkeypatch.setattr(torch, "randn_like", lambda like: (drawn.append(original(like)), drawn[-1])[1])
    run = Forced(kind, iter([0.9]), tmp_path, monkeypatch, max_steps=1)
    clip, x = tiny_clip(kind), random_images(2)
    noise = torch.cat(drawn).view(2, 2, *x.shape[1:])
    parameters = dict(clip.model.named_parameters())
    ratio = clip.encode_image(x).detach().norm(dim=-1).mean() / norm_of_texts(clip)
    assert run.method.report["image_to_text_norm"] == pytest.approx(float(ratio))
    loss = plain_loss(clip, x, "A picture of apple", noise, sigma=0.1, factor=float(ratio))
    gradients = dict(
        zip(parameters, torch.autograd.grad(loss, list(parameters.values()), allow_unused=True), strict=True)
    )
    level, wanted = run.method.levels[0], set()
    for names, count in zip(
        candidates_by_name(kind, list(parameters)), (level.visual_tensors, level.text_tensors), strict=True
    ):
        means = {n: float(gradients[n].abs().sum()) / gradients[n].numel() for n in names}
        wanted |= set(sorted(means, key=lambda n: means[n], reverse=True)[:count])
    assert {n for n, v in run.after.items() if not torch.equal(v, run.before[n])} == wanted
    for name in wanted:
        before = run.before[name]
        slope = gradients[name] + 0.2 * before  # coupled L2: the decay goes through the moments
        m, v = 0.1 * slope / (1 - 0.9), 0.02 * slope.square() / (1 - 0.98)
        stepped = before - 1e-3 * m / (v.sqrt() + 1e-6)
        clear = slope.abs() > 1e-3 * slope.abs().max()  # the sign of a gradient of nearly zero is rounding
        assert clear.float().mean() > 0.9, name
        torch.testing.assert_close(run.after[name][clear], stepped[clear], atol=2e-5, rtol=0)


def plain_loop(accuracies: list[float]) -> tuple[list[float], int | None, float]:
    """Lip's loop as its notes state it: sigma of each step, the step whose weights are kept, its accuracy."""
    sigmas = (0.1, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0)
    best, level, kept, used = 1.0, 0, None, []
    for epoch, accuracy in enumerate(accuracies[:30]):
        used.append(sigmas[level])
        if accuracy < best:
            best, kept = accuracy, epoch
        elif level == 6:
            break
        else:
            level += 1
        if accuracy <= 0.10:
            break
    return used, kept, best


@pytest.mark.parametrize("seed", range(4))
def test_the_loop_equals_a_plain_one_on_any_accuracies(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(seed)
    accuracies = np.clip(np.linspace(1.0, 0.3, 30) + random.normal(0, 0.2, 30), 0.12, 1.0).round(2).tolist()
    if seed == 3:
        accuracies[5] = 0.1
    run = Forced("vit", iter(accuracies), tmp_path, monkeypatch)
    sigmas, kept, best = plain_loop(accuracies)
    assert run.sigmas == sigmas and run.method.accuracies == accuracies[: len(sigmas)]
    assert run.method.report["synthetic_accuracy"] == best
    assert same(dict(run.after), run.before if kept is None else run.states[kept][0])


@pytest.mark.parametrize("kind", KINDS)
def test_synthetic_accuracy_counts_labels_against_all_names(kind: str) -> None:
    clip, spec = (
        tiny_clip(kind),
        UnlearningDataModule(
            TinyDataset(), APPLE, regime="names", preprocessing=Preprocessing(32), cache_dir=Path()
        ).spec,
    )
    method = Lip(clip, spec, Hyperparameters())
    x = random_images(16)
    with torch.no_grad():
        scores = [
            [float(torch.cosine_similarity(z, t, dim=0)) for t in method.classifier()] for z in clip.encode_image(x)
        ]
    hits = sum(max(range(4), key=row.__getitem__) == 0 for row in scores)
    method.synthetic = SyntheticForgetSet(x, torch.zeros(16, dtype=torch.long), Spent(), False)
    assert method.synthetic_accuracy() == pytest.approx(hits / 16)
