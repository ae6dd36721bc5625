"""The suites of several trainings of one recipe: they give their methods what tuning found on the shipped one."""

from __future__ import annotations

import pytest

from benchmark.suites.suite_file import load_suite
from benchmark.suites.tuned.values import load_tuned


@pytest.mark.parametrize(("name", "shipped"), [("originals", "shapes-resnet"), ("originals-cifar100", "micro")])
def test_its_settings_are_those_that_tuning_found_on_the_shipped_training(name: str, shipped: str) -> None:
    suite = load_suite(name)
    assert all(model == shipped or model.startswith(f"{shipped}-") for model in suite.models)
    dataset = suite.tasks[0].dataset
    found = {e.method: e.values for e in load_tuned() if (e.model, e.dataset, e.kind) == (shipped, dataset, "class")}
    methods = {method for method in suite.methods if method in found}
    assert len(methods) >= 10 and set(suite.hparams) == methods
    assert {method: dict(values) for method, values in suite.hparams.items()} == {m: found[m] for m in methods}


def test_the_trainings_on_photographs_are_asked_what_the_shipped_one_is_asked() -> None:
    more, shipped = load_suite("originals-cifar100"), load_suite("cifar100")
    assert more.tasks[0] == shipped.tasks[0]
    assert (more.measures, more.test_images, more.precision) == (shipped.measures, shipped.test_images, "fp32")
