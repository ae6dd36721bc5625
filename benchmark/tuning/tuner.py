"""One call of `tune`: the searches of some methods, one after the other, each kept when it is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.execution.local import run_local
from benchmark.execution.progress import Progress
from benchmark.execution.runner import CellRunner
from benchmark.records.cell import Cell
from benchmark.records.failures import Ledger
from benchmark.suites.suite import Suite
from benchmark.suites.tuned.space import SearchSpace, space_of
from benchmark.suites.tuned.values import SOURCE_DIGITS, TUNED, Tuned, save_tuned
from benchmark.tuning.report import trials_table, untuned_of, verdict
from benchmark.tuning.search import BY_VALUES, Trial, TrialOutcome, cells_of, outcomes, to_run, trials_of
from benchmark.utils.durations import clock
from benchmark.utils.project import git_commit
from benchmark.utils.stopping import exit_status
from datamodules.common.errors import BenchmarkError

DIGITS = 6


class BrokenSearchError(BenchmarkError):
    """A search that cannot go on, and not for what it tries."""


@dataclass(frozen=True)
class Search:
    """The search of one method: its trials, and the cells of each by its number."""

    space: SearchSpace
    trials: Sequence[Trial]
    cells: Mapping[int, Sequence[Cell]]


def plan_search(runner: CellRunner, method: str, cells: Sequence[Cell], *, count: int, seed: int) -> Search:
    """The search of a method.

    Args:
        runner: With the methods.
        method: Registry name.
        cells: The plan of the tuning suite without tuning; those of other methods are passed over.
        count: How many trials.
        seed: Of the trials.
    """
    space = space_of(runner.registry, method)
    trials = trials_of(space, count=count, seed=seed)
    return Search(space, trials, cells_of(trials, [cell for cell in cells if cell.method == method]))


@dataclass
class Tuner:
    """Runs searches and keeps what they find.

    Attributes:
        runner: Runs a cell; its store holds the trials.
        suite: The tuning suite, with the model that is tuned for.
        expected: Seconds that a cell of each method is expected to take.
        out: The file of the values found; None keeps nothing.
        options: What of the command line belongs to the command that finds a value again, method aside.
        say: Shows a line of the result.
    """

    runner: CellRunner
    suite: Suite
    expected: Mapping[str, float]
    out: Path | None
    options: str
    say: Callable[[str], None]

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.runner.store.folder)

    def run(self, searches: Sequence[Search]) -> int:
        """Search one method after the other.

        Returns:
            0; 1 if a cell failed by something else than its values; 130, 143 or 129 if a signal stopped it.
        """
        todo = [self._to_run(search) for search in searches]
        self.runner.check_needs([cell for cells in todo for cell in cells])
        self._announce(todo)
        status = 0
        for search, cells in zip(searches, todo, strict=True):
            name, reason = search.space.method, search.space.reason
            if not search.space.dimensions:
                why = f" ({reason})" if reason else ""
                self.say(f"{name}: nothing to tune{why}; `run --tuned` runs it as it is")
                continue
            ended = self._search(search, cells)
            if ended > 1:
                return ended
            status = max(status, ended)
        if status:
            self.say(f"the whole tracebacks are in {self.ledger.path}; the failed cells run again next time")
        return status

    def _to_run(self, search: Search) -> list[Cell]:
        if not search.space.dimensions:
            return []
        return to_run(search.cells, self.runner.store, self.ledger.failures())

    def _announce(self, todo: Sequence[Sequence[Cell]]) -> None:
        cells = [cell for method_cells in todo for cell in method_cells]
        if cells and len(todo) > 1:
            seconds = sum(self.expected.get(cell.method, 0.0) for cell in cells)
            self.say(f"{len(todo)} methods, {len(cells)} cells to run: about {clock(seconds)}")

    def _search(self, search: Search, todo: Sequence[Cell]) -> int:
        space, cells_by_trial, store = search.space, search.cells, self.runner.store
        first = cells_by_trial[0]
        self.say(
            f"{space.method}: {len(cells_by_trial)} trials of {len(first)} cells on {self.suite.name}, {first[0].model}"
        )
        for name, dimension in space.dimensions.items():
            self.say(f"  {name}: {dimension}")
        skipped = len({cell.key for cells in cells_by_trial.values() for cell in cells}) - len(todo)
        ran = run_local(todo, self.runner, self.ledger, Progress(self.expected), skipped=skipped)
        for message in store.notes:
            self.say(message)
        if ran.interruption is not None:
            left = len(todo) - len(ran.finished) - len(ran.failed)
            self.say(f"interrupted: {len(ran.finished)} cells finished, {left} left; run the same command to go on")
            return exit_status(ran.interruption)
        if ran.not_the_method:
            raise BrokenSearchError(
                f"{space.method}: {ran.not_the_method}: no method is the cause, but the model, the data or this "
                f"machine; see {self.ledger.path}, then run the same command again"
            )
        failures = self.ledger.failures()
        results = outcomes(search.trials, cells_by_trial, store, failures)
        self.say(trials_table(space, results))
        for outcome in results:
            for failure in outcome.failures:
                self.say(f"trial {outcome.trial.number} failed: {failure}")
        self.say(verdict(space, results))
        self._keep(space.method, results)
        return int(any(failures[cell.key].error not in BY_VALUES for cell, _ in ran.failed))

    def _keep(self, method: str, results: Sequence[TrialOutcome]) -> None:
        best = results[0]
        if self.out is None or best.objective is None:
            return
        untuned = untuned_of(results).objective
        entry = Tuned(
            values=dict(best.trial.values),
            objective=round(best.objective, DIGITS),
            untuned_objective=None if untuned is None else round(untuned, DIGITS),
            trials=len(results),
            failed=sum(outcome.objective is None for outcome in results),
            suite=self.suite.name,
            model=self.suite.models[0],
            command=f"python -m benchmark tune {method}{self.options}",
            commit=git_commit(),
            method_source=self.runner.registry.source_hash(method)[:SOURCE_DIGITS],
        )
        save_tuned(self.out, method, entry)
        way = "--tuned" if self.out == TUNED else f"--tuned-values {self.out}"
        self.say(f"kept in {self.out}: `python -m benchmark run {way} --methods {method}` takes it")
