"""All further measures of one model, family by family: what cannot be measured is empty, with its reason."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.evaluation.context import Context
from benchmark.evaluation.evaluate import Metrics
from benchmark.evaluation.families import FAMILIES
from benchmark.evaluation.unmeasurable import NotMeasurableError
from benchmark.records.record import Metric


def measure_families(names: Sequence[str], context: Context) -> Metrics:
    """The metrics of families, in the order of `FAMILIES`: a later one may read what an earlier one found.

    Args:
        names: Of the families.
        context: The model and all that it is compared with.

    Returns:
        The metrics. What could not be measured is empty, and the context's report says why under `not_measured`.
    """
    found: Metrics = {}
    for family in (FAMILIES[name] for name in FAMILIES if name in names):
        try:
            values = family.load()(context)
        except NotMeasurableError as error:
            context.report.setdefault("not_measured", {})[family.name] = str(error)
            values = {}
        whole = {name: values.get(name, Metric(None, None, None)) for name in family.metrics}
        found |= whole
        context.metrics = {**context.metrics, **whole}
    return found
