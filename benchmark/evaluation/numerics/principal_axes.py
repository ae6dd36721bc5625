"""The principal axes of features, and features standardised along them (whitened).

With mean m and covariance C = U diag(s^2) U^T of the train features, x becomes (x - m) U diag(1/s): mean 0, variance 1,
uncorrelated. An invertible linear map of the features changes the result by a rotation only. All in float64: an axis
with a millionth of the spread of the largest one has 1e-12 of its variance, which float32 sums do not resolve.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.evaluation.numerics.features import NOISE
from benchmark.evaluation.unmeasurable import NotMeasurableError

CHUNK = 4096
"""Rows in float64 at once, our choice: 32 MB at a width of 1024."""


@dataclass(frozen=True)
class PrincipalAxes:
    """The axes along which features vary.

    Attributes:
        mean: Of the train features, shape (D,), float64.
        directions: Unit norm, orthogonal, shape (D, K), float64.
        spread: Standard deviation along each, shape (K,), float64.
    """

    mean: Tensor
    directions: Tensor
    spread: Tensor

    def whiten(self, features: Tensor) -> Tensor:
        """Features on the axes, with unit variance for the train features; shape (N, K), float32."""
        turn = self.directions / self.spread
        return torch.cat([((part.double() - self.mean) @ turn).float() for part in torch.split(features, CHUNK)])


def principal_axes(features: Tensor) -> PrincipalAxes:
    """The principal axes whose spread is more than rounding, in float64.

    Args:
        features: Shape (N, D).

    Raises:
        NotMeasurableError: If there is none: all features are equal.
    """
    mean = features.double().mean(dim=0)
    covariance = torch.zeros(len(mean), len(mean), dtype=torch.float64, device=features.device)
    for part in torch.split(features, CHUNK):
        centred = part.double() - mean
        covariance.addmm_(centred.T, centred)
    covariance /= len(features)
    variance, directions = torch.linalg.eigh(covariance)
    size = covariance.trace() + mean.square().sum()
    kept = variance > NOISE**2 * size
    if not bool(kept.any()):
        raise NotMeasurableError("the train features are the same for every image")
    return PrincipalAxes(mean, directions[:, kept], variance[kept].sqrt())
