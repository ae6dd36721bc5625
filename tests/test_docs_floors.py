"""Q from joint retrained models, of records made by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmark.records.record import Metric, Record
from docs.generation.floors import with_joint


def cell(method: str, name: str, seed: int, value: float, *, retrained: str = "single", images: int = 20) -> Record:
    about = {
        "method": method,
        "request": {"classes": [name]},
        "seed": seed,
        "retrained": retrained,
        "test_images": images,
    }
    regime = "pretraining" if method == "retrain" else "names"
    metrics = {"forget/acc1": Metric(value)}
    return Record(2, f"{method}{name}{seed}", about, metrics, {}, {}, {"regime": regime}, {})


SINGLE = [cell("ccup", "cat", 0, 0.1), cell("retrain", "cat", 0, 0.2), cell("retrain", "cat", 1, 0.3)]
JOINT = [cell("retrain", "cat", seed, 0.5 + seed, retrained="joint") for seed in (0, 1)]


def test_a_retrained_model_takes_the_metrics_of_its_joint_counterpart_and_nothing_else_changes() -> None:
    changed = with_joint(SINGLE, [*SINGLE, *JOINT, cell("retrain", "dog", 0, 0.9, retrained="joint")])
    assert [record.metrics["forget/acc1"].value for record in changed] == [0.1, 0.5, 1.5]
    assert [replace(a, metrics={}) for a in changed] == [replace(b, metrics={}) for b in SINGLE]


@pytest.mark.parametrize(
    "others",
    [JOINT[:1], SINGLE, [cell("retrain", "cat", seed, 0.5, retrained="joint", images=0) for seed in (0, 1)]],
    ids=["a seed is missing", "single ones only", "other images"],
)
def test_models_that_cannot_be_exchanged_are_refused(others: list[Record]) -> None:
    with pytest.raises(LookupError, match="no joint model of the same images"):
        with_joint(SINGLE, others)
