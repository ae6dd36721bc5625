"""Intervals for what the benchmark reports, each where it keeps its promise of 95 % coverage.

- `wilson`, a proportion of n test items: 92 to 97 % at n of 100 and 500, also near 0 and 1, where forget accuracy lies.
- `t_interval`, a mean over a few cells: the percentile bootstrap of three values covers 75 %, not 95 %.
- `paired_t`, a mean of paired differences over requests: as `t_interval`, and careful where all are equal.
- `holm`, which of many tests hold together.
- `clustered`, a proportion of items that are not independent, such as the captions of one image.
- `skewness`, and from which on Student's t of so few values is not to be trusted.
- `kendalls_tau`, how alike two orders are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
Z95 = 1.959963984540054
"""The 97.5 % quantile of the standard normal distribution."""
LEAST_VALUES = 3
"""The fewest values with an interval: two have one degree of freedom, and ends 12.7 standard errors away."""
_EQUAL = 1e-9
"""Two differences closer than this are equal but for rounding: metrics are of order 1."""
MANY_VALUES = 50
"""From so many values on the mean is close enough to normal, whatever their skewness here."""


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % confidence interval, in the unit of the values.

    Attributes:
        mean: The arithmetic mean.
        low: Lower end; None where too few values leave the spread unknown.
        high: Upper end; None where `low` is.
        n: How many values went in.
    """

    mean: float
    low: float | None
    high: float | None
    n: int


def wilson(successes: float, n: float) -> tuple[float, float]:
    """The 95 % score interval of a proportion (Wilson, 1927).

    Args:
        successes: How many of the n, in [0, n]; a fraction where a mean of recalls stands for a proportion.
        n: How many were tried; a fraction where it is what dependent items are worth (`clustered`).

    Returns:
        Lower and upper end, in [0, 1].

    Raises:
        ValueError: If n is not positive or successes are not in [0, n].
    """
    if n <= 0:
        raise ValueError(f"a proportion of {n} items has no interval")
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} are not a proportion")
    p, z2 = successes / n, Z95 * Z95
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    # The interval always holds p; at 0 and n rounding could push an end past it.
    return max(0.0, min(middle - half, p)), min(1.0, max(middle + half, p))


def t_interval(values: Sequence[float]) -> Interval:
    """The mean of a few independent values with Student's 95 % interval of n - 1 degrees of freedom.

    Args:
        values: One number a request; with fewer than `LEAST_VALUES` the ends are None.

    Raises:
        ValueError: If there is no value or one is not finite.
    """
    mean = _mean(values)
    n = len(values)
    if n < LEAST_VALUES:
        return Interval(mean, None, None, n)
    deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    half = _t_quantile(n - 1) * deviation / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


def paired_t(differences: Sequence[float]) -> tuple[Interval, float]:
    """The mean of independent paired differences, its 95 % t interval, and the p value of a zero mean (two-sided).

    Metrics are counts over items, so a few differences can be equal by chance; Student's t would then give an
    interval of no width. For equal accuracies over 20 to 100 items and two requests that claims a difference in up
    to 12 % of cases, not 5 % (simulated). Such differences are judged by their sign alone (sign test, Arbuthnott,
    1710): six are the fewest with p below 5 %. With fewer the ends are None. Our choice.

    Args:
        differences: One for each unit that varies independently.

    Returns:
        The interval and p in [0, 1]; fewer than `LEAST_VALUES` differences have no ends and p = 1. The ends exclude
        zero where p < 5 %.

    Raises:
        ValueError: If there is no difference or one is not finite.
    """
    interval = t_interval(differences)
    mean, n = interval.mean, interval.n
    if n < LEAST_VALUES:
        return interval, 1.0
    p = float(zero_mean_p(differences))
    if max(differences) - min(differences) <= _EQUAL:
        end = mean if p < 1 - CONFIDENCE else None
        return Interval(mean, end, end, n), p
    return interval, p


def zero_mean_p(differences: ArrayLike) -> NDArray[np.float64]:
    """The two-sided p value of a zero mean for many sets of paired differences at once, by the rule of `paired_t`.

    Args:
        differences: Shape (..., n), finite; n of at least `LEAST_VALUES`.

    Returns:
        Shape (...), in [0, 1].
    """
    import numpy as np
    from scipy.special import stdtr

    values = np.asarray(differences, dtype=np.float64)
    n = values.shape[-1]
    mean = values.mean(axis=-1)
    deviation = values.std(axis=-1, ddof=1)
    equal = np.ptp(values, axis=-1) <= _EQUAL
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stdtr(n - 1, -np.abs(mean) * math.sqrt(n) / deviation)
    by_sign = np.where(np.abs(mean) <= _EQUAL, 1.0, min(1.0, 2 * 0.5**n))
    chosen: NDArray[np.float64] = np.where(equal, by_sign, p)
    return chosen


