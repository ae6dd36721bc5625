"""What is searched of each method: complete, within what is declared, and refused where it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from world import write_plugin

from benchmark.suites.suite import load_suite, suite_names
from benchmark.suites.tuned.space import Choice, Range, SpaceError, _project_spaces, competes, space_of
from benchmark.tuning.search import SUITE, TRIALS, check_unreported, trials_of
from datamodules.common.errors import BenchmarkError, UnknownNameError
from methods.common.card import resolve
from methods.common.registry import Registry

REGISTRY = Registry()
RANKED = [name for name in REGISTRY.names() if competes(REGISTRY, name)]
TUNABLE = [name for name in RANKED if space_of(REGISTRY, name).dimensions]


def test_every_ranked_method_has_an_entry_with_a_reason_and_nothing_else_has() -> None:
    assert set(_project_spaces()) == set(RANKED)
    for name in RANKED:
        reason = space_of(REGISTRY, name).reason
        assert reason and "\n" not in reason, name


def test_every_ranked_method_with_a_real_number_or_a_choice_is_searched() -> None:
    for name in RANKED:
        derived = space_of(REGISTRY, name, {}).dimensions
        assert bool(derived) == bool(space_of(REGISTRY, name).dimensions), name
    assert set(RANKED) - set(TUNABLE) == {"leace"}


@pytest.mark.parametrize("method", TUNABLE)
def test_every_trial_is_allowed_and_the_first_is_the_default(method: str) -> None:
    space, kind = space_of(REGISTRY, method), REGISTRY.declaration(method).hyperparameters
    assert 1 <= len(space.dimensions) <= 4
    untuned = resolve(kind, "small", {})
    trials = trials_of(space)
    assert len(trials) == TRIALS == 12
    assert resolve(kind, "small", trials[0].values) == untuned
    for trial in trials:
        settings = resolve(kind, "small", trial.values)
        changed = {name for name, value in vars(settings).items() if value != getattr(untuned, name)}
        assert changed <= set(space.dimensions), "what is the cost or the protocol stays"
        assert all(space.dimensions[name].holds(value) for name, value in trial.values.items())
    assert len({repr(trial.values) for trial in trials}) > TRIALS / 2


def test_the_same_seed_gives_the_same_trials_and_a_longer_search_begins_with_a_shorter_one() -> None:
    space = space_of(REGISTRY, "cliperase")
    assert trials_of(space, seed=3) == trials_of(space, seed=3) != trials_of(space, seed=4)
    assert trials_of(space, count=40)[:5] == trials_of(space, count=5)
    assert trials_of(space, count=1) == trials_of(space)[:1]
    with pytest.raises(BenchmarkError, match="--trials 0"):
        trials_of(space, count=0)


def test_the_trials_are_spread() -> None:
    values = [trial.values["learning_rate"] for trial in trials_of(space_of(REGISTRY, "gradient_ascent"))[1:]]
    low, middle, high = 1e-6, 1e-5, 1e-4
    for decade in ((low, middle), (middle, high)):
        assert sum(decade[0] <= value <= decade[1] for value in values) >= 4


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


def test_places_in_a_space() -> None:
    rate, even, names = Range(1e-4, 1e-2, "log"), Range(0.0, 1.0, "linear"), Choice(("a", "b", "c"))
    assert [rate.at(unit) for unit in (0.0, 0.5, 1.0)] == pytest.approx([1e-4, 1e-3, 1e-2])
    assert [even.at(unit) for unit in (0.0, 0.25, 1.0)] == [0.0, 0.25, 1.0]
    assert even.at(1 / 3) == 0.333, "three digits"
    assert [names.at(unit) for unit in (0.0, 0.32, 0.34, 0.99, 1.0)] == ["a", "a", "b", "c", "c"]
    assert Range(0.12345, 0.98765, "linear").at(0.0) == 0.12345, "rounding leaves no range"


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


def test_no_suite_reports_what_is_tuned_on() -> None:
    check_unreported(load_suite(SUITE))
    for name in {"quick", "oracle", "cifar100"} & set(suite_names()):
        with pytest.raises(BenchmarkError, match="tune on classes that no suite reports"):
            check_unreported(load_suite(name))
