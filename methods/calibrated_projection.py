"""Calibrated projection (Chuang et al. 2023, "Debiasing vision-language models via biased prompts", arXiv 2302.00070).

    P = P0 (I + l/|S| sum_(i,j) (z_i - z_j)(z_i - z_j)^T)^-1,     P0 = I - V (V^T V)^-1 V^T

V holds the unit text embeddings of what is to vanish (columns), and S pairs of prompts that should become alike: the
matrix on the right is the minimiser of ||C - I||_F^2 + l/|S| sum ||C z_i - C z_j||^2.

Carried over to forgetting a name. V: the class weights of the names to forget, one direction a name; with several
templates the span of all prompts would also hold their wording. S: the paper pairs prompts of the same content that
differ in the attribute alone. Here the attribute is the forgotten name, so its prompt in a template is paired with the
neutral prompt, the same template with an empty name (or, where a model cannot read an empty name, with the mean of the
retained names in that template). Pairs with each retained name would not do: what is alike to one thing is alike to
each other, and the retained names would collapse. Pairs of two templates of one name differ in wording, which no image
shows, and a single template gives none.

Side: the paper projects the text embeddings and normalises them again. Here P follows the visual projection, so an
image's logit is v . (P t): the same products without the new normalisation, which would undo most of the edit (a text
embedding that is mostly projected out is stretched to unit length).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.common.base import ClosedFormMethod
from methods.common.card import MethodCard, hyper
from methods.common.projections import visual_projection
from methods.common.zero_shot import prompts
from methods.nullspace import partial_projection

CARD = MethodCard(
    name="calibrated_projection",
    title="project the forgotten prompts out, calibrated by pairs of prompts made alike",
    paper="Chuang et al. 2023, arXiv 2302.00070",
    regime="names",
    edits=("visual projection",),
    stochastic=False,
    deviations=(
        "Alike should become a name's prompt and the neutral one; the pairs of the source differ in an attribute.",
        "Small CLIPs: the neutral prompt is a mean of retained names.",
    ),
)


@dataclass(frozen=True)
class Hyperparameters:
    """Of the calibration."""

    calibration_weight: float = hyper(1000.0, low=0.0, source="l; the paper and its official code")
    neutral: Literal["empty", "mean"] = hyper(
        "empty",
        source="our choice, because a prompt that names nothing is content without the attribute",
        small="mean",
        small_source="our choice, on suite `development`: a small CLIP never read an empty name and answers at random",
    )


class CalibratedProjection(ClosedFormMethod[Hyperparameters]):
    """Follows the visual projection by P."""

    card = CARD

    def edit(self) -> None:
        """Compose P."""
        names = self.spec.forget_names
        named = self.classifier()[: len(names)].T
        differences = (self._embed(names) - self._neutral()).flatten(0, 1).T
        solution = calibrated_projection(named, differences, calibration_weight=self.h.calibration_weight)
        visual_projection(self.clip).compose(solution)

    def _embed(self, names: Sequence[str]) -> Tensor:
        """Unit embeddings of every name in every template, shape (names, templates, D)."""
        embedded = self.clip.encode_text(prompts(names, self.spec.templates)).double()
        return F.normalize(embedded, dim=-1).view(len(names), len(self.spec.templates), -1)

    def _neutral(self) -> Tensor:
        """The unit embedding of the neutral prompt of each template, shape (templates, D)."""
        names = ("",) if self.h.neutral == "empty" else self.spec.retain_names
        return F.normalize(self._embed(names).mean(dim=0), dim=-1)


def calibrated_projection(named: Tensor, differences: Tensor, *, calibration_weight: float) -> Tensor:
    """P in float64, shape (D, D).

    Args:
        named: V, shape (D, m).
        differences: z_i - z_j of the pairs as columns, shape (D, |S|).
        calibration_weight: l.
    """
    differences = differences.double()
    eye = torch.eye(len(differences), dtype=torch.float64, device=differences.device)
    spread = differences @ differences.T / max(1, differences.shape[1])
    calibration: Tensor = torch.linalg.inv(eye + calibration_weight * spread)
    return partial_projection(named, 1.0) @ calibration