def holm(p_values: ArrayLike) -> NDArray[np.bool_]:
    """Which of many hypotheses are rejected so that all rejections hold together with 95 % (Holm, 1979).

    Args:
        p_values: One a hypothesis, shape (..., m), in any order; they may depend on each other in any way. Each set
            along the last axis is corrected for itself.

    Returns:
        For each whether it is rejected, in the shape of the p values.
    """
    import numpy as np

    values = np.asarray(p_values, dtype=np.float64)
    count = values.shape[-1]
    order = np.argsort(values, axis=-1, kind="stable")
    below = np.take_along_axis(values, order, axis=-1) < (1 - CONFIDENCE) / (count - np.arange(count))
    rejected = np.zeros(values.shape, dtype=np.bool_)
    np.put_along_axis(rejected, order, np.logical_and.accumulate(below, axis=-1), axis=-1)
    return rejected


def holm_adjusted(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p values: below 5 % exactly where `holm` rejects; in the order of the p values, in [0, 1]."""
    adjusted, largest = [1.0] * len(p_values), 0.0
    for done, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, p_values[place] * (len(p_values) - done)))
        adjusted[place] = largest
    return adjusted


def clustered(hits: ArrayLike, clusters: ArrayLike) -> tuple[float, float]:
    """The 95 % interval of a proportion of items that come in clusters, such as the five captions of an image.

    Wilson's interval with the effective number of items: that of independent ones whose proportion would vary as
    much as this one does between clusters (Korn & Graubard, Survey Methodology 1998, 24:193). It is never above the
    number of items, and that of clusters where none or all are hits.

    Args:
        hits: Which items are hits, shape (N,), boolean.
        clusters: The cluster of each item, shape (N,), from 0.

    Returns:
        Lower and upper end, in [0, 1].

    Raises:
        ValueError: If there is no item.
    """
    import numpy as np

    hit, cluster = np.asarray(hits, dtype=np.float64), np.asarray(clusters)
    if hit.size == 0:
        raise ValueError("a proportion of no items has no interval")
    share = float(hit.mean())
    sizes = np.bincount(cluster)
    residuals = (np.bincount(cluster, weights=hit) - share * sizes)[sizes > 0]
    count = len(residuals)
    variance = float((residuals**2).sum()) / hit.size**2 * count / max(1, count - 1)
    effective = float(count) if variance <= 0 else min(float(hit.size), share * (1 - share) / variance)
    return wilson(share * effective, effective)


def skewness(values: Sequence[float]) -> float | None:
    """The sample skewness G1 (Joanes & Gill, 1998); None for fewer than three values or where all are equal."""
    n = len(values)
    mean = _mean(values)
    second = math.fsum((value - mean) ** 2 for value in values) / n
    if n < LEAST_VALUES or max(values) - min(values) <= _EQUAL:
        return None
    third = math.fsum((value - mean) ** 3 for value in values) / n
    return float(math.sqrt(n * (n - 1)) / (n - 2) * third / second**1.5)


def is_skewed(values: Sequence[float]) -> bool:
    """Whether so few values are so skewed that Student's t claims more than it may.

    True where the sample skewness is beyond twice its standard error under a normal distribution, and there are fewer
    than `MANY_VALUES`: 1.4 for ten values, 1.0 for twenty. Three values have never as much.

    Args:
        values: Paired differences, one a request.
    """
    n, skew = len(values), skewness(values)
    if skew is None or n >= MANY_VALUES:
        return False
    return abs(skew) > 2 * math.sqrt(6 * n * (n - 1) / ((n - 2) * (n + 1) * (n + 3)))


def kendalls_tau(first: Sequence[float], second: Sequence[float]) -> float:
    """Kendall's tau-b of two rows of values: 1 for the same order, 0 for unrelated ones, -1 for opposite ones.

    Args:
        first: A value for each of at least two things.
        second: Another value for each of them.
    """
    from scipy.stats import kendalltau  # takes longer to import than the whole leaderboard

    return float(kendalltau(first, second).statistic)


def _mean(values: Sequence[float]) -> float:
    if len(values) == 0:
        raise ValueError("no values: their mean and interval do not exist")
    if not all(math.isfinite(v) for v in values):
        raise ValueError("a value is not finite: the mean and interval do not exist")
    return math.fsum(values) / len(values)


@lru_cache(maxsize=256)
def _t_quantile(degrees: int) -> float:
    # scipy.special alone: importing scipy.stats takes longer than the whole leaderboard.
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 1 - (1 - CONFIDENCE) / 2))
