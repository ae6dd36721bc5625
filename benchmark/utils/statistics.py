"""Intervals for what the benchmark reports, each where it keeps its promise of 95 % coverage.

- `wilson`, a proportion of n test items: 92 to 97 % at n of 100 and 500, also near 0 and 1, where forget accuracy lies.
- `t_interval`, a mean over a few cells: the percentile bootstrap of three values covers 75 %, not 95 %.
- `paired_t`, a mean of paired differences over requests: as `t_interval`, and careful where all are equal.
- `holm`, which of many tests hold together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

CONFIDENCE = 0.95
Z95 = 1.959963984540054
"""The 97.5 % quantile of the standard normal distribution."""
_EQUAL = 1e-9
"""Two differences closer than this are equal but for rounding: metrics are of order 1."""


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % confidence interval, in the unit of the values.

    Attributes:
        mean: The arithmetic mean.
        low: Lower end; None where one value leaves the spread unknown.
        high: Upper end; None where `low` is.
        n: How many values went in.
    """

    mean: float
    low: float | None
    high: float | None
    n: int


def wilson(successes: float, n: int) -> tuple[float, float]:
    """The 95 % score interval of a proportion (Wilson, 1927).

    Args:
        successes: How many of the n, in [0, n]; a fraction where a mean of recalls stands for a proportion.
        n: How many were tried.

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
        values: One number a cell; with one alone the ends are None.

    Raises:
        ValueError: If there is no value or one is not finite.
    """
    mean = _mean(values)
    n = len(values)
    if n == 1:
        return Interval(mean, None, None, 1)
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
        The interval and p in [0, 1]; one difference has no ends and p = 1. The ends exclude zero where p < 5 %.

    Raises:
        ValueError: If there is no difference or one is not finite.
    """
    interval = t_interval(differences)
    mean, n = interval.mean, interval.n
    if max(differences) - min(differences) <= _EQUAL:
        p = 1.0 if abs(mean) <= _EQUAL else min(1.0, 2 * 0.5**n)
        end = mean if p < 1 - CONFIDENCE else None
        return Interval(mean, end, end, n), p
    from scipy.special import stdtr

    # The variance is taken anew rather than from the interval's width, which a large mean would round.
    error = math.sqrt(math.fsum((d - mean) ** 2 for d in differences) / (n - 1) / n)
    return interval, float(2 * stdtr(n - 1, -abs(mean) / error))


def holm(p_values: Sequence[float]) -> list[bool]:
    """Which of many hypotheses are rejected so that all rejections hold together with 95 % (Holm, 1979).

    Args:
        p_values: One a hypothesis, in any order; they may depend on each other in any way.

    Returns:
        For each whether it is rejected, in the order of the p values.
    """
    rejected = [False] * len(p_values)
    for done, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[place] >= (1 - CONFIDENCE) / (len(p_values) - done):
            break
        rejected[place] = True
    return rejected


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
