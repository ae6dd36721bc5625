"""lip_step: one step of Lip, against the loop as its code does it: one noise draw at a time, a text for each image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from benchmark.speed.bench import Bench
from benchmark.speed.findings import Side, SpeedFinding, alternate
from methods.common.clip import Clip
from methods.lip import LOSS_PROMPT, lipschitz_loss

MODEL, IMAGES, DRAWS, SIGMA = "shapes-resnet", 32, 10, 0.5
"""The embedded world's model, and Lip's settings on it."""
REPEATS = 3
SAME = 1e-5


def measure(bench: Bench) -> Iterator[SpeedFinding]:
    """Loss and gradients of one step; the losses are compared with the same noise on both sides."""
    clip = bench.model(MODEL)
    clip.model.requires_grad_(True)
    side = clip.preprocessing.image_size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        images = clip.preprocessing.normalise(torch.rand(IMAGES, 3, side, side)).to(bench.device)
    prompt = LOSS_PROMPT.format("star")

    def step(loss: Callable[..., Tensor]) -> float:
        clip.model.zero_grad()
        value = loss(clip, images, prompt, sigma=SIGMA, draws=DRAWS)
        value.backward()  # type: ignore[no-untyped-call]
        return float(value.detach())

    with torch.random.fork_rng(devices=[]):
        noise = torch.randn(DRAWS * IMAGES, 3, side, side).to(bench.device)
        with same_noise(noise):
            suite_loss = step(lipschitz_loss)
        with same_noise(noise):
            plain = step(plain_loss)
        here, there = alternate(lambda: step(lipschitz_loss), lambda: step(plain_loss), bench.device, repeats=REPEATS)
    gap = abs(suite_loss - plain)
    yield SpeedFinding(
        f"{MODEL}, {DRAWS} draws of {IMAGES} images, fp32",
        (Side("plain loop", 1 / there, "steps/s"), Side("this suite", 1 / here, "steps/s")),
        there / here,
        least=1.0,
        note=f"the losses differ by {gap:.1e} ({'the same' if gap <= SAME else 'NOT the same'} to {SAME:.0e})",
    )


@contextmanager
def same_noise(noise: Tensor) -> Iterator[None]:
    """Let `torch.randn_like` give these values, one image after another, while the block runs."""
    drawn, values_used = torch.randn_like, 0

    def next_values(like: Tensor) -> Tensor:
        nonlocal values_used
        values_used += len(like)
        return noise[values_used - len(like) : values_used]

    torch.randn_like = next_values  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.randn_like = drawn


def plain_loss(clip: Clip, images: Tensor, prompt: str, *, sigma: float, draws: int) -> Tensor:
    """Lip's loss by a loop over the noise draws; see `methods/lip.py` for the formula and the arguments."""
    text = clip.encode_text([prompt] * len(images))
    embedded = clip.encode_image(images)
    total = torch.zeros((), device=images.device)
    for _ in range(draws):
        noisy = torch.clamp(images + sigma * torch.randn_like(images), images.min(), images.max())
        with torch.no_grad():
            noisy_embedded = clip.encode_image(noisy)
        distance = (images - noisy).flatten(1).norm(dim=1)
        text_part = (text - noisy_embedded).norm(dim=1) / (2 * distance)
        image_part = (embedded - noisy_embedded).norm(dim=1) / (2 * distance)
        total = total + (text_part + image_part).sum()
    return total / (2 * draws)
