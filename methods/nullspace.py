"""Nullspace projection: remove the directions of the forgotten names from the joint space.

    Q = orthonormal basis of span(T_f),   P_alpha = I - alpha Q Q^T,   proj <- proj P_alpha

T_f holds the unit text embeddings of the names to forget as columns. alpha = 1 is the hard projection of CCUP's
abstract, alpha < 1 its partial projection (arXiv 2512.14137; the formula is ours to derive, see methods/ccup.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from methods.common.base import ClosedFormMethod
from methods.common.card import MethodCard, hyper
from methods.common.projections import visual_projection
from methods.common.zero_shot import PLAIN_TEMPLATES

CARD = MethodCard(
    name="nullspace",
    title="project the forgotten names out of the last layer",
    paper="Mishra et al. 2025, arXiv 2512.14137 (plain variant)",
    regime="names",
    edits=("visual projection",),
    stochastic=False,
)


@dataclass(frozen=True)
class Hyperparameters:
    """Of the projection."""

    alpha: float = hyper(1.0, low=0.0, high=1.0, source="CCUP's abstract: hard nullspace projection")
    prompts: Literal["templates", "plain"] = hyper(
        "templates", source='our choice: the prompts of the evaluation; plain: "a photo of a NAME", as the paper writes'
    )


class Nullspace(ClosedFormMethod[Hyperparameters]):
    """Follows the visual projection by P_alpha."""

    card = CARD

    def edit(self) -> None:
        """Compose the projection."""
        templates = PLAIN_TEMPLATES if self.h.prompts == "plain" else self.spec.templates
        forget = self.clip.zero_shot_classifier(self.spec.forget_names, templates).T
        visual_projection(self.clip).compose(partial_projection(forget, self.h.alpha))


def partial_projection(forget: Tensor, alpha: float) -> Tensor:
    """P_alpha for text embeddings as columns, shape (D, m): float64, shape (D, D), symmetric.

    Directions whose singular value is below 1e-6 of the largest are not part of the span.
    """
    basis, values, _ = torch.linalg.svd(forget.double(), full_matrices=False)
    basis = basis[:, values > 1e-6 * values[0]]
    eye = torch.eye(len(forget), dtype=torch.float64, device=forget.device)
    projected: Tensor = eye - alpha * basis @ basis.T
    return projected
