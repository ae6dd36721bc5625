"""Composite scores.

    S = 1/(2+k) [ AF_t / BF_t + max(0, (BF_o - AF_o)/BF_o) + sum over k other data sets of max(0, (BF_d - AF_d)/BF_d) ]
    H = 2 (1 - A_f) A_r / ((1 - A_f) + A_r)

S: Kravets & Namboodiri, WACV 2025 (there k = 3): BF before and AF after forgetting, t the forget set, o the retain set,
d another data set; lower is better, doing nothing scores 1/(2+k). H: harmonic mean of forgetting and retention, higher
is better. For a request by class the accuracies are acc1; for a request by concept mean recalls (our choice, the
field's mR: the mean of recall@1, 5, 10 both ways).
"""

from __future__ import annotations

from collections.abc import Sequence


def kravets(
    *,
    forget: tuple[float, float],
    retain: tuple[float, float],
    others: Sequence[tuple[float, float]],
) -> float | None:
    """S from (before, after) pairs in [0, 1]; None where a value before forgetting is 0, which leaves S undefined."""
    before_all = [forget[0], retain[0], *(before for before, _ in others)]
    if min(before_all) <= 0:
        return None
    drops = [max(0.0, (before - after) / before) for before, after in (retain, *others)]
    return (forget[1] / forget[0] + sum(drops)) / (2 + len(others))


def harmonic(forget: float, retain: float) -> float:
    """H from the accuracies after forgetting, in [0, 1]; 0 where both parts are 0."""
    forgetting = 1.0 - forget
    if forgetting + retain == 0:
        return 0.0
    return 2 * forgetting * retain / (forgetting + retain)
