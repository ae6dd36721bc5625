"""The means of a row: of a metric with its interval, of a cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from benchmark.evaluation.catalogue import find
from benchmark.records.record import Record
from benchmark.utils.statistics import Interval, t_interval


def mean_cost(name: str, records: list[Record]) -> float | None:
    """The mean of a cost; None where a record lacks it."""
    values = [value for record in records if (value := record.cost.get(name)) is not None]
    return sum(values) / len(values) if values and len(values) == len(records) else None


def mean(name: str, requests: Sequence[Sequence[Record]]) -> Interval | None:
    """The mean over requests, each the mean over its seeds; None where a cell has no value."""
    means = []
    for records in requests:
        metrics = [record.metrics.get(name) for record in records]
        values = [metric.value for metric in metrics if metric is not None and metric.value is not None]
        if len(values) < len(records):
            return None
        means.append(fmean(values))
    interval, measure = t_interval(means), find(name)
    if measure is None or interval.low is None or interval.high is None:
        return interval
    if interval.low <= measure.low and interval.high >= measure.high:
        return replace(interval, low=None, high=None)  # all that the measure can be: it would say nothing
    return replace(interval, low=max(interval.low, measure.low), high=min(interval.high, measure.high))
