"""Synthetic forget sets: images of a name made by gradient ascent through a CLIP, from noise (Lip, official code).

Each image climbs `exp(logit_scale) cos(f(x), w_c) - 1e-3 ||x||_2` by steps of fixed length until the model itself, at
its own temperature, says the name with probability above a threshold. Every image has its own random stream and a whole
batch climbs together, accepted images leaving it, so an image does not depend on those beside it.

A failed try lowers the threshold, for one of two groups of images (`SyntheticRecipe.lowered_for`):

* "failed": those that failed, whose next try is made together: one round a try;
* "later": also all images after it in order, as in the official code, which makes one image after another. The images
  before the first that failed are kept and all later ones are made again at the lower threshold: the same images as
  one at a time.

No real image is involved: the model and the names are all that is read.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from datamodules.common.cache import cached_bytes
from datamodules.common.code_closure import KEEPING, project_code
from datamodules.common.errors import BenchmarkError
from datamodules.common.images import Preprocessing
from datamodules.common.spent import Spent

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PUBLISHED_SIDE = 224


class SynthesisError(BenchmarkError):
    """No synthetic image of a name was accepted."""


@dataclass(frozen=True)
class SyntheticRecipe:
    """How the images are made; the defaults are Lip's official code, at 224 px.

    Attributes:
        count: Images a name.
        step: Length of a step in L2 norm.
        iterations: Steps a try.
        jitter: Largest roll in pixels, both ways.
        l2: Weight of ||x||_2 in the objective.
        blur_sigma: Of the Gaussian blur, in pixels.
        blur_every: Iterations between blurs.
        threshold: Probability of the name above which an image is accepted.
        threshold_decay: Subtracted after a failed try.
        threshold_floor: The threshold never falls below it.
        lowered_for: Whose threshold a failed try lowers: see above.
        ascent_input: What the ascent sees: "raw" x, CLIP-normalised although x is ImageNet-normalised already (official
            code), or "accepted", the input by which it is accepted.
        tries: Tries before an image is given up; None for no limit, as the reference.
        seed: Of the noise and the jitter.
    """

    count: int = 64
    step: float = 25.0
    iterations: int = 3000
    jitter: int = 16
    l2: float = 1e-3
    blur_sigma: float = 0.5
    blur_every: int = 10
    threshold: float = 0.8
    threshold_decay: float = 0.025
    threshold_floor: float = 0.45
    lowered_for: Literal["failed", "later"] = "failed"
    ascent_input: Literal["raw", "accepted"] = "raw"
    tries: int | None = 23
    seed: int = 0

    def for_side(self, side: int) -> SyntheticRecipe:
        """The recipe at another image size: lengths in pixels scale with the side, and so does the L2 step."""
        scale = side / PUBLISHED_SIDE
        return dataclasses.replace(self, step=self.step * scale, jitter=round(self.jitter * scale))


@dataclass(frozen=True)
class ImageModel:
    """What synthesis needs of a CLIP.

    Attributes:
        encode: Raw image embeddings of network input, shape (B, D).
        classifier: Unit-norm class weights, shape (C, D).
        logit_scale: The inverse temperature.
        preprocessing: Size and normalisation of the network input.
        key: Identifies the weights, for the cache.
    """

    encode: Callable[[Tensor], Tensor]
    classifier: Tensor
    logit_scale: float
    preprocessing: Preprocessing
    key: str

    def cosines(self, network_input: Tensor) -> Tensor:
        """Cosines to all class weights, shape (B, C)."""
        return F.normalize(self.encode(network_input).float(), dim=-1) @ self.classifier.T


@dataclass(frozen=True)
class SyntheticForgetSet:
    """Accepted images of some names.

    Attributes:
        images: Network input (un-normalised, stretched to [0, 1] and CLIP-normalised), shape (N, 3, S, S).
        labels: For each image the index of its name in the classifier, shape (N,).
        spent: What making them took, when they were made.
        cached: Whether they were made before, or elsewhere: the cost stands in `spent` alone.
    """

    images: Tensor
    labels: Tensor
    spent: Spent
    cached: bool


@dataclass(frozen=True)
class RawSet:
    """Accepted images as they came out of the climb.

    Attributes:
        images: Raw x, ImageNet-normalised, float32, shape (N, 3, S, S).
        labels: For each image the index of its name in the classifier, shape (N,).
        spent: What making them took.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    spent: Spent = field(default_factory=Spent)

    def to_bytes(self) -> bytes:
        """As a file holds it."""
        stream = io.BytesIO()
        np.savez(stream, images=self.images, labels=self.labels, spent=json.dumps(dataclasses.asdict(self.spent)))
        return stream.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> RawSet:
        """What a file holds."""
        with np.load(io.BytesIO(content), allow_pickle=False) as parts:
            return cls(parts["images"], parts["labels"], Spent(**json.loads(str(parts["spent"]))))

    def for_model(self, model: ImageModel, *, cached: bool) -> SyntheticForgetSet:
        """The set as network input of a model, on its device."""
        device = model.classifier.device
        images = acceptance_input(torch.from_numpy(self.images), model.preprocessing)
        labels = torch.from_numpy(self.labels)
        return SyntheticForgetSet(images.to(device), labels.to(device), self.spent, cached)


