"""What the intervals promise, in simulation: coverage, false claims of a difference, and power."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmark.leaderboards.comparison import Difference, paired_difference, standings
from benchmark.utils.statistics import Interval, paired_t, t_interval, wilson

Array = NDArray[np.float64]
REQUESTS, SEEDS = 5, 3


def covers(intervals: Iterable[Interval], truth: float) -> float:
    """The share of the intervals that hold the truth."""
    found = [i.low <= truth <= i.high for i in intervals if i.low is not None and i.high is not None]
    return sum(found) / len(found)


def paired_bootstrap(values: Sequence[float], *, draws: int = 2000) -> Interval:
    """The mean with its 95 % percentile bootstrap interval (Efron, 1979): what the project does not use, and why."""
    sample = np.asarray(values)
    means = sample[np.random.default_rng(0).integers(0, len(sample), size=(draws, len(sample)))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Interval(float(sample.mean()), float(low), float(high), len(sample))


def margin(rate: float, n: int) -> float:
    """Three standard errors of a rate that n simulations estimate: what Monte Carlo alone may do."""
    return 3 * math.sqrt(rate * (1 - rate) / n)


# -- one proportion, one mean --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p", "n", "coverage"),
    # scipy.stats.binom over the counts that the score test at p accepts
    [
        (0.01, 100, 0.9206),
        (0.01, 500, 0.9623),
        (0.05, 100, 0.9659),
        (0.05, 500, 0.9499),
        (0.5, 100, 0.9431),
        (0.5, 500, 0.9456),
        (0.99, 100, 0.9206),
        (0.99, 500, 0.9623),
    ],
)
def test_wilson(p: float, n: int, coverage: float) -> None:
    """Exact, over all outcomes. Counts are discrete, so no interval covers 95 % at every p: 92 to 97 % here."""
    held = 0.0
    for k in range(n + 1):
        low, high = wilson(k, n)
        if low <= p <= high:
            log = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
            held += math.exp(log + k * math.log(p) + (n - k) * math.log1p(-p))
    assert held == pytest.approx(coverage, abs=1e-4)
    assert 0.92 <= held <= 0.97


def test_the_usual_normal_interval_would_not_do() -> None:
    """p ± 1.96 standard errors: at one error of a hundred items it covers 63 %, which is why Wilson's is used."""
    n, p = 100, 0.01
    hits = np.random.default_rng(0).binomial(n, p, 4000) / n
    half = 1.96 * np.sqrt(hits * (1 - hits) / n)
    assert 0.60 <= np.mean(np.abs(hits - p) <= half) <= 0.66


@pytest.mark.parametrize("n", [3, 5])
def test_t(n: int) -> None:
    samples = np.random.default_rng(n).normal(0.3, 0.05, size=(4000, n)).tolist()
    assert abs(covers(map(t_interval, samples), 0.3) - 0.95) <= margin(0.95, 4000)


def test_the_percentile_bootstrap_of_three_values_covers_three_quarters() -> None:
    """Why it is no interval for seeds or few requests; with a hundred items it is one.

    A resample is three times the smallest value in 1 of 27 cases, more than the 2.5 % tail: the interval runs from
    the smallest to the largest value, and all three lie on one side of the truth in 2 of 8 cases.
    """
    generator = np.random.default_rng(0)
    three = generator.normal(0.3, 0.05, size=(1000, 3)).tolist()
    assert abs(covers((paired_bootstrap(sample, draws=400) for sample in three), 0.3) - 0.75) <= margin(0.75, 1000)
    assert all(
        (i.low, i.high) == pytest.approx((min(sample), max(sample)))
        for sample in three[:20]
        for i in [paired_bootstrap(sample)]
    )
    many = generator.exponential(1.0, size=(200, 100)).tolist()
    assert 0.89 <= covers((paired_bootstrap(sample, draws=300) for sample in many), 1.0) <= 0.99


def test_the_percentile_bootstrap_of_twenty_differences_covers_no_more_than_t() -> None:
    """Why a comparison uses t at every number of requests."""
    samples = np.random.default_rng(2).normal(size=(600, 20)).tolist()
    boot = covers((paired_bootstrap(sample, draws=300) for sample in samples), 0.0)
    assert boot < covers(map(t_interval, samples), 0.0)


# -- two methods ---------------------------------------------------------------------------------------------


def boards(generator: np.random.Generator, means: Sequence[float], n: int, *, requests: int = REQUESTS) -> Array:
    """Simulated scores, shape (n, methods, requests, seeds).

    A request is easy or hard for all methods (deviation 1), for one method more than for another (0.5), and each
    seed adds noise (0.25).
    """
    methods = len(means)
    shared = generator.normal(size=(n, 1, requests, 1))
    own = 0.5 * generator.normal(size=(n, methods, requests, 1))
    noise = 0.25 * generator.normal(size=(n, methods, requests, SEEDS))
    return np.asarray(means)[None, :, None, None] + shared + own + noise


