"""The search: settings of one method, tried on requests and images that no board reports.

Trials come in rounds of `ROUND`. The first trial is the method as it is before tuning, the next ones are drawn at
random, and from then on Optuna's tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011) draws a round from
all rounds before it. A round is drawn before any of its trials runs, so the result is the same however many of them
run side by side, and a search that was stopped draws the same trials again: what it had run is found among the
records.

A trial is its cells of the tuning suite, one request after another, kept as records like any others. It ends at the
first request on which the method diverges. From the second round on it also ends after the first request unless it
belongs there to the best quarter of the rounds before (`bar_of`): the percentile rule of Golovin et al. (KDD 2017), by
which most of the budget goes to settings that have a chance. The objective is the mean over the requests of Q, or of S
where the requests have no Q (by concept, or without paraphrases), as boards rank.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from benchmark.evaluation.measures.quality import QUALITY
from benchmark.leaderboards.grouping import PUBLISHED
from benchmark.leaderboards.scored import with_quality
from benchmark.records.cell import Cell
from benchmark.records.failures import Failure
from benchmark.records.record import Record
from benchmark.records.store import RecordStore
from benchmark.suites.suite import Suite
from benchmark.suites.suite_file import load_suite, suite_names
from benchmark.suites.tuned.space import Choice, Dimension, SearchSpace
from benchmark.suites.tuned_group import Score
from datamodules.common.card import DEVELOPMENT_SCHEME
from datamodules.common.errors import BenchmarkError

if TYPE_CHECKING:
    import optuna

TRIALS = 16
"""The budget of every method, its settings before tuning among them; our choice: at most six settings are searched."""
ROUND = 4
"""Trials of a round. Our choice: four rounds of 16 trials, and four processes that work side by side."""
GOES_ON = 0.25
"""The share of the rounds before that a trial must belong to on the first request, or it ends there; our choice."""
AT_RANDOM = 8
"""Trials that are drawn before any result counts, the settings before tuning among them; our choice, two rounds."""
SEARCH_SEED = 0
SUITE = "development"
DEVELOPMENT = "development"
"""What the names of suites begin with that no board reports."""
BY_VALUES = frozenset({"DivergedError", "LinAlgError", "_LinAlgError"})
"""Failures that the values themselves cause: they would come again, so such a cell is not run twice."""


@dataclass(frozen=True)
class Trial:
    """One setting.

    Attributes:
        number: From 0, the settings before tuning.
        values: By hyperparameter of the search space.
    """

    number: int
    values: Mapping[str, Any]


@dataclass(frozen=True)
class TrialOutcome:
    """What became of a trial.

    Attributes:
        trial: The setting.
        score: What is searched for.
        scores: Q and S by request (and seed, where there are several); empty where one is undefined or the cell failed.
        failures: One line for each cell that failed or has no score; cells that did not run any more have none.
        seconds: Of unlearning, the mean over the requests; None where one is missing.
        first: What is searched for on the first request, the mean over its seeds; None where it is missing.
        stopped: Whether it ended after its first request, where others were better.
    """

    trial: Trial
    score: Score
    scores: Mapping[str, Mapping[Score, float | None]]
    failures: tuple[str, ...] = ()
    seconds: float | None = None
    first: float | None = None
    stopped: bool = False

    @cached_property
    def objective(self) -> float | None:
        """The mean over the requests of what is searched for; None where one is missing or was not run."""
        return self.mean(self.score)

    def mean(self, score: Score) -> float | None:
        """The mean of Q or of S over the requests; None where one is missing or was not run."""
        if self.stopped:
            return None
        known = [value for scores in self.scores.values() if (value := scores.get(score)) is not None]
        return sum(known) / len(known) if known and len(known) == len(self.scores) else None

    @property
    def order(self) -> tuple[int, float, int]:
        """For sorting: best first, then those that were stopped, then those that failed."""
        shown = self.first if self.stopped else self.objective
        value = shown or 0.0
        return (shown is None) * 2 + self.stopped, -value if self.score == "Q" else value, self.trial.number


@dataclass
class Sampler:
    """Draws the trials of one search.

    Attributes:
        space: What is searched.
        score: What is searched for.
        seed: Of the drawing.
    """

    space: SearchSpace
    score: Score
    seed: int
    _drawn: dict[int, optuna.Trial] = field(default_factory=dict)

    def __post_init__(self) -> None:
        optuna = import_optuna()
        sampler = optuna.samplers.TPESampler(seed=self.seed, n_startup_trials=AT_RANDOM)
        direction = "maximize" if self.score == "Q" else "minimize"
        self._study = optuna.create_study(sampler=sampler, direction=direction)
        self._study.enqueue_trial(dict(self.space.defaults))
        self._spread = {name: _distribution(dimension) for name, dimension in self.space.dimensions.items()}

    def draw(self, count: int) -> list[Trial]:
        """The next trials, drawn from the results told so far."""
        trials = []
        for _ in range(count):
            drawn = self._study.ask(self._spread)
            self._drawn[drawn.number] = drawn
            values = {name: self._value(name, drawn.params[name], first=drawn.number == 0) for name in self._spread}
            trials.append(Trial(drawn.number, values))
        return trials

    def _value(self, name: str, value: Any, *, first: bool) -> Any:
        dimension = self.space.dimensions[name]
        return value if first or isinstance(dimension, Choice) else dimension.rounded(value)

    def tell(self, outcome: TrialOutcome) -> None:
        """Tell what became of a trial: its value, that of its first request, or that it failed: worse than any."""
        from optuna.trial import TrialState

        drawn = self._drawn.pop(outcome.trial.number)
        if outcome.first is not None:
            drawn.report(outcome.first, step=0)
        if outcome.objective is None:
            self._study.tell(drawn, state=TrialState.PRUNED)
        else:
            self._study.tell(drawn, outcome.objective)


def import_optuna() -> Any:
    """Optuna, which says nothing by itself.

    Raises:
        BenchmarkError: If it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise BenchmarkError("tune needs Optuna: pip install 'clip-unlearning-benchmark[tuning]'") from error
    optuna.logging.set_verbosity(logging.ERROR)
    return optuna


