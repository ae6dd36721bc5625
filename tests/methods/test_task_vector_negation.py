"""Task-vector negation against a plain AdamW loop."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from fitting import fit
from tiny import NAMES, random_images, tiny_clip, tiny_spec
from torch import Tensor

from datamodules.common.module import Pairs
from methods.common.task_vectors import TaskVectorMethod, choose_scaling, difference, schedule
from methods.task_vector_negation import Hyperparameters, TaskVectorNegation

STEPS = 4


def batch(seed: int) -> Pairs:
    texts = [f"a photo of a {NAMES[0]}"] * 3
    return Pairs(images=random_images(3, seed=seed), texts=texts, labels=torch.zeros(3), indices=torch.arange(3))


def run(method: TaskVectorMethod[Any], steps: int) -> list[float]:
    """Training without a Trainer; the losses."""
    cast(Any, method).manual_backward = lambda loss: loss.backward()
    assert method.planned_steps({"forget": 3, "retain": 3}) == steps
    method.on_fit_start()
    losses = [method.training_step({"forget": batch(index)}, index).item() for index in range(steps)]
    method.on_train_end()
    return losses


def fine_tuned(kind: str, rates: list[float], weight_decay: float, first: int) -> tuple[dict[str, Tensor], list[float]]:
    """The visual task vector of a fine-tuning written out, and its losses."""
    clip, spec = tiny_clip(kind), tiny_spec()
    clip.model.requires_grad_(False)
    visual = {n: p.requires_grad_() for n, p in clip.model.named_parameters() if n.startswith("visual.")}
    before = {n: p.detach().clone() for n, p in visual.items()}
    head = clip.zero_shot_classifier(spec.all_names, spec.templates)
    optimizer = torch.optim.AdamW(visual.values(), betas=(0.9, 0.999), eps=1e-8, weight_decay=weight_decay)
    losses = []
    for index, rate in enumerate(rates):
        optimizer.param_groups[0]["lr"] = rate
        features = clip.encode_image(batch(first + index)["images"])
        logits = clip.logit_scale * features / features.norm(dim=1, keepdim=True) @ head.T
        loss = -logits.log_softmax(dim=1)[:, 0].mean()
        optimizer.zero_grad()
        loss.backward()
        norm = math.sqrt(sum(float(p.grad.square().sum()) for p in visual.values() if p.grad is not None))
        for parameter in visual.values():
            if norm > 1 and parameter.grad is not None:
                parameter.grad /= norm
        optimizer.step()
        losses.append(loss.item())
    return {n: p.detach() - before[n] for n, p in visual.items()}, losses


def test_schedule_warms_up_over_a_tenth_and_falls_to_zero() -> None:
    assert [schedule(step, 20) for step in (0, 1, 2)] == [0.5, 1.0, 1.0]
    assert schedule(11, 20) == pytest.approx(0.5)
    assert 0 < schedule(19, 20) < 0.01


@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_the_fine_tuning_is_subtracted(kind: str) -> None:
    h = Hyperparameters(learning_rate=1e-3, weight_decay=0.1, max_steps=STEPS, scaling=0.7)
    method = TaskVectorNegation(tiny_clip(kind), tiny_spec(), h)
    losses = run(method, STEPS)
    vector, wanted = fine_tuned(kind, [1e-3 * schedule(i, STEPS) for i in range(STEPS)], 0.1, 0)
    assert losses == pytest.approx(wanted, rel=1e-3)
    start = dict(tiny_clip(kind).model.named_parameters())
    moved = 0.0
    for name, parameter in method.clip.model.named_parameters():
        target = start[name] - 0.7 * vector[name] if name in vector else start[name]
        # Adam divides by gradients near 0: compare at the size of a step
        torch.testing.assert_close(parameter, target, rtol=0, atol=2e-4)
        moved = max(moved, float((parameter - start[name]).abs().max()))
    assert moved > 1e-3


def test_a_scaling_of_minus_one_would_be_the_fine_tuned_model_which_knows_the_class_better() -> None:
    def forget_loss(scaling: float) -> float:
        h = Hyperparameters(learning_rate=1e-3, max_steps=STEPS, scaling=scaling)
        method = TaskVectorNegation(tiny_clip("vit"), tiny_spec(), h)
        run(method, STEPS)
        logits = torch.nn.functional.normalize(method.clip.encode_image(batch(0)["images"]), dim=1) @ method.head.T
        return float(-(method.clip.logit_scale * logits).log_softmax(dim=1)[:, 0].mean())

    assert forget_loss(-1.0) < forget_loss(0.0) < forget_loss(1.0)


def test_the_coefficient_forgets_most_among_those_that_keep_the_control_images() -> None:
    asked: list[float] = []

    def measured(scaling: float) -> tuple[float, float]:
        asked.append(scaling)
        return max(0.0, 0.9 - scaling), 0.8 - 0.1 * scaling

    assert choose_scaling(measured, floor=0.755) == pytest.approx(0.45)  # 0.5 would leave 0.75
    assert asked == pytest.approx(np.linspace(0, 1, 21).tolist())
    assert choose_scaling(measured, floor=0.7) == pytest.approx(0.9), "of those that leave 0 the smallest"
    assert choose_scaling(measured, floor=0.9) == 0.0, "where nothing keeps the control images nothing is subtracted"


def test_a_run_chooses_the_coefficient_on_what_it_held_out(tmp_path: Path) -> None:
    h = Hyperparameters(learning_rate=1e-2, max_steps=3, batch_size=2, held_out_batches=1)
    method = fit(TaskVectorNegation, h, tiny_clip("vit"), tmp_path)
    start, accuracies = dict(tiny_clip("vit").model.named_parameters()), {}
    chosen = method.report["scaling"]
    for step in range(21):
        method._walk(method.vector, step / 20)
        accuracies[step / 20] = method.held_out.accuracy()
    kept = {s: forget for s, (forget, retain) in accuracies.items() if retain >= 0.95 * accuracies[0.0][1]}
    assert chosen == min(kept, key=lambda s: (kept[s], s))
    method._walk(method.vector, 0.0)
    for name, parameter in method.clip.model.named_parameters():
        assert torch.equal(parameter, start[name]), name


def test_difference() -> None:
    found = difference({"w": torch.tensor([3.0, 1.0])}, {"w": torch.tensor([1.0, 2.0])})
    assert found["w"].tolist() == [2.0, -1.0]
