"""What is searched of each method: complete, within what is declared, and refused where it is not."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from world import write_plugin

from benchmark.suites.tuned.space import (
    LOOKS,
    STEPS,
    Choice,
    Range,
    SpaceError,
    _project_spaces,
    competes,
    space_of,
)
from datamodules.common.errors import UnknownNameError
from methods.common.card import RATES, middle_rate, resolve
from methods.common.registry import Registry

REGISTRY = Registry()
RANKED = [name for name in REGISTRY.names() if competes(REGISTRY, name)]
TUNABLE = [name for name in RANKED if space_of(REGISTRY, name).dimensions]

WITH_SGD = ("boundary_shrink", "delete", "jit", "l1_sparse", "munba", "sfron")


def test_every_ranked_method_has_an_entry_with_a_reason_and_nothing_else_has() -> None:
    assert set(_project_spaces()) == set(RANKED)
    for name in RANKED:
        reason = space_of(REGISTRY, name).reason
        assert reason and "\n" not in reason, name


def test_every_ranked_method_but_one_is_searched() -> None:
    assert set(RANKED) - set(TUNABLE) == {"leace"}


@pytest.mark.parametrize("method", TUNABLE)
def test_a_space_holds_the_settings_before_tuning_and_no_more_than_the_trials_can_search(method: str) -> None:
    space, kind = space_of(REGISTRY, method), REGISTRY.declaration(method).hyperparameters
    assert 1 <= len(space.dimensions) <= 6
    untuned = vars(resolve(kind, "small", {}))
    assert all(dimension.holds(untuned[name]) for name, dimension in space.dimensions.items())
    assert dict(space.defaults) == {name: untuned[name] for name in space.dimensions}
    for name, dimension in space.dimensions.items():
        ends = dimension.values if isinstance(dimension, Choice) else (dimension.low, dimension.high)
        assert all(getattr(resolve(kind, "small", {name: end}), name) == end for end in ends)


def test_rates_steps_and_the_choice_of_a_state_have_one_space_for_all_methods() -> None:
    rates, stated = 0, 0
    for method in TUNABLE:
        space = space_of(REGISTRY, method)
        if space.rate:
            optimizer = "sgd" if method in WITH_SGD else "adam"
            assert space.dimensions[space.rate] == Range(*RATES[optimizer], "log")
            assert space.defaults[space.rate] == middle_rate(optimizer)
            rates += 1
        if "checkpoints" in space.dimensions:
            assert space.dimensions["checkpoints"] == Choice((0, LOOKS))
            stated += 1
        if method != "negmerge" and "max_steps" in space.dimensions:
            assert space.dimensions["max_steps"] == Choice(STEPS)
    assert rates == 29 and stated == 20


def test_no_learning_rate_of_a_ranked_method_is_set_by_hand() -> None:
    for method in RANKED:
        for field in dataclasses.fields(REGISTRY.declaration(method).hyperparameters):
            if field.name == "learning_rate":
                assert field.metadata["rate"] in RATES and field.metadata["small"] == middle_rate(
                    field.metadata["rate"]
                )
    assert {name: middle_rate(name) for name in RATES} == {"adam": 1e-4, "sgd": 1e-3}


def test_a_derived_space(tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path)
    source = plugin.read_text().replace(
        "    factor: float",
        '    share: float = hyper(0.2, low=0.0, high=1.0, source="x")\n'
        '    floor: float = hyper(2.0, low=1.0, source="x", small=3.0, small_source="x")\n'
        '    steps: int | None = hyper(4, low=1, source="x")\n'
        '    zero: float = hyper(0.0, low=0.0, source="x")\n'
        "    kind: Literal['a', 'b'] = hyper('a', source='x')\n"
        "    factor: float",
    )
    plugin.write_text(source.replace("from dataclasses", "from typing import Literal\nfrom dataclasses"))
    space = space_of(Registry([plugin]), "stranger")
    assert dict(space.dimensions) == {
        "share": Range(0.0, 1.0, "linear"),
        "floor": Range(1.0, 30.0, "log"),
        "kind": Choice(("a", "b")),
        "factor": Range(0.05, 5.0, "log"),
    }
    assert dict(space.defaults) == {"share": 0.2, "floor": 3.0, "kind": "a", "factor": 0.5}
    assert space.reason == ""


def test_a_derived_space_of_a_training(tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path)
    source = plugin.read_text().replace(
        "    factor: float",
        '    rate: float = hyper(1e-5, source="x", rate="sgd")\n'
        '    max_steps: int | None = hyper(None, low=1, source="x", small=40, small_source="x")\n'
        '    checkpoints: int = hyper(0, low=0, source="x")\n'
        "    factor: float",
    )
    plugin.write_text(source)
    space = space_of(Registry([plugin]), "stranger")
    assert space.rate == "rate" and list(space.dimensions) == ["rate", "max_steps", "checkpoints", "factor"]
    assert space.defaults == {"rate": 1e-3, "max_steps": 40, "checkpoints": 0, "factor": 0.5}
    plugin.write_text(source.replace("small=40", "small=30"))
    assert "max_steps" not in space_of(Registry([plugin]), "stranger").dimensions, "no budget: what is not a training"


def test_values_are_rounded_within_their_range() -> None:
    assert Range(1e-6, 1e-2, "log").rounded(0.000123456) == 0.000123
    assert Range(0.12345, 0.98765, "linear").rounded(0.12345) == 0.12345, "rounding leaves no range"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"space": {}}, "the key 'reason' is missing"),
        ("as derived", "must be a mapping with the keys reason, space, not 'as derived'"),
        ({"reason": "x", "spaces": {}}, "unknown key 'spaces': did you mean 'space'"),
        ({"reason": 3}, "reason must be text, not 3"),
        ({"reason": "x", "space": []}, "space must be a mapping, not a list"),
        ({"reason": "x", "space": {"alpha": {"low": 0.5, "high": 2.0, "scale": "linear"}}}, "out of its range"),
        ({"reason": "x", "space": {"alpha": {"low": 0.0, "high": 1.0, "scale": "log"}}}, "no logarithm at 0.0"),
        (
            {"reason": "x", "space": {"alpha": {"low": 0.5, "high": 0.1, "scale": "linear"}}},
            "needs low below high, not 0.5 and 0.1",
        ),
        ({"reason": "x", "space": {"alpha": {"low": 0.5, "high": 1.0}}}, "the key 'scale' is missing"),
        (
            {"reason": "x", "space": {"alpha": {"low": 0.5, "high": 1.0, "scale": "even"}}},
            "scale is 'even': use log or linear",
        ),
        ({"reason": "x", "space": {"alpha": []}}, "a list of choices is not empty"),
        ({"reason": "x", "space": {"alpha": ["half"]}}, "alpha='half' is not float"),
        ({"reason": "x", "space": {"alpha": [0.5, 0.7]}}, "does not hold its own default 1.0"),
    ],
)
def test_a_space_that_does_not_fit_is_one_line(entry: Any, message: str) -> None:
    with pytest.raises(SpaceError) as caught:
        space_of(REGISTRY, "nullspace", {"nullspace": entry})
    assert message in str(caught.value) and "nullspace" in str(caught.value) and "\n" not in str(caught.value)


def test_a_hyperparameter_that_does_not_exist() -> None:
    with pytest.raises(UnknownNameError, match="'alpha'"):
        space_of(REGISTRY, "nullspace", {"nullspace": {"reason": "x", "space": {"alfa": None}}})
