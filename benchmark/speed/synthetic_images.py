"""synthetic_images: 64 images of a name made together, against one at a time, with the same acceptance rule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.speed.bench import Bench
from benchmark.speed.findings import Side, SpeedFinding, seconds
from datamodules.common.synthetic import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ImageModel,
    SyntheticRecipe,
    blur,
    climb,
)
from methods.common.synthetic_images import encoder_key

MODEL, DATASET, TARGET = "shapes-resnet", "shapes", 0
TOGETHER, ALONE = 64, 4
"""Images of each side; what one of them takes does not depend on how many are made one at a time."""
ITERATIONS = 40
"""Steps a try at most, on both sides: enough to be timed."""
LEAST = 3.0


def measure(bench: Bench) -> Iterator[SpeedFinding]:
    """The images have the same noise on both sides, so the same of them are accepted."""
    clip = bench.model(MODEL)
    clip.model.requires_grad_(False)
    dataset = bench.dataset(DATASET, clip.preprocessing.framing)
    with torch.no_grad():
        classifier = clip.zero_shot_classifier(dataset.class_names, dataset.templates)
        scale = float(clip.logit_scale)
    model = ImageModel(clip.encode_image, classifier, scale, clip.preprocessing, encoder_key(clip))
    recipe = SyntheticRecipe(count=TOGETHER, iterations=ITERATIONS, tries=1).for_side(clip.preprocessing.image_size)
    climb(model, TARGET, replace(recipe, count=2, iterations=2))
    taken, batches, steps = 0.0, [], 0
    together = seconds(lambda: batches.append(climb(model, TARGET, recipe)), bench.device)
    accepted = 0
    for index in range(ALONE):
        result: list[tuple[Tensor | None, int]] = []
        taken += seconds(
            lambda index=index, result=result: result.append(_climb_one(model, recipe, index)),  # type: ignore[misc]
            bench.device,
        )
        accepted += result[0][0] is not None
        steps += result[0][1]
    first = climb(model, TARGET, replace(recipe, count=ALONE))
    yield SpeedFinding(
        f"{MODEL}, {TOGETHER} images of {dataset.class_names[TARGET]!r}, at most {ITERATIONS} steps, fp32",
        (
            Side("one at a time", ALONE / taken, "images/s"),
            Side(f"{TOGETHER} together", TOGETHER / together, "images/s"),
        ),
        (TOGETHER / together) / (ALONE / taken),
        least=LEAST,
        note=f"accepted: {accepted} of the first {ALONE} alone, {len(first)} together; {len(batches[0])} of {TOGETHER}",
    )


def _climb_one(model: ImageModel, recipe: SyntheticRecipe, index: int) -> tuple[Tensor | None, int]:
    """Lip's loop for one image: it climbs until the model names it; returns it, or None, and the steps taken."""
    side, device = model.preprocessing.image_size, model.classifier.device
    stream = np.random.default_rng([recipe.seed, TARGET, index, 0])
    x = torch.from_numpy(stream.standard_normal((1, 3, side, side), dtype=np.float32)).to(device)
    shifts = stream.integers(0, recipe.jitter + 1, (recipe.iterations, 2)).tolist()
    mean = x.new_tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
    std = x.new_tensor(IMAGENET_STD).view(1, 3, 1, 1)
    for iteration, (down, right) in enumerate(shifts):
        x = torch.roll(x, (down, right), (2, 3)).requires_grad_(True)
        embedded = F.normalize(model.encode(model.preprocessing.normalise(x)), dim=-1)
        gain = model.logit_scale * (embedded @ model.classifier[TARGET])[0] - recipe.l2 * x.norm()
        (gradient,) = torch.autograd.grad(gain, x)
        x = torch.roll(x.detach() + recipe.step * gradient / gradient.norm(), (-down, -right), (2, 3))
        x = torch.clamp(x, -mean / std, (1 - mean) / std)
        if iteration % recipe.blur_every == 0:
            x = blur(x, recipe.blur_sigma)
        with torch.no_grad():
            pixels = x * std + mean
            stretched = (pixels - pixels.min()) / (pixels.max() - pixels.min())
            embedded = F.normalize(model.encode(model.preprocessing.normalise(stretched)), dim=-1)
            probability = (model.logit_scale * embedded @ model.classifier.T).softmax(dim=-1)[0]
        if int(probability.argmax()) == TARGET and float(probability[TARGET]) > recipe.threshold:
            return x, iteration + 1
    return None, len(shifts)
