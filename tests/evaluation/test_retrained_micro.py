"""The gold standard of real images: the committed records of `micro`, trained again without each of ten classes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from benchmark.records.record import Record
from benchmark.records.store import REFERENCE, RecordStore
from benchmark.suites.expansion import ORIGINAL, RETRAIN
from benchmark.suites.suite_file import load_suite

SUITE = "oracle-cifar100"
KNOWN = 0.02
"""Of a class that a model never saw it may name this share by chance."""
POINT = 0.01


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return [record for record in RecordStore(REFERENCE).all(SUITE) if record.cell["model"] == "micro"]


def of(records: Sequence[Record], method: str) -> list[Record]:
    return [record for record in records if record.cell["method"] == method]


def test_every_class_of_the_suite_has_a_model_that_never_saw_it(records: list[Record]) -> None:
    wanted = {request.classes for task in load_suite(SUITE).tasks for request in task.requests}
    assert len(wanted) == 10
    for method in (ORIGINAL, RETRAIN):
        assert {tuple(record.cell["request"]["classes"]) for record in of(records, method)} == wanted


def test_a_retrained_model_does_not_know_its_class_and_knows_the_rest_as_the_original(records: list[Record]) -> None:
    before = {record.cell["request"]["classes"][0]: record for record in of(records, ORIGINAL)}
    for record in of(records, RETRAIN):
        (name,) = record.cell["request"]["classes"]
        forget, retain = (record.metrics[metric].value for metric in ("forget/acc1", "retain/acc1"))
        known, retained = (before[name].metrics[metric].value for metric in ("forget/acc1", "retain/acc1"))
        assert None not in (forget, retain, known, retained)
        assert forget <= KNOWN < 0.5 <= known, name  # type: ignore[operator]
        assert abs(retain - retained) <= POINT, name  # type: ignore[operator]
