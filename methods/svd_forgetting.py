"""SVD class forgetting (Kodge, Saha & Roy, TMLR 2024, arXiv 2312.00761; formulas as in the official code).

For every linear map of the image encoder, with its inputs on retain and on forget images as columns of R_r and R_f:

    R = U diag(s) V^T,   q_i = s_i^2 / sum_j s_j^2,   lambda_i = alpha q_i / ((alpha - 1) q_i + 1)
    M_r = U_r diag(lambda_r) U_r^T,   M_f = U_f diag(lambda_f) U_f^T
    P = I - (M_f - M_f M_r),   W <- W P^T

lambda_i in [0, 1] grows with a direction's share of the energy, and with alpha. P^T x = x - (I - M_r) M_f x takes away
what forget images have in x and retain images do not need. All inputs come from the original model, and all maps are
edited at once; biases stay. U and s^2 are taken from R R^T, summed over batches: the same, without keeping R.

Which maps: all linear layers and convolutions (on unfolded patches), the maps to queries, keys and values, the one
behind attention, and the visual projection in place of the paper's last layer. The classifier of a CLIP is its text
encoder, which stays. Like the official code, a bounded number of inputs a map is used, drawn at random.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from datamodules.common.module import ForgetSpec, Pairs, Part
from methods.common.base import GatheringMethod
from methods.common.card import MethodCard, hyper
from methods.common.clip import Clip
from methods.common.layer_inputs import linear_maps, show_inputs

CARD = MethodCard(
    name="svd_forgetting",
    title="project what only forget images need out of every layer's inputs",
    paper="Kodge, Saha & Roy, TMLR 2024, arXiv 2312.00761",
    regime="forget+retain",
    edits=("visual",),
    deviations=("One pair (alpha_r, alpha_f) serves all small CLIPs; the source takes (1000, 30) for CIFAR-100.",),
)


@dataclass(frozen=True)
class Hyperparameters:
    """Of the spaces; the paper searches both alphas on a grid, which would need a choice on data."""

    retain_alpha: float = hyper(
        100.0, low=1.0, source="official code: ImageNet with ViT-B/16 (1000 on CIFAR-100, 100 on CIFAR-10)"
    )
    forget_alpha: float = hyper(
        10.0,
        low=1.0,
        source="official code: ImageNet with ViT-B/16 (30 on CIFAR-100, 3 on CIFAR-10)",
    )
    inputs: int = hyper(10_000, low=1, source="official code: at most so many inputs a map and part")
    batch_size: int = hyper(
        50,
        low=1,
        source="our choice, for the memory that patches take",
        small=24,
        small_source="our choice, for 2 cores",
    )
    max_steps: int | None = hyper(
        20,
        low=1,
        source="official code: about 1000 images of each part",
        small=40,
        small_source="likewise, at the smaller batch",
    )


class SVDForgetting(GatheringMethod[Hyperparameters]):
    """Gathers each map's second moments of the inputs, then edits every map."""

    card = CARD

    def __init__(self, clip: Clip, spec: ForgetSpec, hyperparameters: Hyperparameters) -> None:
        super().__init__(clip, spec, hyperparameters)
        self.moments: dict[Part, dict[str, Tensor]] = {"forget": {}, "retain": {}}
        self.images = {"forget": 0, "retain": 0}

    def gather(self, part: Part, pairs: Pairs) -> None:
        """Add each map's share of inputs from these images."""
        self.images[part] += len(pairs["texts"])
        rows_per_batch = math.ceil(self.h.inputs / self.trainer.num_training_batches)

        def add(name: str, rows: Tensor) -> None:
            if len(rows) > rows_per_batch:
                rows = rows[torch.randperm(len(rows))[:rows_per_batch].to(rows.device)]
            rows = rows.double()
            self.moments[part][name] = self.moments[part].get(name, 0) + rows.T @ rows

        show_inputs(self.clip, pairs["images"], add)

    def edit(self) -> None:
        """Edit every map."""
        maps = linear_maps(self.clip)
        for name, linear in maps.items():
            retain = importance(self.moments["retain"][name], self.h.retain_alpha)
            forget = importance(self.moments["forget"][name], self.h.forget_alpha)
            linear.follow_input(forgetting_projection(forget, retain).T)
        self.report.update(images_seen=dict(self.images), maps=len(maps))


def importance(moment: Tensor, alpha: float) -> Tensor:
    """M = U diag(lambda) U^T from R R^T = U diag(s^2) U^T, shape (d, d): symmetric, eigenvalues in [0, 1].

    Args:
        moment: R R^T, or any multiple of it.
        alpha: At least 1; 1 leaves the share q_i itself.
    """
    values, vectors = torch.linalg.eigh(moment.double())
    energy = values.clamp_min(0)
    share = energy / energy.sum().clamp_min(torch.finfo(energy.dtype).tiny)
    scaled: Tensor = vectors * (alpha * share / ((alpha - 1) * share + 1))
    symmetric: Tensor = scaled @ vectors.T
    return symmetric


def forgetting_projection(forget: Tensor, retain: Tensor) -> Tensor:
    """P = I - (M_f - M_f M_r), shape (d, d)."""
    eye = torch.eye(len(forget), dtype=forget.dtype, device=forget.device)
    return eye - (forget - forget @ retain)
