"""CLIPErase and the contrastive baselines against plain NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from fitting import fit
from numpy.typing import NDArray
from tiny import NAMES, random_images, tiny_clip, tiny_spec

from datamodules.common.module import Pairs
from methods.cliperase import CLIPErase, Hyperparameters
from methods.common.clip import Clip, contrastive_loss
from methods.finetune_retain import FinetuneRetain
from methods.graddiff import GradDiff
from methods.graddiff import Hyperparameters as GradDiffParameters
from methods.gradient_ascent import GradientAscent
from methods.gradient_ascent import Hyperparameters as GradientAscentParameters

Array = NDArray[np.float64]


def pairs(labels: list[int], seed: int) -> Pairs:
    return Pairs(
        images=random_images(len(labels), seed=seed),
        texts=[f"a photo of a {NAMES[label]}" for label in labels],
        labels=torch.tensor(labels),
        indices=torch.arange(len(labels)),
    )


FORGET, RETAIN = pairs([0, 0, 0], 1), pairs([1, 2, 3, 2, 1], 2)


def unit(x: Array) -> Array:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def log_softmax(logits: Array) -> Array:
    return (
        logits
        - logits.max(1, keepdims=True)
        - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True))
    )


def infonce(logits: Array, ids: list[int]) -> float:
    n, total = len(logits), 0.0
    by_image, by_text = log_softmax(logits), log_softmax(logits.T)
    for i in range(n):
        positives = [j for j in range(n) if ids[j] == ids[i]]
        total -= sum(by_image[i, j] + by_text[i, j] for j in positives) / len(positives)
    return total / (2 * n)


def kl(p: Array, q: Array) -> float:
    return float((np.exp(log_softmax(p)) * (log_softmax(p) - log_softmax(q))).sum(1).mean())


class Case:
    """A method whose CLIP has moved away from its original, and its embeddings as NumPy arrays."""

    def __init__(self, kind: str, hyperparameters: Hyperparameters, *, retain: Pairs = RETAIN) -> None:
        self.batch = {"forget": FORGET, "retain": retain}
        self.method = CLIPErase(tiny_clip(kind), tiny_spec(), hyperparameters)
        kept = self.method.original
        with torch.no_grad():
            for p in self.method.clip.model.parameters():
                p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
        with torch.no_grad():
            self.forget, self.retain = self.logits(self.method.clip, FORGET), self.logits(self.method.clip, retain)
            self.kept = self.logits(kept, retain)
        self.scale = float(self.method.clip.logit_scale.detach())

    @staticmethod
    def logits(clip: Clip, batch: Pairs) -> Array:
        image, text = clip.encode_image(batch["images"]), clip.encode_text(batch["texts"])
        image, text = unit(image.double().numpy()), unit(text.double().numpy())
        return float(clip.logit_scale) * image @ text.T

    def forgetting(self) -> float:
        return float(np.mean(np.diag(self.forget)) / self.scale)

    def retention(self, *, share: bool = True) -> float:
        return infonce(self.retain, RETAIN["labels"].tolist() if share else list(range(len(self.retain))))

    def consistency(self) -> float:
        return kl(self.kept, self.retain) + kl(self.kept.T, self.retain.T)

    def loss(self) -> float:
        return self.method.training_step(self.batch, 0).item()


@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_total_is_one_retention_three_forgetting_three_consistency(kind: str) -> None:
    case = Case(kind, Hyperparameters())
    assert case.consistency() > 1e-3
    wanted = case.retention() + 3 * case.forgetting() + 3 * case.consistency()
    assert case.loss() == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("module", ["retention", "forgetting", "consistency"])
def test_a_weight_of_zero_switches_a_module_off(module: str) -> None:
    alone = {f"{name}_weight": float(name == module) for name in ("retention", "forgetting", "consistency")}
    case = Case("vit", Hyperparameters(**alone))
    assert case.loss() == pytest.approx(getattr(case, module)(), rel=1e-4)


def test_cross_entropy_option_is_minus_the_plain_contrastive_loss() -> None:
    case = Case("vit", Hyperparameters(forgetting="cross-entropy", retention_weight=0.0, consistency_weight=0.0))
    assert case.loss() == pytest.approx(-3 * infonce(case.forget, [0, 1, 2]), rel=1e-4)


def test_sharing_changes_nothing_where_one_meaning_has_one_text() -> None:
    case = Case("vit", Hyperparameters())
    assert case.retention(share=True) == pytest.approx(case.retention(share=False), rel=1e-9)


def test_bare_names_stand_in_the_place_of_the_prompts() -> None:
    case = Case("vit", Hyperparameters(texts="names"))
    bare = [Pairs(**{**batch, "texts": [text.removeprefix("a photo of a ") for text in batch["texts"]]})
            for batch in (FORGET, RETAIN)]  # fmt: skip
    assert bare[0]["texts"] == ["apple"] * 3
    plain = CLIPErase(case.method.clip, tiny_spec(), Hyperparameters())
    plain._original = case.method._original
    wanted = plain.training_step({"forget": bare[0], "retain": bare[1]}, 0).item()
    assert case.loss() == pytest.approx(wanted, rel=1e-6)
    assert abs(wanted - plain.training_step(case.batch, 0).item()) > 1e-3


@pytest.mark.parametrize("trained", [False, True])
def test_the_logit_scale_is_trained_where_asked(trained: bool) -> None:
    case = Case("vit", Hyperparameters(train_logit_scale=trained))
    case.method.training_step(case.batch, 0).backward()
    gradient = case.method.clip.model.logit_scale.grad
    assert gradient is None if not trained else float(gradient.abs()) > 0
    optimizer = case.method.configure_optimizers()
    assert optimizer.defaults["eps"] == 1e-8 and optimizer.defaults["betas"] == (0.9, 0.98)
    before = float(case.method.clip.model.logit_scale)
    optimizer.step()
    assert (float(case.method.clip.model.logit_scale) != before) == trained


def test_the_original_stays_and_gets_no_gradient() -> None:
    case = Case("resnet", Hyperparameters())
    case.method.training_step({"forget": FORGET, "retain": RETAIN}, 0).backward()
    assert all(p.grad is None and not p.requires_grad for p in case.method.original.model.parameters())
    pristine = tiny_clip("resnet").model.state_dict()
    assert all(torch.equal(v, pristine[n]) for n, v in case.method.original.model.state_dict().items())
    assert not any("original" in name for name, _ in case.method.named_parameters())


def test_contrastive_loss_is_symmetric_infonce() -> None:
    generator = torch.Generator().manual_seed(0)
    image, text = torch.randn(4, 6, generator=generator), torch.randn(4, 6, generator=generator)
    logits = 7.0 * unit(image.double().numpy()) @ unit(text.double().numpy()).T
    found = contrastive_loss(image, text, torch.tensor(7.0))
    assert float(found) == pytest.approx(infonce(logits, [0, 1, 2, 3]), rel=1e-5)


@pytest.mark.parametrize("ascent", ["contrastive", "cosine", "cross-entropy"])
def test_baselines_are_signed_sums_of_their_losses(ascent: Literal["contrastive", "cosine", "cross-entropy"]) -> None:
    clip = tiny_clip("vit")
    with torch.no_grad():
        forget, retain = Case.logits(clip, FORGET), Case.logits(clip, RETAIN)
        image = unit(clip.encode_image(FORGET["images"]).double().numpy())
        prompts = [unit(clip.encode_text([template.format(name) for name in NAMES]).double().numpy())
                   for template in tiny_spec().templates]  # fmt: skip
        names = unit(np.mean(prompts, axis=0))
    up = {
        "contrastive": infonce(forget, [0, 1, 2]),
        "cosine": 1 - float(np.mean(np.diag(forget))) / float(clip.logit_scale),
        "cross-entropy": -float(log_softmax(float(clip.logit_scale) * image @ names.T)[:, 0].mean()),
    }[ascent]
    down = infonce(retain, RETAIN["labels"].tolist())
    batch = {"forget": FORGET, "retain": RETAIN}
    spec, h = tiny_spec(), GradDiffParameters(forget_weight=2.0, ascent=ascent)
    assert GradientAscent(clip, spec, h).training_step(batch, 0).item() == pytest.approx(-up, rel=1e-4)
    assert FinetuneRetain(clip, spec, h).training_step(batch, 0).item() == pytest.approx(down, rel=1e-4)
    assert GradDiff(clip, spec, h).training_step(batch, 0).item() == pytest.approx(down - 2 * up, rel=1e-4)


def test_a_shift_of_all_cosines_changes_the_class_forms_and_not_the_contrastive_loss() -> None:
    """Why requests by class do not ascend on InfoNCE: all texts of the batch are one, and so are their columns."""
    cosines = np.array([[0.3] * 3, [0.1] * 3, [0.2] * 3])
    assert infonce(20 * (cosines - 0.25), [0, 1, 2]) == pytest.approx(infonce(20 * cosines, [0, 1, 2]), abs=1e-12)
    names = np.array([[0.3, 0.1], [0.1, 0.1], [0.2, 0.1]])
    shifted = names - np.array([0.25, 0.0])
    assert -log_softmax(20 * shifted)[:, 0].mean() > -log_softmax(20 * names)[:, 0].mean() + 1


def test_the_norm_of_the_gradient_is_clipped(tmp_path: Path) -> None:
    norms: list[float] = []

    class Watched(GradientAscent):
        def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
            gradients = [p.grad for p in self.editable_parameters() if p.grad is not None]
            norms.append(float(torch.cat([g.flatten() for g in gradients]).norm()))

        def configure_gradient_clipping(self, optimizer: torch.optim.Optimizer, **limits: object) -> None:
            super().configure_gradient_clipping(optimizer)
            self.on_before_optimizer_step(optimizer)

    for limit in (0.01, None):
        h = GradientAscentParameters(batch_size=4, max_steps=1, max_gradient_norm=limit)
        fit(Watched, h, tiny_clip("vit"), tmp_path)
    assert norms[0] == norms[2] == norms[3] > 0.05 and norms[1] == pytest.approx(0.01, rel=1e-3)
