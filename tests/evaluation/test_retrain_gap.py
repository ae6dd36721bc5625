"""The gap to a retrained model: by hand, its list, and what is left out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.evaluation.catalogue import find
from benchmark.evaluation.families import NotMeasurableError
from benchmark.evaluation.measures.retrain_gap import GAP_METRICS, retrain_gap
from benchmark.records.record import Metric

models = st.dictionaries(st.sampled_from(GAP_METRICS), st.one_of(st.none(), st.floats(0, 1)), min_size=1)


def metrics(values: dict[str, float | None]) -> dict[str, Metric]:
    return {name: Metric(value) for name, value in values.items()}


def test_by_hand() -> None:
    unlearned = metrics({"forget/acc1": 0.0, "retain/acc1": 0.7, "other/acc1": None, "retain/mean_recall": 0.4})
    retrained = metrics({"forget/acc1": 0.3, "retain/acc1": 0.8, "other/acc1": 0.5, "score/kravets": 7.0})
    found = retrain_gap(unlearned, retrained)
    assert found.gap == pytest.approx(0.2)
    assert found.gaps == {"forget/acc1": pytest.approx(0.3), "retain/acc1": pytest.approx(0.1)}


def test_too_much_forgetting_counts_as_well() -> None:
    retrained = metrics({"forget/acc1": 0.2})
    low, high = (retrain_gap(metrics({"forget/acc1": value}), retrained).gap for value in (0.0, 0.4))
    assert low == pytest.approx(high) == pytest.approx(0.2)


def test_the_list_holds_fractions_of_the_catalogue_once_each() -> None:
    measures = [find(name) for name in GAP_METRICS]
    assert all(measure is not None and measure.unit == "fraction" for measure in measures)
    assert len(set(GAP_METRICS)) == len(GAP_METRICS) and not any(name.startswith("score/") for name in GAP_METRICS)


@given(models, models)
def test_it_is_a_symmetric_fraction_and_zero_for_equals(
    one: dict[str, float | None], other: dict[str, float | None]
) -> None:
    common = [name for name in one if one[name] is not None and other.get(name) is not None]
    if not common:
        with pytest.raises(NotMeasurableError, match="no metric in common"):
            retrain_gap(metrics(one), metrics(other))
        return
    found = retrain_gap(metrics(one), metrics(other))
    assert 0 <= found.gap <= 1 and set(found.gaps) == set(common)
    assert found.gap == pytest.approx(retrain_gap(metrics(other), metrics(one)).gap)
    assert retrain_gap(metrics(one), metrics(one)).gap == 0


def test_without_a_retrained_model_there_is_no_gap() -> None:
    with pytest.raises(NotMeasurableError, match="no model was trained without"):
        retrain_gap(metrics({"forget/acc1": 0.1}), None)


def test_only_fractions_may_be_named() -> None:
    with pytest.raises(ValueError, match="is not a fraction"):
        retrain_gap(metrics({"seconds": 3.0}), metrics({"seconds": 2.0}), names=("seconds",))