def values(scores: Array) -> dict[str, dict[int, float]]:
    """One row of a board, shape (requests, seeds)."""
    return {str(request): dict(enumerate(seeds)) for request, seeds in enumerate(scores.tolist())}


def compared(scores: Array, *, without_chance: bool = False) -> list[Difference]:
    """The difference of the first two methods on each board."""
    seeds = 1 if without_chance else SEEDS
    return [paired_difference("s", values(a[:, :seeds]), values(b)) for a, b in scores[:, :2]]


@pytest.mark.parametrize("without_chance", [False, True], ids=["three seeds each", "one seed against three"])
@pytest.mark.parametrize("requests", [3, 5])
def test_equal_methods_are_rarely_told_apart(requests: int, without_chance: bool) -> None:
    n = 1000
    found = compared(
        boards(np.random.default_rng(requests), [0.0, 0.0], n, requests=requests), without_chance=without_chance
    )
    false = sum(each.verdict != "not distinguishable" for each in found) / n
    assert abs(false - 0.05) <= margin(0.05, n)
    intervals = [each.difference for each in found if each.difference is not None]
    assert len(intervals) == n and abs(covers(intervals, 0.0) - 0.95) <= margin(0.05, n)


def test_cells_taken_for_independent_would_tell_equal_methods_apart() -> None:
    """Why seeds are averaged first: over (request, seed) cells the 5 % become 25."""
    scores = boards(np.random.default_rng(3), [0.0, 0.0], 1500)
    cells = (scores[:, 0] - scores[:, 1]).reshape(1500, -1).tolist()
    assert sum(paired_t(each)[1] < 0.05 for each in cells) / 1500 > 0.2


@pytest.mark.parametrize(("requests", "least"), [(3, 0.3), (5, 0.7), (10, 0.98)])
def test_a_real_difference_is_found_with_its_sign(requests: int, least: float) -> None:
    """Pairing removes what all methods share: the difference of 1.5 is as large as the spread between requests."""
    found = compared(boards(np.random.default_rng(4), [0.0, 1.5], 400, requests=requests))
    verdicts = [each.verdict for each in found]
    assert verdicts.count("lower") / 400 >= least and verdicts.count("higher") <= 2
    assert abs(covers((each.difference for each in found if each.difference), -1.5) - 0.95) <= margin(0.05, 400)


@pytest.mark.parametrize(("items", "p"), [(20, 0.02), (20, 0.05), (100, 0.05)])
@pytest.mark.parametrize("requests", [3, 5])
def test_equal_accuracies_of_few_items_are_rarely_told_apart(items: int, p: float, requests: int) -> None:
    """Differences of counts are equal by chance: Student's t alone would give those no width."""
    n = 2000
    a, b = np.random.default_rng(items).binomial(items, p, size=(2, n, requests))
    differences = (a / items - b / items).tolist()
    assert sum(paired_t(each)[1] < 0.05 for each in differences) / n <= 0.05 + margin(0.05, n)


# -- the ranks of a board ------------------------------------------------------------------------------------


def test_ranges_of_equal_methods_are_open_on_all_but_one_board_of_twenty() -> None:
    """Holm's correction: without it six equal methods are told apart somewhere on about half of the boards."""
    n = 250
    apart = uncorrected = 0
    for board in boards(np.random.default_rng(5), [0.0] * 6, n):
        rows = {str(method): values(scores) for method, scores in enumerate(board)}
        apart += bool(standings(rows).apart)
        means = board.mean(axis=2)
        pairs = [(means[i] - means[j]).tolist() for i in range(6) for j in range(i)]
        uncorrected += any(paired_t(pair)[1] < 0.05 for pair in pairs)
    assert apart / n <= 0.05 + margin(0.05, n)
    assert uncorrected / n > 0.3


def test_ranges_hold_the_true_ranks_and_narrow_with_requests() -> None:
    means, widths = [0.0, 0.6, 1.2, 1.8, 2.4], {}
    for requests in (3, 10):
        held, width = 0, 0.0
        for board in boards(np.random.default_rng(6), means, 120, requests=requests):
            found = standings({str(rank): values(scores) for rank, scores in enumerate(board, 1)}).ranges
            held += all(best <= int(rank) <= worst for rank, (best, worst) in found.items())
            width += sum(1 + worst - best for best, worst in found.values()) / len(means) / 120
        assert held / 120 >= 0.95 - margin(0.05, 120)
        widths[requests] = width
    assert widths[3] > 4.4 and widths[10] < 3.5