def make_or_load(model: ImageModel, targets: list[int], recipe: SyntheticRecipe, cache_dir: Path) -> SyntheticForgetSet:
    """The synthetic forget set of some names, from the cache if it was made before.

    Args:
        model: The original CLIP; its device is used.
        targets: Indices of the names in the classifier.
        recipe: At the model's image size.
        cache_dir: The sets are kept below it.

    Raises:
        SynthesisError: If not one image of a name was accepted.
    """
    classifier = hashlib.sha256(model.classifier.detach().cpu().numpy().tobytes()).hexdigest()
    file = set_path(cache_dir, model, classifier, targets, recipe)
    content, cached = cached_bytes(file, lambda: climb_set(model, targets, recipe).to_bytes())
    return RawSet.from_bytes(content).for_model(model, cached=cached)


def set_path(cache_dir: Path, model: ImageModel, classifier: str, targets: list[int], recipe: SyntheticRecipe) -> Path:
    """Where a set is kept.

    Args:
        cache_dir: The cache.
        model: The original CLIP.
        classifier: Identifies its classifier.
        targets: Indices of the names in the classifier.
        recipe: At the model's image size.
    """
    identity = [
        model.key,
        model.logit_scale,
        dataclasses.asdict(recipe),
        dataclasses.asdict(model.preprocessing),
        targets,
        classifier,
        model.classifier.device.type,
        project_code().digest("datamodules.common.synthetic:climb_set", stops=KEEPING),
    ]
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return cache_dir / "synthetic" / f"{digest[:32]}.npz"


def climb_set(model: ImageModel, targets: list[int], recipe: SyntheticRecipe) -> RawSet:
    """Make the images of some names.

    Raises:
        SynthesisError: If not one image of a name was accepted.
    """
    start, cpu_start = time.perf_counter(), time.process_time()
    sets = [climb(model, target, recipe) for target in targets]
    for target, images in zip(targets, sets, strict=True):
        if not len(images):
            raise SynthesisError(
                f"no synthetic image of name {target} was accepted in {recipe.tries} tries; "
                "lower the threshold of the synthetic images"
            )
    labels = np.repeat(targets, [len(images) for images in sets]).astype(np.int64)
    spent = Spent(time.perf_counter() - start, time.process_time() - cpu_start)
    return RawSet(torch.cat(sets).cpu().numpy(), labels, spent)


def climb(model: ImageModel, target: int, recipe: SyntheticRecipe) -> Tensor:
    """Make the images of one name: raw x of the accepted, ImageNet-normalised, shape (<= count, 3, S, S)."""
    results: list[Tensor | None] = [None] * recipe.count
    tries = [0] * recipe.count
    threshold = recipe.threshold
    while waiting := [i for i in range(recipe.count) if results[i] is None and _may_try(tries[i], recipe)]:
        tried = try_once(model, target, recipe, [(i, tries[i]) for i in waiting], threshold)
        failed = [i for i in waiting if i not in tried]
        lowered = max(threshold - recipe.threshold_decay, recipe.threshold_floor) if failed else threshold
        again = failed
        if recipe.lowered_for == "later" and lowered != threshold:
            again = failed[:1]  # those after it begin at the lower threshold: this try of theirs does not count
            tried = {i: x for i, x in tried.items() if i < failed[0]}
        for i in again:
            tries[i] += 1
        for i, x in tried.items():
            results[i] = x
        threshold = lowered
    accepted = [x for x in results if x is not None]
    side = model.preprocessing.image_size
    return torch.stack(accepted) if accepted else torch.zeros(0, 3, side, side, device=model.classifier.device)


def _may_try(tries: int, recipe: SyntheticRecipe) -> bool:
    return recipe.tries is None or tries < recipe.tries


