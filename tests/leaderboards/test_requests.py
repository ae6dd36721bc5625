"""What a board of R requests promises, simulated with the spreads that the reference boards themselves have.

Each method of a simulated board has the spread between requests of one method of the reference board, so a method that
is steady stands beside one that is not, as they do there.
"""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmark.leaderboards.boards import build
from benchmark.leaderboards.comparison import cell_values
from benchmark.leaderboards.grouping import by_board, by_row
from benchmark.leaderboards.scored import with_quality
from benchmark.records.store import REFERENCE, RecordStore
from benchmark.utils.statistics import clustered, holm, is_skewed, paired_t, t_interval, wilson, zero_mean_p

Array = NDArray[np.float64]
BOARDS = 400


def margin(rate: float, n: int) -> float:
    """Three standard errors of a rate that n simulations estimate: what Monte Carlo alone may do."""
    return 3 * math.sqrt(rate * (1 - rate) / n)


@pytest.fixture(scope="module", params=["score/quality", "score/kravets"])
def spreads(request: pytest.FixtureRequest) -> Array:
    """The standard deviation between requests of each method of suite oracle, what all share taken out; shape (K,)."""
    records = with_quality(RecordStore(REFERENCE, older=True).all("oracle"))
    (key,) = [key for key in by_board(records) if (key.dataset, key.kind) == ("shapes", "class")]
    board = next(board for board in build(records) if board.key == key)
    rows = by_row(by_board(records)[key])
    scores = []
    for row in board.rows:
        values = cell_values(rows[row.method], str(request.param))
        scores.append([np.mean([*values[name].values()]) for name in sorted(values)])
    table = np.array(scores)
    residuals = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    found = residuals.std(axis=1, ddof=1)
    assert found.shape[0] > 25 and 0.03 < np.sqrt((found**2).mean()) < 0.3
    return found


def simulated(generator: np.random.Generator, spreads: Array, requests: int, shift: Array | float = 0.0) -> Array:
    """Scores of equal methods but for a shift, shape (boards, methods, requests); a request is hard for all at once."""
    shared = 0.1 * generator.normal(size=(BOARDS, 1, requests))
    own = spreads[None, :, None] * generator.normal(size=(BOARDS, len(spreads), requests))
    return np.asarray(shift)[..., None] + shared + own


def pair_p(scores: Array) -> Array:
    """The p value of every pair of methods, shape (boards, pairs)."""
    first, second = np.array([*combinations(range(scores.shape[1]), 2)]).T
    return np.stack([zero_mean_p(board[first] - board[second]) for board in scores])


@pytest.mark.parametrize("requests", [10, 20])
def test_the_intervals_of_a_board_cover(spreads: Array, requests: int) -> None:
    scores = simulated(np.random.default_rng(requests), spreads, requests)[:, :: len(spreads) // 4]
    intervals = [t_interval(row) for board in scores.tolist() for row in board]
    held = [i.low <= 0.0 <= i.high for i in intervals if i.low is not None and i.high is not None]
    assert len(held) == len(intervals)
    assert abs(np.mean(held) - 0.95) <= 2 * margin(0.05, len(held))  # rows of one board share their requests


@pytest.mark.parametrize("requests", [10, 20])
def test_ranks_of_equal_methods_hold_on_19_of_20_boards(spreads: Array, requests: int) -> None:
    p = pair_p(simulated(np.random.default_rng(requests), spreads, requests))
    assert holm(p).any(axis=1).mean() <= 0.05 + margin(0.05, BOARDS)
    assert (p < 0.05).any(axis=1).mean() > 0.9, "without the correction nearly every board claims a difference"


@pytest.mark.parametrize("requests", [10, 20])
def test_ranks_hold_where_some_methods_differ(spreads: Array, requests: int) -> None:
    """Half of the methods are far better: Holm's steps then spend more on the pairs that are equal."""
    shift = np.where(np.arange(len(spreads)) % 2, 1.0, 0.0)
    rejected = holm(pair_p(simulated(np.random.default_rng(requests), spreads, requests, shift)))
    first, second = np.array([*combinations(range(len(spreads)), 2)]).T
    equal = shift[first] == shift[second]
    assert rejected[:, equal].any(axis=1).mean() <= 0.05 + margin(0.05, BOARDS)
    assert rejected[:, ~equal].mean() > 0.5


@pytest.mark.parametrize("shape", [(3,), (10,), (20,)])
def test_many_p_values_at_once_are_those_of_one(shape: tuple[int]) -> None:
    sets = np.random.default_rng(0).normal(0.3, 1.0, size=(50, *shape)).round(1)
    sets[0], sets[1] = 0.0, 0.2
    assert zero_mean_p(sets) == pytest.approx([paired_t(values)[1] for values in sets.tolist()])


# -- skewed differences --------------------------------------------------------------------------------------


def test_skewed_differences_break_t_at_ten_requests_and_are_told() -> None:
    """Lognormal differences whose mean is zero: t claims a difference far too often, mostly in samples that look even.

    So the check is a warning and no cure: it finds most skewed samples, and few that are normal.
    """
    generator = np.random.default_rng(1)
    skewed = np.exp(generator.normal(0, 0.9, size=(1500, 10))) - math.exp(0.9**2 / 2)
    assert (zero_mean_p(skewed) < 0.05).mean() > 0.1
    assert np.mean([is_skewed(sample) for sample in skewed.tolist()]) > 0.3
    normal = generator.normal(size=(1500, 10))
    assert np.mean([is_skewed(sample) for sample in normal.tolist()]) < 0.07
    assert not any(is_skewed(sample) for sample in skewed[:200, :3].tolist())


# -- captions of one image -----------------------------------------------------------------------------------


def test_captions_of_one_image_are_one_cluster() -> None:
    """Five captions an image that succeed together: taken for independent they cover 70 %, by image 95."""
    generator = np.random.default_rng(2)
    image = np.repeat(np.arange(100), 5)
    by_image = by_caption = 0
    for _ in range(400):
        hits = generator.random(500) < generator.beta(0.6, 0.4, size=100)[image]
        low, high = clustered(hits, image)
        by_image += low <= 0.6 <= high
        low, high = wilson(hits.sum(), 500)
        by_caption += low <= 0.6 <= high
    assert abs(by_image / 400 - 0.95) <= margin(0.05, 400)
    assert by_caption / 400 < 0.85


def test_clusters_of_one_are_wilsons_interval() -> None:
    hits = np.arange(200) % 4 == 0
    assert clustered(hits, np.arange(200)) == pytest.approx(wilson(50, 200), abs=0.001)
    assert clustered(np.ones(50, dtype=bool), np.repeat(np.arange(10), 5)) == wilson(10, 10)
