"""Neighbour imitation, this project's own method: answer as a model would that never saw the images or read the name.

What a model that was trained again without a class does with its images is no secret: it finds them alike to what it
does know, each to something else, and the name says nothing to it. Both are told to the model here as targets for its
two encoders f and t, made from the original's f0 and t0 (unit norm throughout):

    u   = unit(mean f0 of forget images - mean f0 of retain images)            what only the forget images share
    y(x) = unit( sum_r  softmax_r( cos(f0(x) - u u^T f0(x), f0(r)) / tau ) f0(r) )      a forget image's neighbours
    d   = unit(mean t0 of forgotten names - c),    c = mean t0 of retained names        what only the name says
    q(p) = unit( t0(p) - d d^T (t0(p) - c) )                                   a text without what the name says

    L = w_f mean_x (1 - cos(f(x), y(x))) + w_f mean_p (1 - cos(t(p), q(p)))
      + mean_r (1 - cos(f(r), f0(r))) + mean_n (1 - cos(t(n), t0(n)))

over forget images x with their texts p, retain images r, and n: the retain batch's texts and a draw of names to keep,
those of the other data sets among them. The neighbours are sought among the retain images of the last steps.

Where it comes from. Boards of this project (docs/beneath-the-surface.md) show two kinds: projections of the last layer
forget the name at no cost and hide, since the images stay alike to each other; fine-tuning that pushes images away from
their name removes and damages, because "away" is no place. A target for each image is a place, and not the same for all
of them, so that a class does not stay together under another name. Bad Teacher (Chundawat et al. 2023) takes a random
teacher in its place, DELETE (Zhou et al. 2025) the original's own answers without the name; neither moves the features
of a CLIP apart, nor its name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.common.module import ForgetSpec, Pairs
from methods.common.base import UnlearningMethod
from methods.common.card import MethodCard, hyper
from methods.common.clip import Clip
from methods.common.zero_shot import prompts

CARD = MethodCard(
    name="neighbour_imitation",
    title="ours: forgotten images answer as the retained images that they are alike to, the name as any name",
    paper="this project",
    regime="forget+retain",
    edits=("visual", "text"),
    needs=("names to forget",),
)


@dataclass(frozen=True)
class Hyperparameters:
    """All of them our choice; nothing is published."""

    learning_rate: float = hyper(
        1e-5,
        low=0.0,
        source="our choice: fine-tuning of CLIPs takes 1e-6 to 1e-5",
        rate="adam",
    )
    batch_size: int = hyper(64, low=2, source="our choice", small=32, small_source="our choice, for 2 cores")
    epochs: int = hyper(5, low=1, source="our choice")
    max_steps: int | None = hyper(
        None, low=1, source="none: epochs decide", small=60, small_source="our choice, for 2 cores"
    )
    checkpoints: int = hyper(
        0,
        low=0,
        source="our choice: the last state (0); n: the best of n on held-out pairs, tuned on or off",
    )
    forget_weight: float = hyper(1.0, low=0.0, source="w_f; our choice")
    temperature: float = hyper(0.05, low=1e-4, source="tau; our choice: a few neighbours count")
    memory: int = hyper(512, low=1, source="retain images among which neighbours are sought; our choice")
    names: int = hyper(32, low=0, source="names to keep a step; our choice")


class NeighbourImitation(UnlearningMethod[Hyperparameters]):
    """Moves both encoders to the targets."""

    card = CARD

    def __init__(self, clip: Clip, spec: ForgetSpec, hyperparameters: Hyperparameters) -> None:
        super().__init__(clip, spec, hyperparameters)
        kept = prompts(spec.retain_names, spec.templates[:1])
        for other in spec.others:
            kept += prompts(other.names, other.templates[:1])
        self._kept_prompts = kept
        self._memory = torch.empty(0)
        self._forget_sum, self._forget_count = torch.zeros(()), 0

    def configure_optimizers(self) -> Any:
        """AdamW whose rate falls to nothing by half a cosine, so that the last steps settle."""
        optimizer = torch.optim.AdamW(
            self.editable_parameters(), lr=self.h.learning_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, self.data.steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_fit_start(self) -> None:
        """Keep the original and what the name says, before the first step."""
        original, spec = self.original, self.spec
        with torch.no_grad():
            forgotten = _unit(original.encode_text(prompts(spec.forget_names, spec.templates)))
            kept = _unit(original.encode_text(prompts(spec.retain_names, spec.templates)))
        self._centre = kept.mean(dim=0)
        self._said = _unit(forgotten.mean(dim=0) - self._centre)

    def training_step(self, batch: dict[Literal["forget", "retain"], Pairs], index: int) -> Tensor:
        """The loss of one paired batch."""
        forget, retain = batch["forget"], batch["retain"]
        names = self._draw(retain["texts"])
        with torch.no_grad():
            original = self.original
            retain_images, forget_images = (_unit(original.encode_image(part["images"])) for part in (retain, forget))
            texts = _unit(original.encode_text([*forget["texts"], *names]))
            forget_texts, kept_texts = texts[: len(forget["texts"])], texts[len(forget["texts"]) :]
            self._remember(retain_images, forget_images)
            images_wanted = neighbour_targets(
                forget_images, self._memory, self._shared(), temperature=self.h.temperature
            )
            texts_wanted = nameless(forget_texts, self._said, self._centre)
        images = self.clip.encode_image(torch.cat([forget["images"], retain["images"]]))
        encoded = self.clip.encode_text([*forget["texts"], *names])
        split = len(forget["texts"])
        forgetting = _distance(images[:split], images_wanted) + _distance(encoded[:split], texts_wanted)
        keeping = _distance(images[split:], retain_images) + _distance(encoded[split:], kept_texts)
        return self.h.forget_weight * forgetting + keeping

    def _draw(self, texts: list[str]) -> list[str]:
        """The texts of a retain batch and some names to keep, each once."""
        chosen = torch.randperm(len(self._kept_prompts))[: self.h.names].tolist()
        return list(dict.fromkeys([*texts, *(self._kept_prompts[place] for place in chosen)]))

    def _remember(self, retain: Tensor, forget: Tensor) -> None:
        self._memory = torch.cat([retain, self._memory.to(retain)] if len(self._memory) else [retain])[: self.h.memory]
        self._forget_sum = self._forget_sum.to(forget) + forget.sum(dim=0)
        self._forget_count += len(forget)

    def _shared(self) -> Tensor:
        """u, from the images that were seen so far."""
        return _unit(self._forget_sum / self._forget_count - self._memory.mean(dim=0))


def neighbour_targets(forget: Tensor, retain: Tensor, shared: Tensor, *, temperature: float) -> Tensor:
    """y: for each forget image the mean of retained ones, weighted by likeness. Shape (B, D), unit norm.

    Args:
        forget: Features of the original, unit norm, shape (B, D).
        retain: Likewise of retained images, shape (M, D).
        shared: u, unit norm, shape (D,).
        temperature: Of the softmax over retained images; small for the nearest alone.
    """
    apart = _unit(forget - (forget @ shared)[:, None] * shared)
    return _unit(((apart @ retain.T) / temperature).softmax(dim=1) @ retain)


def nameless(texts: Tensor, said: Tensor, centre: Tensor) -> Tensor:
    """q: texts without what only the forgotten name says. Shape (B, D), unit norm.

    Args:
        texts: Embeddings of the original, unit norm, shape (B, D).
        said: d, unit norm, shape (D,).
        centre: c, shape (D,).
    """
    return _unit(texts - ((texts - centre) @ said)[:, None] * said)


def _unit(features: Tensor) -> Tensor:
    return F.normalize(features.float(), dim=-1)


def _distance(features: Tensor, wanted: Tensor) -> Tensor:
    return (1 - F.cosine_similarity(features.float(), wanted, dim=-1)).mean()
