"""The intervals against known values; their coverage is in `test_coverage.py`."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.utils.statistics import Interval, kendalls_tau, paired_t, t_interval, wilson

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=30)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # statsmodels, proportion_confint(method="wilson")
    [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (50, 100, 0.4038, 0.5962)],
)
def test_wilson_known_values(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (1, 0), (-1, 5), (6, 5), (math.nan, 5)])
def test_wilson_refuses_what_is_no_proportion(successes: float, n: int) -> None:
    with pytest.raises(ValueError):
        wilson(successes, n)


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_wilson_holds_the_proportion_and_mirrors(n: int, p: float) -> None:
    low, high = wilson(p * n, n)
    assert 0 <= low <= p * n / n <= high <= 1
    mirrored = wilson(n - p * n, n)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-9)


@given(st.integers(1, 500), st.integers(2, 50))
def test_wilson_narrows_with_more_items(n: int, times: int) -> None:
    few, many = wilson(n / 2, n), wilson(n * times / 2, n * times)
    assert many[1] - many[0] < few[1] - few[0]


def test_t_known_value() -> None:
    interval = t_interval([1.0, 2.0, 3.0])
    # 2 ± 4.302653 / sqrt(3)
    assert (interval.low, interval.high) == pytest.approx((2 - 2.484138, 2 + 2.484138), abs=1e-5)
    assert (interval.mean, interval.n) == (2.0, 3)


def test_paired_t_known_value() -> None:
    differences = [1.0, 2.0, 3.0]
    interval, p = paired_t(differences)
    assert interval == t_interval(differences)
    # scipy.stats.ttest_1samp
    assert p == pytest.approx(0.0741799, abs=1e-7)


@settings(deadline=None)  # the first call imports scipy
@given(st.lists(st.floats(-1, 1), min_size=2, max_size=20))
def test_paired_t_excludes_zero_where_p_is_small(differences: list[float]) -> None:
    interval, p = paired_t(differences)
    assert 0 <= p <= 1
    if interval.low is None or interval.high is None:
        assert p >= 0.05
    elif abs(p - 0.05) > 1e-6:
        assert (p < 0.05) == (not interval.low <= 0 <= interval.high)


@pytest.mark.parametrize(("n", "p"), [(1, 1.0), (2, 1.0), (3, 0.25), (5, 0.0625), (6, 0.03125)])
def test_equal_differences_are_judged_by_their_sign(n: int, p: float) -> None:
    interval, found = paired_t([0.1 + 0.2 - 0.25] * (n - 1) + [0.05])
    assert found == p and (interval.low is None) == (p >= 0.05)
    assert paired_t([0.0] * n) == (Interval(0.0, None, None, n), 1.0)


def test_one_value_has_no_interval() -> None:
    assert t_interval([0.5]) == Interval(0.5, None, None, 1)


@pytest.mark.parametrize("values", [[], [math.nan, 1.0], [math.inf, 1.0]])
def test_no_interval_of_nothing_or_of_nan(values: list[float]) -> None:
    with pytest.raises(ValueError):
        t_interval(values)
    with pytest.raises(ValueError):
        paired_t(values)


@settings(deadline=None)  # the first call imports scipy
@given(VALUES, st.floats(-100, 100), st.floats(0.01, 100))
def test_t_moves_and_scales_with_its_values(values: list[float], shift: float, scale: float) -> None:
    before, after = t_interval(values), t_interval([scale * v + shift for v in values])
    assert before.low is not None and before.high is not None
    assert before.low <= before.mean <= before.high
    assert after.low == pytest.approx(scale * before.low + shift, rel=1e-6, abs=1e-2)


@settings(deadline=None)  # the first call imports SciPy
@given(
    st.lists(
        st.tuples(st.integers(-99, 99), st.integers(-99, 99)),
        min_size=2,
        max_size=12,
        unique_by=(lambda p: p[0], lambda p: p[1]),
    )
)
def test_kendalls_tau_is_the_share_of_pairs_in_order_less_that_of_others(values: list[tuple[int, int]]) -> None:
    signs = [(a - c) * (b - d) > 0 for k, (a, b) in enumerate(values) for c, d in values[:k]]
    tau = kendalls_tau([a for a, _ in values], [b for _, b in values])
    assert tau == pytest.approx((2 * sum(signs) - len(signs)) / len(signs))
