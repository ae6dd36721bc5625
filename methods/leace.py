"""LEACE: least-squares concept erasure (Belrose et al., NeurIPS 2023, arXiv 2306.03819), on the image embeddings.

    r(v) = v - W^+ Pi W (v - E v),   W = (S^1/2)^+,   Pi projects on the columns of W S_vz

S is the covariance of the embeddings v (columns here), z says which name to forget an image is of (one column a name,
all zero for retained images), S_vz = Cov(v, z). Afterwards Cov(r(v), z) = 0, so no linear classifier, whatever convex
loss it is fitted with, does better than the constant on the fitted data; and r changes v least in mean square.

v are the embeddings before they are normalised, of train images: each image once, the two parts weighted as they are
in the train split. Cov(r(v), z) = 0 says that every class mean equals the mean of all, which is linear in v and holds
for unseen images only as far as the means do; normalising r(v) is not linear, and nothing is promised behind it.

r follows the visual projection. Where that has a bias (ResNet), the constant goes there. A ViT's has none, so r must be
linear: v -> A v. Guardedness needs A S_vz = 0 alone, since a constant shifts all classes alike, and among these maps
A = I - W^+ Pi W is least in E||A v - v||^2 if S is the uncentred second moment M = E v v^T: with B = A - I,
E||B v||^2 = ||B M^1/2||_F^2 under B S_vz = -S_vz, whose least solution is B = -S_vz (W S_vz)^+ W = -W^+ Pi W. (The
centred A without its constant would guard as well, but move the mean of all images for nothing.)

The authors' package `concept-erasure` (0.2.4) needs only torch and gives the same matrix in the affine case. It is not
used: it has neither the linear case nor weights of the parts, and by default it shrinks S and bounds its trace.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from datamodules.common.module import ForgetSpec, Pairs, Part
from methods.common.base import GatheringMethod
from methods.common.card import MethodCard, hyper
from methods.common.clip import Clip
from methods.common.projections import visual_projection

CARD = MethodCard(
    name="leace",
    title="least change of the embeddings after which no linear classifier finds the class",
    paper="Belrose et al., NeurIPS 2023, arXiv 2306.03819",
    regime="forget+retain",
    edits=("visual projection",),
)


@dataclass(frozen=True)
class Hyperparameters:
    """How many images the moments are from."""

    batch_size: int = hyper(
        256, low=1, source="our choice, for the memory of one GPU", small=100, small_source="our choice, for 2 cores"
    )
    max_steps: int | None = hyper(
        40, low=1, source="our choice: ten thousand retain images fix a covariance of 1024 dimensions; null: all images"
    )


class Leace(GatheringMethod[Hyperparameters]):
    """Gathers moments of the embeddings by class, then follows the visual projection by r."""

    card = CARD

    def __init__(self, clip: Clip, spec: ForgetSpec, hyperparameters: Hyperparameters) -> None:
        super().__init__(clip, spec, hyperparameters)
        self.classes: dict[tuple[Part, int], Moments] = {}

    def gather(self, part: Part, pairs: Pairs) -> None:
        """Add to the moments: one class for each name to forget, one for all retained images."""
        embeddings = self.clip.encode_image(pairs["images"]).double()
        by_name = part == "forget" and bool(self.spec.request.classes)
        labels = pairs["labels"] if by_name else torch.zeros_like(pairs["labels"])
        for label in sorted(set(labels.tolist())):
            moments = self.classes.setdefault((part, label), Moments.none(embeddings))
            moments.add(embeddings[labels == label])

    def edit(self) -> None:
        """Solve for r in float64 and compose it."""
        projection = visual_projection(self.clip)
        shares = self._shares()
        means = torch.stack([moments.mean for moments in self.classes.values()], dim=1)
        second = torch.stack([moments.second for moments in self.classes.values()], dim=2) @ shares
        mean = means @ shares
        forgotten = [column for column, (part, _) in enumerate(self.classes) if part == "forget"]
        cross = ((means - mean[:, None]) * shares)[:, forgotten]
        if projection.bias is not None:
            second = second - torch.outer(mean, mean)
        eraser = least_squares_eraser(second, cross)
        projection.compose(eraser.T)
        if projection.bias is not None:
            projection.bias.add_((mean - eraser @ mean).to(projection.bias))

    def _shares(self) -> Tensor:
        """Each class's share of the train split, shape (classes,): its share of what was seen of its part."""
        sizes, seen = self.data.sizes, dict.fromkeys(self.data.sizes, 0)
        for (part, _), moments in self.classes.items():
            seen[part] += moments.count
        self.report.update(images_seen=dict(seen))
        shares = [sizes[part] * moments.count / seen[part] for (part, _), moments in self.classes.items()]
        like = next(iter(self.classes.values())).total
        return torch.tensor(shares, dtype=like.dtype, device=like.device) / sum(sizes.values())


@dataclass
class Moments:
    """The sums of a class: how many embeddings, their sum, shape (D,), and that of their outer products, (D, D)."""

    count: int
    total: Tensor
    outer: Tensor

    @classmethod
    def none(cls, like: Tensor) -> Moments:
        """Of no embedding yet."""
        return cls(0, like.new_zeros(like.shape[1]), like.new_zeros(like.shape[1], like.shape[1]))

    def add(self, rows: Tensor) -> None:
        """Add embeddings, shape (N, D)."""
        self.count += len(rows)
        self.total += rows.sum(dim=0)
        self.outer += rows.T @ rows

    @property
    def mean(self) -> Tensor:
        """Shape (D,)."""
        return self.total / self.count

    @property
    def second(self) -> Tensor:
        """The uncentred second moment, shape (D, D)."""
        return self.outer / self.count


def least_squares_eraser(second: Tensor, cross: Tensor) -> Tensor:
    """A = I - W^+ Pi W in float64, shape (D, D), for column vectors.

    Directions with less than 1e-12 of the largest second moment are taken as empty: rounding of float32 embeddings.

    Args:
        second: S, shape (D, D): the covariance for an affine r, the uncentred second moment for a linear one.
        cross: S_vz, shape (D, k).
    """
    values, vectors = torch.linalg.eigh(second.double())
    nonzero = values > 1e-12 * values[-1]
    root, vectors = values[nonzero].sqrt(), vectors[:, nonzero]
    whiten, colour = (vectors / root) @ vectors.T, (vectors * root) @ vectors.T
    basis, sizes, _ = torch.linalg.svd(whiten @ cross.double(), full_matrices=False)
    basis = basis[:, sizes > 1e-6 * sizes[0]]
    eye = torch.eye(len(second), dtype=torch.float64, device=second.device)
    eraser: Tensor = eye - colour @ basis @ basis.T @ whiten
    return eraser