def _distribution(dimension: Dimension) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.values)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.scale == "log")


def cells_of(trial: Trial, untuned: Sequence[Cell]) -> list[Cell]:
    """The cells of a trial.

    Args:
        trial: The setting.
        untuned: The cells of the method in the tuning suite, as they are without tuning.
    """
    return [replace(cell, hparams={**cell.hparams, **trial.values}) for cell in untuned]


def first_cells(cells: Sequence[Cell]) -> list[Cell]:
    """Those of a trial's cells that are of its first request."""
    return [cell for cell in cells if cell.request == cells[0].request]


def bar_of(outcomes: Sequence[TrialOutcome], score: Score) -> float | None:
    """What a trial must reach on the first request to go on; None where nothing was told yet.

    Args:
        outcomes: Of the rounds before.
        score: What is searched for.
    """
    known = sorted((o.first for o in outcomes if o.first is not None), reverse=score == "Q")
    return known[math.ceil(GOES_ON * len(known)) - 1] if known else None


def reaches(value: float | None, bar: float | None, score: Score) -> bool:
    """Whether a trial goes on, by its score on the first request."""
    if bar is None:
        return True
    return value is not None and (value >= bar if score == "Q" else value <= bar)


def score_of(originals: Sequence[Record]) -> Score:
    """What is searched for on some requests: Q, where every request has one, else S.

    Args:
        originals: The records of doing nothing on these requests.
    """
    known = [record.metrics[QUALITY].value for record in with_quality(originals)]
    return "Q" if known and None not in known else "S"


def outcome_of(
    trial: Trial,
    cells: Sequence[Cell],
    store: RecordStore,
    failed: Mapping[str, Failure],
    *,
    score: Score,
    originals: Sequence[Record],
    stopped: bool = False,
) -> TrialOutcome:
    """What became of a trial.

    Args:
        trial: The setting.
        cells: Its cells.
        store: With the records of those that succeeded.
        failed: The failures of the others, by key.
        score: What is searched for.
        originals: The records of doing nothing on the same requests.
        stopped: Whether it ended after the first request.
    """
    several = len({cell.seed for cell in cells}) > 1
    records = {cell.key: store.read(cell.key, cell.suite) for cell in cells}
    whole = [record for record in records.values() if record is not None]
    scored = {record.key: record for record in with_quality([*whole, *originals])}
    scores: dict[str, Mapping[Score, float | None]] = {}
    firsts, failures = list[float | None](), []
    for cell in cells:
        name = f"{cell.request}, seed {cell.seed}" if several else str(cell.request)
        record = scored.get(cell.key)
        scores[name] = {"Q": _metric(record, QUALITY), "S": _metric(record, PUBLISHED)}
        if cell.request == cells[0].request:
            firsts.append(scores[name][score])
        if record is None and cell.key in failed:
            failure = failed[cell.key]
            failures.append(f"{name}: {failure.error}: {(failure.message.splitlines() or [''])[0]}")
        elif record is not None and scores[name][score] is None:
            failures.append(f"{name}: {score} is undefined")
    spent = [record.cost.get("unlearn_seconds") for record in whole]
    known = [float(seconds) for seconds in spent if seconds is not None]
    seconds = sum(known) / len(known) if known and len(known) == len(cells) else None
    whole_first = [value for value in firsts if value is not None]
    first = sum(whole_first) / len(firsts) if len(whole_first) == len(firsts) else None
    return TrialOutcome(trial, score, scores, tuple(failures), seconds, first, stopped)


def _metric(record: Record | None, name: str) -> float | None:
    metric = None if record is None else record.metrics.get(name)
    return None if metric is None else metric.value


def check_unreported(suite: Suite) -> None:
    """Check that no board reports what this suite forgets, or the images that it measures.

    Raises:
        BenchmarkError: If one does: a setting chosen on it would be chosen on what is reported.
    """
    names = _forgotten(suite)
    for other in suite_names():
        if other.startswith(DEVELOPMENT):
            continue
        shared = sorted(names & _forgotten(load_suite(other)))
        if shared:
            raise BenchmarkError(
                f"suite {suite.name!r} forgets {shared[0][1]!r}, which suite {other!r} reports: "
                f"tune on classes that no suite reports, such as those of {SUITE}"
            )
    for task in suite.tasks:
        for name in (task.dataset, *task.others):
            if not name.startswith(DEVELOPMENT_SCHEME):
                raise BenchmarkError(
                    f"suite {suite.name!r} measures the test images of {name!r}, which boards report: write "
                    f"{DEVELOPMENT_SCHEME}{name}, whose images no board reports"
                )


def _forgotten(suite: Suite) -> set[tuple[str, str]]:
    return {
        (task.dataset.removeprefix(DEVELOPMENT_SCHEME), name)
        for task in suite.tasks
        for request in task.requests
        for name in request.names
    }
