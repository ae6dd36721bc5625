"""What our records say of a row of a paper's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.models.registry import architecture_name
from benchmark.records.record import Record
from benchmark.suites.suite_file import load_suite
from datamodules.common.image_request import read_request


@dataclass(frozen=True)
class Measured:
    """The records of a paper's suite."""

    records: Sequence[Record]

    def percent(
        self,
        metric: str,
        *,
        method: str,
        dataset: str,
        model: str | None = None,
        classes: Sequence[str] | None = None,
        hparams: Mapping[str, Any] | None = None,
    ) -> float | None:
        """The mean of a metric over the records that fit, in per cent.

        Args:
            metric: Its full name.
            method: Registry name.
            dataset: Registry name.
            model: Its architecture; None for any.
            classes: The request; None for every request of one class or of a concept.
            hparams: Values that the records must have.

        Returns:
            None where no record fits or one of them lacks the metric.
        """
        values = [
            recorded.value if (recorded := record.metrics.get(metric)) is not None else None
            for record in self._fitting(method, dataset, model, classes, hparams or {})
        ]
        known = [value for value in values if value is not None]
        return 100 * sum(known) / len(known) if known and len(known) == len(values) else None

    def whole_test(self, *, dataset: str, model: str | None = None) -> float | None:
        """Accuracy of the unedited model on the whole test split, in per cent, from the two parts of any request."""
        for record in self._fitting("original", dataset, model, None, {}):
            parts = [record.metrics.get(f"{part}/acc1") for part in ("forget", "retain")]
            if all(part is not None and part.value is not None and part.n for part in parts):
                total = sum(part.n or 0 for part in parts if part is not None)
                right = sum((part.value or 0.0) * (part.n or 0) for part in parts if part is not None)
                return 100 * right / total
        return None

    def _fitting(
        self,
        method: str,
        dataset: str,
        model: str | None,
        classes: Sequence[str] | None,
        hparams: Mapping[str, Any],
    ) -> list[Record]:
        return [
            record
            for record in self.records
            if (record.cell["method"], record.cell["dataset"]) == (method, dataset)
            and model in (None, architecture_name(record.cell["model"]))
            and _asked(record, classes)
            and all(record.cell["hparams"].get(name) == value for name, value in hparams.items())
        ]


def several_classes(suite: str) -> list[tuple[str, tuple[str, ...]]]:
    """The data set and the classes of each request of a suite that names more than one class."""
    return [
        (task.dataset, request.classes)
        for task in load_suite(suite).tasks
        for request in task.requests
        if len(request.classes) > 1
    ]


def _asked(record: Record, classes: Sequence[str] | None) -> bool:
    request = read_request(record.cell["request"])
    return len(request.names) == 1 if classes is None else request.classes == tuple(classes)
