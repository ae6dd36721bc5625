"""Null-space edit, as AlphaEdit does it (Fang et al., ICLR 2025, arXiv 2410.02355): retained names answer as before.

K1 and K0 hold the unit text embeddings of the names to forget and to retain as columns: the keys. W0 = I acts on the
joint space, V1 = 0 is what the forgotten keys should give, R = V1 - W0 K1 = -K1. P projects on the null space of
K0 K0^T: the smallest eigenvalues that together hold at most a given share of its trace, so that the retained keys lose
no more than that share of their squared length to it, however many they are. The edit is confined to it, W = W0 + D P,
so W K0 = W0 K0. D is chosen by

    min_D  ||(W0 + D P) K1 - V1||_F^2 + g ||D P||_F^2
    D P = R K1^T P (K1 K1^T P + g I)^-1 = R (K1^T P K1 + g I)^-1 K1^T P

Derivation: the gradient in D is 2 (D P K1 - R) K1^T P + 2 g D P (P is symmetric, P P = P). Zero for
D P (K1 K1^T P + g I) = R K1^T P, the paper's closed form (without its term of former edits). The second form, from
K1^T P (K1 K1^T P + g I) = (K1^T P K1 + g I) K1^T P, needs only one equation a name.

Where W goes is as for CCUP: the visual projection is followed by W, so logits are v . (W t). A forgotten name's own
logit keeps the share g / (g + ||P t||^2). Little is left of ||P t|| where the retained names nearly span the forgotten
one; forgetting then needs a long D P, which moves images along directions that no retained name watches. Where they
span the whole space the null space is empty and nothing changes. The report tells its dimension and the shares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from methods.common.base import ClosedFormMethod
from methods.common.card import MethodCard, hyper
from methods.common.projections import visual_projection

CARD = MethodCard(
    name="nullspace_edit",
    title="forget within the null space of the retained names, which stay exactly as they were",
    paper="Fang et al., ICLR 2025, arXiv 2410.02355 (AlphaEdit)",
    regime="names",
    edits=("visual projection",),
    stochastic=False,
    deviations=(
        "Keys are the prompts of the retained names; the source takes 100,000 samples of running text.",
        "The null space holds a share of the trace; the source bounds each eigenvalue of the mean by 2e-2, which would "
        "call most retained names null where few share the trace.",
        "The edit is that of the joint space after the last layer, not of five layers of a language model.",
    ),
)


@dataclass(frozen=True)
class Hyperparameters:
    """Of the null space and of the edit."""

    threshold: float = hyper(
        1e-3,
        low=0.0,
        high=1.0,
        source="share of the trace; our choice: the official 2e-2 bounds an eigenvalue of the mean of 100,000 keys",
    )
    regularisation: float = hyper(
        1e-2,
        low=1e-12,
        source="g; our choice, 1/lambda of CCUP: the paper's 1 (10 in its code) is made for much longer keys",
    )
    retain_names: Literal["dataset", "all"] = hyper(
        "dataset", source="our choice, as for CCUP: the data set's other names, or also those of the other data sets"
    )


class NullspaceEdit(ClosedFormMethod[Hyperparameters]):
    """Follows the visual projection by W."""

    card = CARD

    def edit(self) -> None:
        """Solve for W in float64 and compose it."""
        embeddings, count = self.classifier().T.double(), len(self.spec.forget_names)
        forget, retain = embeddings[:, :count], embeddings[:, count:]
        if self.h.retain_names == "all":
            beside = [
                self.clip.zero_shot_classifier(name_set.names, name_set.templates).T for name_set in self.spec.others
            ]
            retain = torch.cat([retain, *(weights.double() for weights in beside)], dim=1)
        basis = null_space(retain, self.h.threshold)
        solution = null_space_edit(forget, basis, regularisation=self.h.regularisation)
        logit_kept = (forget * (solution @ forget)).sum(dim=0)
        self.report.update(null_space_dimension=basis.shape[1], dimension=len(basis), logit_kept=logit_kept.tolist())
        visual_projection(self.clip).compose(solution)


def null_space(keys: Tensor, threshold: float) -> Tensor:
    """An orthonormal basis of the null space of keys as columns, shape (D, m): float64, shape (D, k), k perhaps 0.

    Args:
        keys: K0.
        threshold: Share of the trace of K0 K0^T that its smallest eigenvalues may hold to belong to the null space; 0
            counts as rounding.
    """
    values, vectors = torch.linalg.eigh(keys.double() @ keys.double().T)
    values = values.clamp_min(0)
    basis: Tensor = vectors[:, values.cumsum(0) <= max(threshold, 1e-12) * values.sum()]
    return basis


def null_space_edit(forget: Tensor, basis: Tensor, *, regularisation: float) -> Tensor:
    """W = I + D P in float64, shape (D, D).

    Args:
        forget: K1, shape (D, m).
        basis: Of the null space, shape (D, k), orthonormal: P = basis basis^T.
        regularisation: g > 0.
    """
    forget = forget.double()
    inside = basis @ (basis.T @ forget)
    eye = torch.eye(len(forget), dtype=torch.float64, device=forget.device)
    small = torch.eye(forget.shape[1], dtype=torch.float64, device=forget.device)
    edited: Tensor = eye - forget @ torch.linalg.solve(inside.T @ inside + regularisation * small, inside.T)
    return edited
