"""RMU: send the hidden states of forget images the same random way (Li et al., ICML 2024, arXiv 2403.03218).

    L = MSE( h_u(x_f), c r )  +  alpha MSE( h_u(x_r), h_o(x_r) )              o original, u unlearned
    r = U / |U|,  U uniform on [0, 1)^d, drawn once                           every place (token) has the same target

h are the states after one block; only one matrix in each of three blocks learns, the read one the last of them. Made
for language models (layer 7 of 32 is read). Carried over to the image encoder, where nothing is published:

| encoder | read | learns |
|---|---|---|
| L blocks with an MLP | block floor(L / 4), counted from 0 | the MLP's second matrix there and in two blocks before |
| convolutions | the last block | the last convolution of the three last blocks of its stage |

c is a multiple of the mean norm of h_o(x_f), because the norm differs from model to model. Neither names nor labels are
read, so a request by concept is the same case.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.common.errors import BenchmarkError
from datamodules.common.module import Pairs
from methods.common.base import UnlearningMethod
from methods.common.card import MethodCard, hyper
from methods.common.clip import Clip

CARD = MethodCard(
    name="rmu",
    title="hidden states of forget images towards a random vector, those of retain images as they were",
    paper="Li et al., ICML 2024, arXiv 2403.03218",
    regime="forget+retain",
    edits=("visual",),
    deviations=(
        "Carried over from language models to the image encoder: which block is read and what learns is ours.",
        "The length of the random vector is a multiple of the states' own norm; the source sets it for each model.",
    ),
)
TRAINED_BLOCKS = 3
"""Official code: the read one and the two before it."""


class NoBlocksError(BenchmarkError):
    """The image encoder has no blocks that are known here."""


@dataclass(frozen=True)
class Hyperparameters:
    """Of the official code as copies of it have it (secondary), where a CLIP gives them a meaning."""

    learning_rate: float = hyper(
        5e-5,
        low=0.0,
        source="official code (secondary)",
        rate="adam",
    )
    steering: float = hyper(
        1.5,
        low=0.0,
        source="c as a multiple of the mean norm of h_o(x_f); our choice: 6.5 to 20 is for language models",
    )
    alpha: float = hyper(
        100.0,
        low=0.0,
        source="official code (secondary): its default; 1200 for the published model",
        small=1.0,
        small_source="our choice, on suite `development`",
    )
    batch_size: int = hyper(4, low=1, source="official code (secondary)", small=24, small_source="our choice, 2 cores")
    max_steps: int = hyper(
        80, low=1, source="official code (secondary): at most so many batches", small=40, small_source="our choice"
    )
    checkpoints: int = hyper(
        0,
        low=0,
        source="the source keeps the last state (0); n: the best of n on held-out pairs, tuned on or off",
    )


class RMU(UnlearningMethod[Hyperparameters]):
    """Minimises the distance of hidden states from the random vector, and from those of the original."""

    card = CARD

    @cached_property
    def place(self) -> Place:
        """Where the image encoder is read and learns."""
        return place_of(self.clip)

    def may_edit(self, name: str) -> bool:
        """Whether it is one of the matrices that learn."""
        return name in self.place.weights

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW with its common defaults, as in the source."""
        return torch.optim.AdamW(self.editable_parameters(), lr=self.h.learning_rate, fused=True)

    def on_fit_start(self) -> None:
        """Keep the original before the first step."""
        self.original  # noqa: B018
        self.target: Tensor | None = None

    def training_step(self, batch: dict[Literal["forget", "retain"], Pairs], index: int) -> Tensor:
        """The loss of one paired batch."""
        forget, retain = batch["forget"]["images"], batch["retain"]["images"]
        with torch.no_grad():
            kept = self.states(self.original, retain)
            if self.target is None:
                self.target = self._steered(self.states(self.original, forget))
        states = self.states(self.clip, forget)
        away = F.mse_loss(states, self.target.expand_as(states))
        return away + self.h.alpha * F.mse_loss(self.states(self.clip, retain), kept)

    def states(self, clip: Clip, images: Tensor) -> Tensor:
        """What the read block gives for images: tokens by channels, or channels by places, as the encoder has it."""
        with _seen(clip, self.place.read) as outputs:
            clip.encode_image(images)
        return outputs[-1].float()

    def _steered(self, states: Tensor) -> Tensor:
        """c r, of a shape that fits every state."""
        axis = self.place.channels
        uniform = torch.rand(states.shape[axis]).to(states)
        norm = states.norm(dim=axis).mean()
        self.report.update(mean_state_norm=float(norm))
        shape = [1] * states.ndim
        shape[axis] = -1
        steered: Tensor = self.h.steering * norm * uniform / uniform.norm()
        return steered.view(shape)


@dataclass(frozen=True)
class Place:
    """Where an image encoder is read and where it learns.

    Attributes:
        read: The path of the block in the model.
        weights: The state-dict names of the matrices that learn.
        channels: The axis of the block's output that holds the channels.
    """

    read: str
    weights: tuple[str, ...]
    channels: int


_MLP = re.compile(r"(visual\..*?(?:resblocks|blocks)\.\d+)\..*mlp\.(?:c_proj|fc2|w2)\.weight")
_CONVOLUTION = re.compile(r"(visual\..*?(blocks|layer\d)\.\d+)\.conv\d\.weight")


def place_of(clip: Clip) -> Place:
    """Where a CLIP's image encoder is read and learns.

    Raises:
        NoBlocksError: If it has no blocks of these kinds.
    """
    named = dict(clip.model.named_parameters())
    blocks = {match[1]: name for name in named if (match := _MLP.fullmatch(name))}
    if blocks:
        read = len(blocks) // 4
        paths, weights = list(blocks), list(blocks.values())
        convolutional = named[weights[read]].ndim == 4
        trained = weights[max(0, read + 1 - TRAINED_BLOCKS) : read + 1]
        return Place(paths[read], tuple(trained), 1 if convolutional else -1)
    matches = [match for name in named if (match := _CONVOLUTION.fullmatch(name))]
    if not matches:
        raise NoBlocksError(
            f"model {clip.name!r} has no blocks in its image encoder that this method knows: choose another method"
        )
    last = {match[1]: match[0] for match in matches if match[2] == matches[-1][2]}
    return Place(list(last)[-1], tuple(last.values())[-TRAINED_BLOCKS:], 1)


@contextmanager
def _seen(clip: Clip, path: str) -> Iterator[list[Tensor]]:
    """Collect the outputs of a block while the context lasts."""
    outputs: list[Tensor] = []

    def keep(module: Any, inputs: Any, output: Any) -> None:
        outputs.append(output)

    handle = clip.model.get_submodule(path).register_forward_hook(keep)
    try:
        yield outputs
    finally:
        handle.remove()
