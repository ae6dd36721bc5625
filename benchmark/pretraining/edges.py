"""Edge histograms as a second target of a ViT's first blocks: what a convolution has from birth, a ViT must learn.

    L = L_contrastive + w f(t) sum_k MSE( W_k LN(z_b(k)),  standardised h_k )

z_b are the patch tokens after block b, h_k are histograms of edge directions: of each patch in 2 x 2 and in 4 x 4 cells
(from block 1), and of its 3 x 3 neighbourhood of patches (from block 2). Histograms of oriented gradients (Dalal &
Triggs 2005) as a target are MaskFeat's (Wei et al. 2022); no mask, the early blocks and f, which falls from 1 to 0 over
the first half of the training, are our choice. Nothing but the image is needed, so a model that is trained without some
data never hears of it.

Why: with labels alone the shapes' ViT stands at chance for 400 steps of AdamW; with this and Muon it names half of the
shapes after 300.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

DIRECTIONS = 8
_FLOOR = 0.02  # energy below which an edge counts as noise, in units of the normalised input


def edge_energy(images: Tensor) -> Tensor:
    """The gradient's length at each pixel, shared among the directions of its axis.

    Light on dark equals dark on light; of the three colours the one with the largest gradient counts. A direction's
    share is cos^2 of twice the angle between them, 0 from 45 degrees on, so neighbouring directions overlap.

    Args:
        images: Shape (B, 3, S, S).

    Returns:
        Shape (B, DIRECTIONS, S, S), not negative.
    """
    padded = functional.pad(images, (1, 1, 1, 1), mode="replicate")
    across = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    down = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    squared = across.square() + down.square()
    length2, strongest = squared.max(dim=1, keepdim=True)
    across, down = across.gather(1, strongest), down.gather(1, strongest)
    length = length2.sqrt()
    cosine = (across.square() - down.square()) / length2.clamp_min(1e-12)  # of twice the angle
    sine = 2 * across * down / length2.clamp_min(1e-12)
    bins = (torch.arange(DIRECTIONS, device=images.device) * (2 * torch.pi / DIRECTIONS)).view(1, -1, 1, 1)
    return functional.relu(cosine * bins.cos() + sine * bins.sin()).square() * length


def edge_histograms(energy: Tensor, cell: int) -> Tensor:
    """Edge energy by direction in square cells, each cell's histogram scaled to about unit length.

    Args:
        energy: From `edge_energy`, or its means over cells; shape (B, DIRECTIONS, S, S).
        cell: Side of a cell; divides S.

    Returns:
        Shape (B, DIRECTIONS, S / cell, S / cell), in [0, 1].
    """
    mean = functional.avg_pool2d(energy, cell)
    return mean / (mean.square().sum(dim=1, keepdim=True) + _FLOOR).sqrt()


class EdgeTask(nn.Module):
    """Reads the first two blocks of a vision transformer and predicts edge histograms from them.

    Args:
        visual: An open_clip VisionTransformer whose patch size is a multiple of 4; it gets two forward hooks.

    Raises:
        ValueError: If the tower is another one.
    """

    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        blocks = getattr(getattr(visual, "transformer", None), "resblocks", None)
        patch = getattr(visual, "patch_size", (0, 0))[0]
        if blocks is None or len(blocks) < 2 or patch % 4 or not patch:
            raise ValueError("edge_weight needs a vision transformer of two blocks or more and patches of 4 n pixels")
        self._patch, self._seen = int(patch), dict[int, Tensor]()
        width = cast(Any, visual).conv1.out_channels
        with torch.random.fork_rng(devices=[]):  # leave the training's random numbers as they are
            torch.manual_seed(0)
            self.heads = nn.ModuleList(nn.Linear(width, DIRECTIONS * parts) for parts in (4, 16, 9))
        self._hooks = [blocks[at].register_forward_hook(self._keeper(at)) for at in (0, 1)]

    def _keeper(self, at: int) -> Any:
        def keep(_: nn.Module, __: object, out: Tensor) -> None:
            self._seen[at] = out

        return keep

    def targets(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The three histograms of each patch, standardised over the batch: shapes (B, G * G, DIRECTIONS * parts)."""
        energy = functional.avg_pool2d(edge_energy(images), self._patch // 4)
        quarter = functional.pixel_unshuffle(edge_histograms(energy, 1), 4)
        half = functional.pixel_unshuffle(edge_histograms(energy, 2), 2)
        around = functional.unfold(edge_histograms(energy, 4), 3, padding=1)
        parts = (half.flatten(2), quarter.flatten(2), around)
        half, quarter, around = (_standardised(part.transpose(1, 2)) for part in parts)
        return half, quarter, around

    @staticmethod
    def share(progress: float) -> float:
        """f: how much the task counts when this share of the training is over."""
        return max(0.0, 1 - 2 * progress)

    def loss(self, images: Tensor) -> Tensor:
        """The sum of the three mean squared errors, for the images that the tower has just encoded."""
        tokens = [functional.layer_norm(self._seen[at][:, 1:], self._seen[at].shape[-1:]) for at in (0, 0, 1)]
        with torch.no_grad():
            wanted = self.targets(images)
        errors = [
            functional.mse_loss(head(features).float(), target)
            for head, features, target in zip(self.heads, tokens, wanted, strict=True)
        ]
        return torch.stack(errors).sum()

    def detach(self) -> None:
        """Take the hooks off the tower."""
        for hook in self._hooks:
            hook.remove()
        self._seen.clear()


def _standardised(x: Tensor) -> Tensor:
    flat = x.flatten(0, 1)
    return (x - flat.mean(0)) / (flat.std(0) + 1e-5)
