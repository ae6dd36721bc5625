"""Multinomial logistic regression with an L2 penalty an axis, by full-batch L-BFGS.

    minimise  sum over i of ( log sum_c exp(z_ic) - z_i,y_i ) + 1/2 sum over j of l_j ||w_j||^2,      z_i = W^T x_i + b

with x_i (K values), one row w_j of W (K, C) an axis, and a free intercept b (C). The sum over the images, not their
mean, stands beside the penalty, as in the linear probe of CLIP (Radford et al. 2021, appendix A.3): a penalty then
means the same prior for any number of images. The problem is convex with one solution (up to a constant in b), so the
solver is no part of the measure.

Axes must be centred and uncorrelated with unit variance (`linear_probe` sees to it). Then the curvature along axis j is
about n/C + l_j, where the C classes are equally likely; dividing by its root first saves more than half of the steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from benchmark.evaluation.families import NotMeasurableError
from benchmark.evaluation.numerics.features import NOISE

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
    significant = variance > NOISE**2 * size
    if not bool(significant.any()):
        raise NotMeasurableError("the train features are the same for every image")
    return PrincipalAxes(mean, directions[:, significant], variance[significant].sqrt())


MEMORY = 10
"""Pairs of steps and gradients that L-BFGS keeps (Nocedal & Wright, chapter 7: 3 to 20)."""
MOST_STEPS = 300
"""Our choice; 10 to 60 are needed, except where classes are separable and the penalty is next to nothing."""
TOLERANCE = 1e-7
"""Ends where a step lowers the mean loss by less, our choice: about what float32 products resolve."""
LOWEST_LOG = -60.0
"""Log probabilities are cut here in the gradient, where 1e-26 is nothing: denormal numbers make products tens of times
slower."""


@dataclass(frozen=True)
class LinearClassifier:
    """A fitted regression.

    Attributes:
        weight: W, shape (K, C), float32.
        bias: b, shape (C,), float32.
    """

    weight: Tensor
    bias: Tensor

    def logits(self, features: Tensor) -> Tensor:
        """z of the module's formula, shape (N, C).

        Args:
            features: On the axes of the fit, shape (N, K).
        """
        return torch.addmm(self.bias, features, self.weight)


def fit(
    features: Tensor, labels: Tensor, penalty: Tensor, classes: int, *, start: LinearClassifier | None = None
) -> LinearClassifier:
    """The minimiser of the module's formula.

    Args:
        features: x, centred, uncorrelated, unit variance, shape (N, K), float32.
        labels: y, in [0, C), shape (N,).
        penalty: l, above 0, shape (K,).
        classes: C.
        start: Where to begin; the fit of a similar penalty saves steps. None begins at 0.
    """
    problem = _Problem(features, labels, penalty, classes)
    first = np.zeros((features.shape[1] + 1) * classes) if start is None else problem.pack(start)
    options = {"maxiter": MOST_STEPS, "maxcor": MEMORY, "ftol": TOLERANCE, "gtol": 1e-9}
    solver: Any = minimize  # its typed overloads, where installed, do not know a callable object with a gradient
    solution = solver(problem, first, jac=True, method="L-BFGS-B", options=options)
    return problem.unpack(solution.x)


class _Problem:
    """Mean loss and gradient in the scaled variables v_j = w_j sqrt(1/C + l_j/n), a = b / sqrt(C)."""

    def __init__(self, features: Tensor, labels: Tensor, penalty: Tensor, classes: int) -> None:
        self.features, self.labels = features, labels[:, None]
        self.count, self.classes = len(features), classes
        self.penalty = penalty.to(features.device, torch.float32)[:, None]
        self.scale = (1 / classes + self.penalty / self.count).rsqrt()
        self.bias_scale = math.sqrt(classes)

    def pack(self, model: LinearClassifier) -> NDArray[np.float64]:
        """The scaled variables of a classifier, in one row."""
        stacked = torch.cat([model.weight / self.scale, model.bias[None] / self.bias_scale])
        return np.asarray(stacked.double().cpu().numpy(), dtype=np.float64).ravel()

    def unpack(self, variables: NDArray[np.float64]) -> LinearClassifier:
        """The classifier of scaled variables."""
        stacked = torch.from_numpy(variables).view(-1, self.classes).to(self.features.device, torch.float32)
        return LinearClassifier(stacked[:-1] * self.scale, stacked[-1] * self.bias_scale)

    def __call__(self, variables: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        model = self.unpack(variables)
        logits = model.logits(self.features)
        logs = torch.log_softmax(logits, dim=1)
        loss = -logs.gather(1, self.labels).double().sum()
        loss += 0.5 * (self.penalty * model.weight.square()).double().sum()
        residual = logs.clamp_(min=LOWEST_LOG).exp_()
        residual.scatter_add_(1, self.labels, residual.new_full(self.labels.shape, -1.0))
        slope = torch.addmm(self.penalty * model.weight, self.features.T, residual) * self.scale
        stacked = torch.cat([slope, residual.sum(dim=0, keepdim=True) * self.bias_scale])
        gradient = stacked.double().cpu().numpy().ravel() / self.count
        return float(loss) / self.count, gradient
