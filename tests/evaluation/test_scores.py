"""S and H by hand, their bounds, and what happens where a value is missing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.evaluation.evaluate import scores
from benchmark.evaluation.numerics.metrics import harmonic, kravets
from benchmark.records.record import Metric

share = st.floats(0, 1)
positive = st.floats(0.01, 1)
pairs = st.tuples(positive, share)


def test_kravets_by_hand() -> None:
    # (0.1/0.8 + (0.5-0.4)/0.5 + 0 + (0.6-0.3)/0.6) / 4
    found = kravets(forget=(0.8, 0.1), retain=(0.5, 0.4), others=[(0.2, 0.3), (0.6, 0.3)])
    assert found == pytest.approx((0.125 + 0.2 + 0.0 + 0.5) / 4)


def test_harmonic_by_hand() -> None:
    assert harmonic(0.2, 0.6) == pytest.approx(2 * 0.8 * 0.6 / 1.4)
    assert harmonic(0.0, 1.0) == 1.0 and harmonic(1.0, 0.0) == 0.0 and harmonic(1.0, 1.0) == 0.0


@given(positive, positive, st.lists(positive, max_size=4))
def test_doing_nothing_scores_one_over_2_plus_k(forget: float, retain: float, others: list[float]) -> None:
    found = kravets(forget=(forget, forget), retain=(retain, retain), others=[(o, o) for o in others])
    assert found == pytest.approx(1 / (2 + len(others)))


@given(positive, pairs, st.lists(pairs, max_size=4))
def test_forgetting_without_loss_scores_0_and_nothing_less(
    forget: float, retain: tuple[float, float], others: list[tuple[float, float]]
) -> None:
    found = kravets(forget=(forget, 0.0), retain=retain, others=others)
    assert found is not None and 0 <= found <= (1 + len(others)) / (2 + len(others)) + 1e-12
    gains = [(before, 1.0) for before, _ in others]
    assert kravets(forget=(forget, 0.0), retain=(retain[0], 1.0), others=gains) == 0


@given(pairs, pairs, st.lists(pairs, max_size=3), st.floats(0, 1))
def test_kravets_falls_with_forgetting(
    forget: tuple[float, float], retain: tuple[float, float], others: list[tuple[float, float]], part: float
) -> None:
    more = kravets(forget=(forget[0], part * forget[1]), retain=retain, others=others)
    less = kravets(forget=forget, retain=retain, others=others)
    assert more is not None and less is not None and more <= less + 1e-12


@given(share, share)
def test_harmonic_is_between_its_parts(forget: float, retain: float) -> None:
    found = harmonic(forget, retain)
    low, high = sorted((1 - forget, retain))
    assert 0 <= found <= 1 and low - 1e-9 <= found <= high + 1e-9


@pytest.mark.parametrize("zero", [0, 1, 2])
def test_kravets_is_empty_where_nothing_was_known(zero: int) -> None:
    values = [(0.5, 0.2)] * 3
    values[zero] = (0.0, 0.2)
    assert kravets(forget=values[0], retain=values[1], others=values[2:]) is None


def _metrics(**values: float | None) -> dict[str, Metric]:
    return {name.replace("__", "/"): Metric(value, 10, None) for name, value in values.items()}


def test_scores_take_the_measure_of_the_request() -> None:
    common = {"forget__mean_recall": 0.4, "retain__mean_recall": 0.4, "other__a__acc1": 0.5, "other__acc1": 0.5}
    before = _metrics(forget__acc1=0.8, retain__acc1=0.6, **common)
    after = _metrics(forget__acc1=0.2, retain__acc1=0.6, **common)
    by_class, by_concept = (scores(after, before, by_class=flag) for flag in (True, False))
    assert by_class["score/kravets"].value == pytest.approx((0.2 / 0.8) / 3)
    assert by_concept["score/kravets"].value == pytest.approx(1 / 3)
    assert by_class["score/harmonic"].value == pytest.approx(harmonic(0.2, 0.6))


def test_a_data_set_that_could_not_be_measured_leaves_s_empty() -> None:
    before = _metrics(forget__acc1=0.8, retain__acc1=0.6, other__a__acc1=None)
    found = scores(before, before, by_class=True)
    assert found["score/kravets"].value is None and found["score/harmonic"].value is not None
