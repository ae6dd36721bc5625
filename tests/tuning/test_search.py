"""The search itself: the same trials whatever ends first, and towards what is better."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from benchmark.records.cell import Cell
from benchmark.suites.suite_file import load_suite, suite_names
from benchmark.suites.tuned.space import Choice, Range, SearchSpace
from benchmark.suites.tuned.trials import KeptTrial, by_search, load_trials, save_trials
from benchmark.suites.tuned_group import Score, tuned_kind
from benchmark.tuning import tuner as tuner_module
from benchmark.tuning.search import (
    DEVELOPMENT,
    ROUND,
    Sampler,
    Trial,
    TrialOutcome,
    bar_of,
    check_unreported,
    reaches,
)
from benchmark.tuning.side_by_side import TrialEnd
from benchmark.tuning.tuner import Search, Tuner, _Running
from datamodules.common.errors import BenchmarkError
from datamodules.common.request import ForgetRequest

SPACE = SearchSpace(
    "stranger",
    {"rate": Range(1e-6, 1e-2, "log"), "state": Choice((0, 8))},
    {"rate": 1e-4, "state": 0},
    rate="rate",
)
BEST = 3e-3


def quality(trial: Trial) -> float | None:
    """Falls off with the distance from the best rate; diverges at the top of the range."""
    away = abs(math.log10(trial.values["rate"] / BEST))
    return None if trial.values["rate"] > 8e-3 else max(0.0, 1 - away / 2) * (1.0 if trial.values["state"] else 0.9)


def outcome(trial: Trial, value: float | None, score: Score = "Q") -> TrialOutcome:
    return TrialOutcome(trial, score, {"a": {"Q": value, "S": value}})


def searched(count: int, *, seed: int = 0, score: Score = "Q") -> list[TrialOutcome]:
    sampler, outcomes = Sampler(SPACE, score, seed), list[TrialOutcome]()
    while len(outcomes) < count:
        for trial in sampler.draw(min(ROUND, count - len(outcomes))):
            value = quality(trial)
            outcomes.append(outcome(trial, None if value is None else value if score == "Q" else 1 - value, score))
            sampler.tell(outcomes[-1])
    return outcomes


@pytest.mark.parametrize("score", ["Q", "S"])
def test_later_trials_are_nearer_to_the_best_than_those_at_random(score: Score) -> None:
    results = searched(24, score=score)
    assert results[0].trial.values == dict(SPACE.defaults)
    away = [abs(math.log10(result.trial.values["rate"] / BEST)) for result in results]
    first, last = sorted(away[1:8]), sorted(away[16:])
    assert last[len(last) // 2] < first[len(first) // 2]
    best = min(results, key=lambda result: result.order)
    assert best.objective == (max if score == "Q" else min)(r.objective for r in results if r.objective is not None)


def test_the_same_seed_draws_the_same_trials_and_a_longer_search_begins_with_a_shorter_one() -> None:
    values = [result.trial.values for result in searched(12)]
    assert values == [result.trial.values for result in searched(12)]
    assert values[:ROUND] == [result.trial.values for result in searched(16)][:ROUND]
    assert values != [result.trial.values for result in searched(12, seed=1)]


def test_drawn_values_have_three_digits_and_lie_in_the_space() -> None:
    for result in searched(12)[1:]:
        rate = result.trial.values["rate"]
        assert rate == float(f"{rate:.3g}") and SPACE.dimensions["rate"].holds(rate)
        assert result.trial.values["state"] in (0, 8)


def test_a_trial_without_a_score_is_the_worst() -> None:
    trial = Trial(0, {})
    known, failed = outcome(trial, 0.1), outcome(trial, None)
    half = TrialOutcome(trial, "Q", {"a": {"Q": 0.9, "S": 0.1}, "b": {"Q": None, "S": 0.1}})
    assert min([failed, half, known], key=lambda each: each.order) is known
    assert half.objective is None and half.mean("S") == pytest.approx(0.1)


def first_of(value: float | None, number: int = 1) -> TrialOutcome:
    """A trial that has this score on its first request."""
    return TrialOutcome(Trial(number, {}), "Q", {"a": {"Q": value, "S": value}}, first=value)


def test_a_trial_goes_on_where_it_belongs_to_the_best_quarter_on_the_first_request() -> None:
    assert bar_of([], "Q") is None and bar_of([first_of(None)], "Q") is None
    outcomes = [first_of(value) for value in (0.1, 0.8, None, 0.3, 0.6)]
    assert bar_of(outcomes, "Q") == 0.8 and bar_of(outcomes, "S") == 0.1
    longer = [*outcomes, *(first_of(value) for value in (0.7, 0.2, 0.5, 0.4))]
    assert bar_of(longer, "Q") == 0.7 and bar_of(longer, "S") == 0.2
    assert reaches(0.7, 0.7, "Q") and not reaches(0.69, 0.7, "Q") and not reaches(None, 0.7, "Q")
    assert reaches(0.2, 0.2, "S") and not reaches(0.3, 0.2, "S") and reaches(None, None, "S")


def test_a_stopped_trial_is_behind_every_whole_one_and_before_a_failed_one() -> None:
    whole, failed = replace(first_of(0.1), first=0.9), first_of(None)
    stopped = [replace(first_of(value), stopped=True) for value in (0.5, 0.8)]
    ordered = sorted([failed, *stopped, whole], key=lambda result: result.order)
    assert ordered == [whole, stopped[1], stopped[0], failed]
    assert stopped[0].objective is None and stopped[0].mean("S") is None


def test_a_search_whose_trials_are_stopped_still_comes_nearer_to_the_best() -> None:
    sampler, values = Sampler(SPACE, "Q", 0), list[Mapping[str, Any]]()
    for _ in range(6):
        for trial in sampler.draw(ROUND):
            values.append(trial.values)
            score = quality(trial)
            sampler.tell(replace(outcome(trial, score), first=score, stopped=score is not None and score < 0.6))
    away = [abs(math.log10(value["rate"] / BEST)) for value in values]
    assert sorted(away[8:])[8] < sorted(away[1:8])[4]


class Shuffled:
    """Ends trials in a random order, as processes do."""

    def __init__(self, seed: int) -> None:
        self.random, self.queue = random.Random(seed), list[Any]()

    def submit(self, name: Any, cells: Sequence[Cell]) -> None:
        self.queue.append(name)

    def next(self) -> tuple[Any, TrialEnd]:
        return self.queue.pop(self.random.randrange(len(self.queue))), TrialEnd()

    @property
    def waiting(self) -> int:
        return len(self.queue)

    def close(self) -> None:
        self.queue.clear()


def tried(trials: Any, jobs: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[dict[str, Any]]]:
    """The values that a Tuner tries for two methods, in the order of their trials."""
    store = SimpleNamespace(folder=folder, notes=[])
    runner: Any = SimpleNamespace(store=store)
    tuner = Tuner(
        runner=runner, suite=load_suite("development"), trials=trials, jobs=jobs, count=12, seed=0, expected={},
        out=None, options="", say=lambda _: None, progress=Console(quiet=True),
    )  # fmt: skip
    finished: dict[str, list[dict[str, Any]]] = {}

    def result(self: Tuner, running: _Running, number: int) -> TrialOutcome:
        trial, _ = running.round[number]
        return replace(outcome(trial, quality(trial)), first=quality(trial), stopped=number in running.stopped)

    def finish(self: Tuner, running: _Running) -> None:
        results = [{**result.trial.values, "stopped": result.stopped} for result in running.outcomes]
        finished[running.search.space.method] = results

    monkeypatch.setattr(Tuner, "_outcome", result)
    monkeypatch.setattr(Tuner, "_finish", finish)
    monkeypatch.setattr(
        tuner_module, "cells_of", lambda trial, cells: [SimpleNamespace(request=name) for name in "abc"]
    )
    spaces = [SPACE, SearchSpace("second", SPACE.dimensions, SPACE.defaults)]
    tuner._run([_Running(Search(space, "class", []), Sampler(space, "Q", 0), []) for space in spaces])
    return finished


def test_what_ends_first_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = [tried(Shuffled(seed), jobs, tmp_path, monkeypatch) for seed, jobs in ((0, 1), (1, 2), (2, 8), (3, 3))]
    assert set(results[0]) == {"stranger", "second"} and len(results[0]["stranger"]) == 12
    assert all(result == results[0] for result in results)
    stopped = [result["stopped"] for result in results[0]["stranger"]]
    assert not any(stopped[:ROUND]) and any(stopped[ROUND:]) and not all(stopped[ROUND:])


def test_no_board_reports_what_is_tuned_on() -> None:
    for name in suite_names():
        suite = load_suite(name)
        if name.startswith(DEVELOPMENT) and "oracle" not in name:
            check_unreported(suite)
        elif name in ("quick", "oracle", "cifar100"):
            with pytest.raises(BenchmarkError, match="tune on classes that no suite reports"):
                check_unreported(suite)
    development = load_suite("development")
    reported = [replace(task, dataset=task.dataset.removeprefix("development:")) for task in development.tasks]
    with pytest.raises(BenchmarkError, match="measures the test images of 'shapes'"):
        check_unreported(replace(development, tasks=tuple(reported)))


def kept(**changes: Any) -> KeptTrial:
    fields: dict[str, Any] = {
        "method": "ccup", "dataset": "shapes", "kind": "class", "model": "m", "weights": "compact:0", "revision": "1",
        "suite": "development", "source": "0", "seed": 0, "number": 0, "rate": "", "values": {"w": 1.0}, "score": "Q",
        "means": {"Q": 0.5, "S": 0.1}, "requests": {"heart": {"Q": 0.5, "S": 0.1}}, "seconds": 0.1,
    }  # fmt: skip
    return KeptTrial(**{**fields, **changes})


def test_a_search_that_is_run_again_replaces_its_trials_and_no_others(tmp_path: Path) -> None:
    file = tmp_path / "trials.jsonl"
    assert load_trials(file) == []
    save_trials(file, [kept(number=1), kept(), kept(method="uce")])
    save_trials(file, [kept(means={"Q": None, "S": None})])
    found = load_trials(file)
    assert [(trial.method, trial.number, trial.objective) for trial in found] == [("ccup", 0, None), ("uce", 0, 0.5)]
    file.write_text(file.read_text() + "{torn\n" + '{"method": 1}\n')
    assert load_trials(file) == found and len(by_search(found)) == 2


def test_a_request_by_several_classes_takes_the_values_of_classes() -> None:
    assert tuned_kind(ForgetRequest(classes=("a", "b"))) == "class"
    assert tuned_kind(ForgetRequest(concept="a")) == "concept"
