"""One call of `tune`: the searches of some methods, some of them at once, each kept when it is done."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmark.execution.local import run_local
from benchmark.execution.progress import Progress
from benchmark.execution.runner import CellRunner
from benchmark.records.cell import Cell
from benchmark.records.failures import Ledger
from benchmark.records.record import Record, without_folder
from benchmark.suites.suite import Suite
from benchmark.suites.tuned.space import SearchSpace, space_of
from benchmark.suites.tuned.trials import FILE, TUNED, KeptTrial, save_trials, trials_file
from benchmark.suites.tuned.values import SOURCE_DIGITS, Tuned, save_tuned
from benchmark.suites.tuned_group import Kind, Score, tuned_kind
from benchmark.tuning.report import trial_line, trials_table, untuned_of, verdict
from benchmark.tuning.search import (
    ROUND,
    Sampler,
    Trial,
    TrialOutcome,
    bar_of,
    cells_of,
    first_cells,
    outcome_of,
    reaches,
    score_of,
)
from benchmark.tuning.side_by_side import TrialEnd, Trials, is_done
from benchmark.utils.durations import clock
from benchmark.utils.project import git_commit
from benchmark.utils.stopping import exit_status
from datamodules.common.card import DEVELOPMENT_SCHEME
from datamodules.common.errors import BenchmarkError
from methods.common.registry import Registry

DIGITS = 6


class BrokenSearchError(BenchmarkError):
    """A search that cannot go on, and not for what it tries."""


@dataclass(frozen=True)
class Search:
    """The search of one method on one kind of request.

    Attributes:
        space: What is searched.
        kind: Of the requests.
        cells: The method's cells of the tuning suite, as they are without tuning: one a request and seed.
    """

    space: SearchSpace
    kind: Kind
    cells: Sequence[Cell]

    @property
    def name(self) -> str:
        """Method and kind, for messages."""
        return f"{self.space.method}, {self.kind}"

    @property
    def group(self) -> tuple[str, str, str]:
        """What has one budget: weights, data set and kind of request."""
        first = self.cells[0]
        return first.weights, dataset_of(first), self.kind


def dataset_of(cell: Cell) -> str:
    """The data set whose development images a cell measures."""
    return cell.dataset.removeprefix(DEVELOPMENT_SCHEME)


def _about(search: Search) -> dict[str, Any]:
    """What a search is of, as both files keep it."""
    first = search.cells[0]
    return {
        "method": search.space.method,
        "dataset": dataset_of(first),
        "kind": search.kind,
        "model": without_folder(first.model),
        "weights": first.weights,
        "revision": first.data_revisions[first.dataset],
    }


def plan_searches(registry: Registry, methods: Iterable[str], cells: Sequence[Cell]) -> list[Search]:
    """The searches of some methods: one for each method, data set and kind of request.

    Args:
        registry: The methods.
        methods: Registry names.
        cells: The plan of the tuning suite without tuning.
    """
    searches = []
    for method in methods:
        groups: dict[tuple[str, Kind], list[Cell]] = {}
        for cell in cells:
            if cell.method == method:
                groups.setdefault((cell.dataset, tuned_kind(cell.request)), []).append(cell)
        space = space_of(registry, method)
        searches += [Search(space, kind, of_kind) for (_, kind), of_kind in groups.items()]
    return searches


@dataclass
class _Running:
    """A search that has begun.

    Attributes:
        search: What is searched.
        sampler: Draws its trials.
        originals: The records of doing nothing on its requests.
        round: The trials that were drawn last, with their cells.
        bar: What they must reach on the first request to go on; None where all do.
        ends: How those of them ended that have, by number.
        stopped: The numbers of those that ended after the first request.
        outcomes: What became of the trials of earlier rounds.
    """

    search: Search
    sampler: Sampler
    originals: Sequence[Record]
    round: dict[int, tuple[Trial, list[Cell]]] = field(default_factory=dict)
    bar: float | None = None
    ends: dict[int, TrialEnd] = field(default_factory=dict)
    stopped: set[int] = field(default_factory=set)
    outcomes: list[TrialOutcome] = field(default_factory=list)

    @property
    def score(self) -> Score:
        """What is searched for."""
        return self.sampler.score


@dataclass
class Tuner:
    """Runs searches and keeps what they find.

    Attributes:
        runner: Runs the cells of doing nothing; its store holds all records.
        suite: The tuning suite, with the model that is tuned for.
        trials: Where trials run.
        jobs: How many of them run at once.
        count: Trials of each search.
        seed: Of each search.
        expected: Seconds that a cell of each method is expected to take.
        out: The file of the values found; None keeps nothing.
        options: What of the command line belongs to the command that finds a value again, method aside.
        say: Shows a line of the result.
        progress: Where it is shown how far the searches are.
    """

    runner: CellRunner
    suite: Suite
    trials: Trials
    jobs: int
    count: int
    seed: int
    expected: Mapping[str, float]
    out: Path | None
    options: str
    say: Callable[[str], None]
    progress: Console

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.runner.store.folder)
        self._failed = False

    def run(self, searches: Sequence[Search]) -> int:
        """Run the searches; as many begin as keep all processes at work.

        Returns:
            0; 1 if a cell failed by something else than its values; 130, 143 or 129 if a signal stopped it.
        """
        for search in searches:
            if not search.space.dimensions:
                why = f" ({search.space.reason})" if search.space.reason else ""
                self.say(f"{search.name}: nothing to tune{why}; `run --tuned` runs it as it is")
        todo = [search for search in searches if search.space.dimensions]
        if not todo:
            return 0
        self.runner.check_needs([cell for search in todo for cell in search.cells])
        self._announce(todo)
        try:
            originals = [(search, self._originals(search)) for search in todo]
            self._run(
                [_Running(s, Sampler(s.space, score_of(records), self.seed), records) for s, records in originals]
            )
        except KeyboardInterrupt as stop:
            self.say("interrupted: what is finished is kept; run the same command to go on")
            return exit_status(stop)
        finally:
            self.trials.close()
            for message in self.runner.store.notes:
                self.say(message)
        if self._failed:
            self.say(f"the whole tracebacks are in {self.ledger.path}; the failed cells run again next time")
        return int(self._failed)

    def _announce(self, searches: Sequence[Search]) -> None:
        cells = sum(self.count * len(search.cells) for search in searches)
        seconds = sum(self.expected.get(s.space.method, 0.0) * self.count * len(s.cells) for s in searches) / self.jobs
        about = f": at most about {clock(seconds)}" if seconds else ""
        which = "1 search" if len(searches) == 1 else f"{len(searches)} searches"
        self.progress.print(f"{which} of {self.count} trials, {cells} cells in all{about}")

    def _originals(self, search: Search) -> list[Record]:
        """The records of doing nothing on the requests of a search, run where they are missing.

        Raises:
            BrokenSearchError: If one cannot be run.
        """
        needed = {ref.key: ref for cell in search.cells for ref in self.runner.reference_cells(cell)}
        store = self.runner.store
        missing = [cell for cell in needed.values() if not is_done(cell, self.runner)]
        ran = run_local(missing, self.runner, self.ledger, Progress(console=Console(quiet=True)))
        if ran.interruption is not None:
            raise ran.interruption
        records = [store.read(key, cell.suite) for key, cell in needed.items()]
        whole = [record for record in records if record is not None]
        if len(whole) < len(needed):
            raise BrokenSearchError(self._broken(search, ran.not_the_method or ran.failed[0][1]))
        return whole

    def _broken(self, search: Search, why: str) -> str:
        return (
            f"{search.name}: {why}: no method is the cause, but the model, the data or this machine; "
            f"see {self.ledger.path}, then run the same command again"
        )

    def _run(self, searches: Sequence[_Running]) -> None:
        waiting, running = deque(searches), dict[int, _Running]()
        while waiting or running:
            while waiting and self.trials.waiting < self.jobs:
                search = waiting.popleft()
                running[id(search)] = search
                self._draw(search)
            (place, number, last), end = self.trials.next()
            search = running[place]
            if end.not_the_method:
                raise BrokenSearchError(self._broken(search.search, end.not_the_method))
            self._failed |= bool(end.failed)
            if not last and self._goes_on(search, number):
                self.trials.submit((place, number, True), search.round[number][1])
                continue
            search.ends[number] = end
            self.progress.print(trial_line(search.search.name, self._outcome(search, number)), markup=False)
            if len(search.ends) == len(search.round):
                self._end_round(search)
                if len(search.outcomes) < self.count:
                    self._draw(search)
                else:
                    del running[place]
                    self._finish(search)

    def _draw(self, running: _Running) -> None:
        """Draw the next round and hand it in."""
        drawn = running.sampler.draw(min(ROUND, self.count - len(running.outcomes)))
        running.round = {trial.number: (trial, cells_of(trial, running.search.cells)) for trial in drawn}
        running.ends, running.bar = {}, bar_of(running.outcomes, running.score)
        for number, (_, cells) in running.round.items():
            begun = cells if running.bar is None else first_cells(cells)
            self.trials.submit((id(running), number, len(begun) == len(cells)), begun)

    def _goes_on(self, running: _Running, number: int) -> bool:
        """Whether a trial goes on after its first request; noted where it does not."""
        outcome = self._outcome(running, number)
        if reaches(outcome.first, running.bar, running.score):
            return True
        if outcome.first is not None:
            running.stopped.add(number)
        return False

    def _end_round(self, running: _Running) -> None:
        """Tell the sampler of a round, in the order in which it was drawn, whatever order it ended in."""
        for number in running.round:
            outcome = self._outcome(running, number)
            running.sampler.tell(outcome)
            running.outcomes.append(outcome)

    def _outcome(self, running: _Running, number: int) -> TrialOutcome:
        trial, cells = running.round[number]
        failures = self.ledger.failures()
        store, score = self.runner.store, running.score
        stopped = number in running.stopped
        ran = first_cells(cells) if stopped else cells
        return outcome_of(trial, ran, store, failures, score=score, originals=running.originals, stopped=stopped)

    def _finish(self, running: _Running) -> None:
        search = running.search
        results = sorted(running.outcomes, key=lambda outcome: outcome.order)
        first = search.cells[0]
        self.say(f"{search.name}: {len(results)} trials on {self.suite.name}, {without_folder(first.model)}")
        for name, dimension in search.space.dimensions.items():
            self.say(f"  {name}: {dimension}")
        self.say(trials_table(search.space, results))
        for outcome in results:
            for failure in outcome.failures:
                self.say(f"trial {outcome.trial.number} failed: {failure}")
        self.say(verdict(search.name, results))
        self._keep(running, results)

    def _keep(self, running: _Running, results: Sequence[TrialOutcome]) -> None:
        kept = [self._kept(running, outcome) for outcome in results]
        save_trials(self.runner.store.folder / FILE, kept)
        best, search = results[0], running.search
        if self.out is None or best.objective is None:
            return
        save_trials(trials_file(self.out), kept)
        untuned, method = untuned_of(results).objective, search.space.method
        entry = Tuned(
            **_about(search),
            values=dict(best.trial.values),
            score=best.score,
            objective=round(best.objective, DIGITS),
            untuned=None if untuned is None else round(untuned, DIGITS),
            trials=len(results),
            failed=sum(outcome.objective is None and not outcome.stopped for outcome in results),
            suite=self.suite.name,
            command=f"python -m benchmark tune {method}{self.options}",
            commit=git_commit(),
            method_source=self._source(method),
        )
        save_tuned(self.out, entry)
        way = "--tuned" if self.out == TUNED else f"--tuned-values {self.out}"
        self.say(f"kept in {self.out}: `python -m benchmark run {way} --methods {method}` takes it")

    def _kept(self, running: _Running, outcome: TrialOutcome) -> KeptTrial:
        search = running.search
        return KeptTrial(
            **_about(search),
            suite=self.suite.name,
            source=self._source(search.space.method),
            seed=self.seed,
            number=outcome.trial.number,
            rate=search.space.rate,
            values=dict(outcome.trial.values),
            score=outcome.score,
            means={"Q": _rounded(outcome.mean("Q")), "S": _rounded(outcome.mean("S"))},
            requests={
                name: {score: _rounded(value) for score, value in scores.items()}
                for name, scores in outcome.scores.items()
            },
            seconds=None if outcome.seconds is None else round(outcome.seconds, 3),
            stopped=outcome.stopped,
        )

    def _source(self, method: str) -> str:
        return self.runner.registry.source_hash(method)[:SOURCE_DIGITS]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)
