"""The suite of several trainings of one recipe: what it gives its methods is what tuning found on the first of them."""

from __future__ import annotations

from benchmark.suites.suite_file import load_suite
from benchmark.suites.tuned.values import load_tuned


def test_its_settings_are_those_that_tuning_found_on_the_shipped_training() -> None:
    suite = load_suite("originals")
    found = {e.method: e.values for e in load_tuned() if (e.model, e.kind) == (suite.models[0], "class")}
    methods = {name for name in suite.methods if name in found}
    assert len(methods) >= 10 and set(suite.hparams) == methods
    assert {name: dict(values) for name, values in suite.hparams.items()} == {name: found[name] for name in methods}