def try_once(
    model: ImageModel, target: int, recipe: SyntheticRecipe, attempts: list[tuple[int, int]], threshold: float
) -> dict[int, Tensor]:
    """One try of some images, which climb together.

    Args:
        model: The original CLIP.
        target: Index of the name in the classifier.
        recipe: At the model's image size.
        attempts: Number of each image, and how often it was tried before: they seed its noise and jitter.
        threshold: Probability of the name above which an image is accepted.

    Returns:
        Raw x of the accepted by number, shape (3, S, S).
    """
    side, device = model.preprocessing.image_size, model.classifier.device
    streams = [np.random.default_rng([recipe.seed, target, number, attempt]) for number, attempt in attempts]
    noise = np.stack([stream.standard_normal((3, side, side), dtype=np.float32) for stream in streams])
    x = torch.from_numpy(noise).to(device)
    rolls = np.stack([stream.integers(0, recipe.jitter + 1, (recipe.iterations, 2)) for stream in streams])
    shifts = torch.from_numpy(rolls).to(device)
    numbers, done = torch.tensor([number for number, _ in attempts], device=device), dict[int, Tensor]()
    for iteration in range(recipe.iterations):
        x = _ascend(model, target, x, shifts[:, iteration], recipe)
        if iteration % recipe.blur_every == 0:
            x = blur(x, recipe.blur_sigma)
        accepted = _accepted(model, target, x, threshold)
        if accepted.any():
            done.update(zip(numbers[accepted].tolist(), x[accepted], strict=True))
            numbers, x, shifts = numbers[~accepted], x[~accepted], shifts[~accepted]
            if not len(numbers):
                break
    return done


def _ascend(model: ImageModel, target: int, x: Tensor, shift: Tensor, recipe: SyntheticRecipe) -> Tensor:
    with torch.enable_grad():
        rolled = roll(x, shift).detach().requires_grad_(True)
        if recipe.ascent_input == "accepted":
            network_input = acceptance_input(rolled, model.preprocessing)
        else:  # the reference normalises for CLIP although x already lives in ImageNet-normalised space
            network_input = model.preprocessing.normalise(rolled)
        gain = model.logit_scale * model.cosines(network_input)[:, target] - recipe.l2 * rolled.flatten(1).norm(dim=1)
        (gradient,) = torch.autograd.grad(gain.sum(), rolled)
    length = gradient.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
    x = roll(rolled.detach() + recipe.step * gradient / length, -shift)
    mean, std = _channels(x, IMAGENET_MEAN), _channels(x, IMAGENET_STD)
    return torch.maximum(torch.minimum(x, (1 - mean) / std), -mean / std)


@torch.no_grad()
def _accepted(model: ImageModel, target: int, x: Tensor, threshold: float) -> Tensor:
    cosines = model.cosines(acceptance_input(x, model.preprocessing))
    probability = (model.logit_scale * cosines).softmax(dim=-1)
    return (probability.argmax(dim=-1) == target) & (probability[:, target] > threshold)


def acceptance_input(x: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Network input of raw images: un-normalised (ImageNet), each stretched to [0, 1], CLIP-normalised."""
    pixels = x * _channels(x, IMAGENET_STD) + _channels(x, IMAGENET_MEAN)
    low, high = pixels.amin(dim=(1, 2, 3), keepdim=True), pixels.amax(dim=(1, 2, 3), keepdim=True)
    return preprocessing.normalise((pixels - low) / (high - low).clamp_min(1e-12))


def roll(x: Tensor, shift: Tensor) -> Tensor:
    """Roll each image by its own (down, right) shift, as torch.roll does. `shift`: shape (B, 2), integers."""
    height, width = x.shape[-2:]
    rows = (torch.arange(height, device=x.device) - shift[:, :1]) % height
    columns = (torch.arange(width, device=x.device) - shift[:, 1:]) % width
    item = torch.arange(len(x), device=x.device)[:, None, None]
    return x.permute(0, 2, 3, 1)[item, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def blur(x: Tensor, sigma: float) -> Tensor:
    """Separable Gaussian blur on height and width, edges mirrored as in scipy.ndimage.gaussian_filter1d.

    `sigma`: in pixels; 0 leaves the images as they are.
    """
    if sigma == 0:
        return x
    radius = int(4.0 * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
    weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
    weights = (weights / weights.sum()).repeat(3, 1)
    padded = torch.cat([x[..., :radius, :].flip(-2), x, x[..., -radius:, :].flip(-2)], dim=-2)
    x = F.conv2d(padded, weights[:, None, :, None], groups=3)
    padded = torch.cat([x[..., :radius].flip(-1), x, x[..., -radius:].flip(-1)], dim=-1)
    return F.conv2d(padded, weights[:, None, None, :], groups=3)


def _channels(like: Tensor, values: tuple[float, float, float]) -> Tensor:
    return like.new_tensor(values).view(1, 3, 1, 1)
