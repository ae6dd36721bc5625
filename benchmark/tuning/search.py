"""The search: a few trials of each method, the first its untuned default, on requests that no board reports.

The further trials are the points of a scrambled Sobol sequence over the search space (Sobol 1967, Owen's scrambling,
as torch draws it): they fill the space more evenly than independent draws, and the first n of a longer search are
those of a shorter one. No trial looks at another's result, so the order and a kill in between change nothing.

A trial is its cells of the tuning suite, run as any others and kept as records; its objective is the mean of S over
them, and worst where one of them failed or has no S.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from benchmark.records.cell import Cell
from benchmark.records.failures import Failure
from benchmark.records.store import RecordStore
from benchmark.suites.suite import Suite, load_suite, suite_names
from benchmark.suites.tuned.space import SearchSpace
from datamodules.common.errors import BenchmarkError

TRIALS = 12
"""The budget of every method, the untuned default among them. Our choice: 12 trials of all methods are hours, not days,
on two cores, and eleven points still hit the best tenth of a range of one dimension."""
SEARCH_SEED = 0
SUITE = "development"
MODEL = "shapes-resnet"
OBJECTIVE = "score/kravets"
BY_VALUES = frozenset({"DivergedError", "LinAlgError", "_LinAlgError"})
"""Failures that the values themselves cause: they would come again, so such a cell is not run twice."""


@dataclass(frozen=True)
class Trial:
    """One setting.

    Attributes:
        number: From 0, the untuned default.
        values: By hyperparameter of the search space.
    """

    number: int
    values: Mapping[str, Any]


@dataclass(frozen=True)
class TrialOutcome:
    """What became of a trial.

    Attributes:
        trial: The setting.
        scores: S by request (and seed, where there are several); None where it is undefined or the cell failed.
        failures: One line a cell that failed or has no S.
    """

    trial: Trial
    scores: Mapping[str, float | None]
    failures: tuple[str, ...]

    @cached_property
    def objective(self) -> float | None:
        """The mean of S over the requests; None, the worst, where one is missing."""
        known = [score for score in self.scores.values() if score is not None]
        return sum(known) / len(known) if known and len(known) == len(self.scores) else None


def trials_of(space: SearchSpace, *, count: int = TRIALS, seed: int = SEARCH_SEED) -> list[Trial]:
    """The trials of a search: the default, then Sobol points; one alone where there is nothing to tune.

    Args:
        space: What is searched.
        count: How many trials, the default among them.
        seed: Of the scrambling.

    Raises:
        BenchmarkError: If the count is below 1.
    """
    if count < 1:
        raise BenchmarkError(f"--trials {count}: a search has at least one trial, the untuned default")
    first = Trial(0, dict(space.defaults))
    if count == 1 or not space.dimensions:
        return [first]
    from torch.quasirandom import SobolEngine

    engine = SobolEngine(len(space.dimensions), scramble=True, seed=seed)  # type: ignore[no-untyped-call]
    points = engine.draw(count - 1).tolist()
    return [first, *(Trial(number, _values(space, point)) for number, point in enumerate(points, start=1))]


def _values(space: SearchSpace, point: Sequence[float]) -> dict[str, Any]:
    named = zip(space.dimensions.items(), point, strict=True)
    return {name: dimension.at(unit) for (name, dimension), unit in named}


def cells_of(trials: Sequence[Trial], untuned: Sequence[Cell]) -> dict[int, list[Cell]]:
    """The cells of each trial, by its number.

    Args:
        trials: The settings.
        untuned: The cells of the method in the tuning suite, as they are without tuning.
    """
    return {t.number: [replace(cell, hparams={**cell.hparams, **t.values}) for cell in untuned] for t in trials}


def to_run(cells: Mapping[int, Sequence[Cell]], store: RecordStore, failed: Mapping[str, Failure]) -> list[Cell]:
    """The cells that have neither a record nor a failure that would come again; each once.

    Args:
        cells: By trial.
        store: The records of earlier runs.
        failed: The failures of earlier runs, by key.
    """
    by_key = {cell.key: cell for trial_cells in cells.values() for cell in trial_cells}
    missing = (cell for key, cell in by_key.items() if store.read(key, cell.suite) is None)
    return [cell for cell in missing if cell.key not in failed or failed[cell.key].error not in BY_VALUES]


def outcomes(
    trials: Sequence[Trial],
    cells: Mapping[int, Sequence[Cell]],
    store: RecordStore,
    failed: Mapping[str, Failure],
) -> list[TrialOutcome]:
    """What became of the trials, best first; of equally good ones the earlier first, the worst last.

    Args:
        trials: The settings.
        cells: Theirs.
        store: With the records of those that succeeded.
        failed: The failures of the others, by key.
    """
    results = []
    for trial in trials:
        scores: dict[str, float | None] = {}
        failures = []
        several = len({cell.seed for cell in cells[trial.number]}) > 1
        for cell in cells[trial.number]:
            name = f"{cell.request}, seed {cell.seed}" if several else str(cell.request)
            record = store.read(cell.key, cell.suite)
            metric = None if record is None else record.metrics.get(OBJECTIVE)
            scores[name] = None if metric is None else metric.value
            if scores[name] is None:
                failures.append(f"{name}: {_why(failed.get(cell.key) if record is None else None)}")
        results.append(TrialOutcome(trial, scores, tuple(failures)))
    return sorted(results, key=lambda o: (o.objective is None, o.objective or 0.0, o.trial.number))


def _why(failure: Failure | None) -> str:
    if failure is None:
        return "S is undefined"
    return f"{failure.error}: {(failure.message.splitlines() or [''])[0]}"


def check_unreported(suite: Suite) -> None:
    """Check that no suite of the package but the tuning suite itself reports a forget class of this one.

    Raises:
        BenchmarkError: If one does: a setting chosen on it would be chosen on what is reported.
    """
    names = _forgotten(suite)
    for other in suite_names():
        if other == SUITE:
            continue
        shared = sorted(names & _forgotten(load_suite(other)))
        if shared:
            raise BenchmarkError(
                f"suite {suite.name!r} forgets {shared[0][1]!r}, which suite {other!r} reports: "
                f"tune on classes that no suite reports, such as those of {SUITE}"
            )


def _forgotten(suite: Suite) -> set[tuple[str, str]]:
    return {(task.dataset, name) for task in suite.tasks for request in task.requests for name in request.names}
