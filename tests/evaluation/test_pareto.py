"""The Pareto front against brute force; rows that are not whole."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.leaderboards.pareto import pareto_front

value = st.one_of(st.none(), st.integers(0, 3).map(float))
rows = st.lists(st.tuples(value, value, value), max_size=12)


def test_by_hand() -> None:
    table = [
        (0.9, 0.9, 10.0),  # good and slow
        (0.9, 0.8, 1.0),  # nearly as good and fast
        (0.8, 0.8, 5.0),  # beaten by the second
        (0.2, 0.2, 0.1),  # bad and fastest
        (None, 1.0, 0.0),  # not measured
        (0.9, 0.9, 10.0),  # a twin of the first
    ]
    assert pareto_front(table) == [0, 1, 3, 5]


def test_directions() -> None:
    table = [(0.1, 5.0), (0.2, 6.0)]
    assert pareto_front(table, better=("lower", "lower")) == [0]
    assert pareto_front(table, better=("higher", "higher")) == [1]
    assert pareto_front(table, better=("lower", "higher")) == [0, 1]


def beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    no_worse = one[0] >= other[0] and one[1] >= other[1] and one[2] <= other[2]
    return no_worse and (one[0] > other[0] or one[1] > other[1] or one[2] < other[2])


@given(rows)
def test_it_equals_brute_force(table: list[tuple[float | None, ...]]) -> None:
    whole = {i: row for i, row in enumerate(table) if None not in row}
    expected = [i for i, row in whole.items() if not any(beats(other, row) for other in whole.values())]
    found = pareto_front(table)
    assert found == expected and bool(found) == bool(whole)
    # Whoever is not on the front is beaten by someone who is.
    assert all(any(beats(table[j], table[i]) for j in found) for i in whole if i not in found)


@given(rows)
def test_units_do_not_matter(table: list[tuple[float | None, ...]]) -> None:
    scaled = [tuple(None if v is None else math.exp(v) for v in row) for row in table]
    assert pareto_front(scaled) == pareto_front(table)


def test_what_is_not_a_number_is_left_out() -> None:
    assert pareto_front([(math.nan, 1.0, 0.0), (0.1, 0.1, math.inf)]) == [1]
    assert pareto_front([]) == []


def test_a_row_of_another_length_is_an_error() -> None:
    with pytest.raises(ValueError, match="a row of 2 values, but 3"):
        pareto_front([(1.0, 2.0)])
