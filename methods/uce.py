"""UCE: unified concept editing (Gandikota et al., WACV 2024, arXiv 2308.14761, equation 7), on CLIP's text projection.

    min_W  l ||W - W0||_F^2  +  e sum_f ||W c_f - v_f||^2  +  p sum_r ||W c_r - W0 c_r||^2
    W = (l W0 + e sum_f v_f c_f^T + p sum_r W0 c_r c_r^T) (l I + e sum_f c_f c_f^T + p sum_r c_r c_r^T)^-1

c_f and c_r are the text features (columns) of the prompts to forget and to preserve, W0 the old weight, and v_f the
old output W0 c_0 for the neutral prompt: the same template with an empty name. Where a model cannot read an empty name,
the mean of the outputs for the retained names in that template stands for it.

What W is. UCE edits the linear maps of a diffusion model that read the text encoder's last features: the keys and
values of cross-attention. CLIP has one linear map that reads these very features, the text projection, so it is what is
edited here, and the features have the scale that the paper's (l, e, p) were made for. Afterwards the class weight of a
forgotten name is close to that of "a photo of a", and images of the class are nearer to other names. The other choice,
following the visual projection by W as CCUP does, has W0 = I and keys of unit norm: with v_f = 0 and
(l, e, p) = (1, lambda, mu) it is CCUP itself (shown in the tests), so it would be no other method. The price of the
text side: the image encoder still knows the class, and a probe on image features, or the old text encoder, finds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from methods.common.base import ClosedFormMethod
from methods.common.card import MethodCard, hyper
from methods.common.projections import text_features, text_projection
from methods.common.zero_shot import prompts

CARD = MethodCard(
    name="uce",
    title="closed-form edit of the text projection: forgotten names answer as an empty prompt",
    paper="Gandikota et al., WACV 2024, arXiv 2308.14761",
    regime="names",
    edits=("text",),
    needs=("text projection",),
    stochastic=False,
    deviations=(
        "Carried over from the attention layers of Stable Diffusion to CLIP's text projection.",
        "Small CLIPs: the target is a mean of retained names, because their empty prompt has a direction of its own.",
    ),
)


@dataclass(frozen=True)
class Hyperparameters:
    """The weights of the three terms."""

    identity_weight: float = hyper(
        0.5,
        low=1e-9,
        source="l; official code",
    )
    erase_weight: float = hyper(1.0, low=0.0, source="e; official code")
    preserve_weight: float = hyper(1.0, low=0.0, source="p; official code")
    neutral: Literal["empty", "mean"] = hyper(
        "empty",
        source="official code: the empty prompt, unless its user names another; here in the template",
        small="mean",
        small_source="our choice, on suite `development`: a small CLIP never read an empty name and answers at random",
    )
    preserve_names: Literal["dataset", "none", "all"] = hyper(
        "dataset",
        source="the paper preserves what its user lists: here the data set's other names (our choice, as for CCUP), "
        "none, or also the names of the other data sets",
    )


class UCE(ClosedFormMethod[Hyperparameters]):
    """Replaces the text projection by W."""

    card = CARD

    def edit(self) -> None:
        """Solve for W in float64 and store it."""
        spec, projection = self.spec, text_projection(self.clip)
        old = projection.matrix.double().T
        solution = unified_edit(
            old,
            erase=text_features(self.clip, prompts(spec.forget_names, spec.templates)).T,
            targets=old @ self._neutral().repeat(len(spec.forget_names), 1).T,
            preserve=self._preserved().T,
            weights=(self.h.identity_weight, self.h.erase_weight, self.h.preserve_weight),
        )
        projection.replace(solution.T)

    def _neutral(self) -> Tensor:
        """c_0 of each template, shape (templates, width)."""
        spec = self.spec
        names = ("",) if self.h.neutral == "empty" else spec.retain_names
        features = text_features(self.clip, prompts(names, spec.templates))
        return features.view(len(names), len(spec.templates), -1).mean(dim=0)

    def _preserved(self) -> Tensor:
        spec, chosen = self.spec, self.h.preserve_names
        texts = [] if chosen == "none" else prompts(spec.retain_names, spec.templates)
        if chosen == "all":
            texts = [
                *texts,
                *(prompt for name_set in spec.others for prompt in prompts(name_set.names, name_set.templates)),
            ]
        return text_features(self.clip, texts or [""])[: len(texts)]


def unified_edit(
    old: Tensor, *, erase: Tensor, targets: Tensor, preserve: Tensor, weights: tuple[float, float, float]
) -> Tensor:
    """W in float64, shape (D, width).

    Args:
        old: W0, shape (D, width).
        erase: c_f as columns, shape (width, m_f).
        targets: v_f as columns, shape (D, m_f).
        preserve: c_r as columns, shape (width, m_r); may have no columns.
        weights: (l, e, p), l > 0.
    """
    old, erase, targets, preserve = old.double(), erase.double(), targets.double(), preserve.double()
    identity_weight, erase_weight, preserve_weight = weights
    preserved = identity_weight * torch.eye(len(erase), dtype=torch.float64, device=erase.device)
    preserved = preserved + preserve_weight * preserve @ preserve.T
    wanted = old @ preserved + erase_weight * targets @ erase.T
    # W S = wanted with S symmetric positive definite, so W^T = S^-1 wanted^T.
    factor = torch.linalg.cholesky(preserved + erase_weight * erase @ erase.T)
    return torch.cholesky_solve(wanted.T, factor).T
