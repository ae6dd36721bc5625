"""A finished search as text: every trial, best first, with its distance from the settings before tuning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmark.suites.tuned.space import SearchSpace
from benchmark.suites.tuned_group import Score
from benchmark.tuning.search import TrialOutcome
from benchmark.utils.table import Table, number_text

BETTER: dict[Score, str] = {"Q": "↑", "S": "↓"}


def untuned_of(outcomes: Sequence[TrialOutcome]) -> TrialOutcome:
    """The outcome of the settings before tuning."""
    return next(outcome for outcome in outcomes if outcome.trial.number == 0)


def trials_table(space: SearchSpace, outcomes: Sequence[TrialOutcome]) -> str:
    """The trials of a search as a table.

    Args:
        space: What was searched.
        outcomes: Best first.
    """
    score = outcomes[0].score
    base = untuned_of(outcomes).objective
    heads = ["#", "trial", f"{score} {BETTER[score]}", "gain", *(["S ↓"] if score == "Q" else []), *space.dimensions]
    rows = []
    for rank, outcome in enumerate(outcomes, start=1):
        known = outcome.objective is not None
        row = [str(rank) if known else "–", "untuned" if outcome.trial.number == 0 else str(outcome.trial.number)]
        row += [_objective_text(outcome), gain_text(outcome, base)]
        row += [number_text(outcome.mean("S"), missing="–")] if score == "Q" else []
        rows.append([*row, *(shown(outcome.trial.values[name]) for name in space.dimensions)])
    return Table.of_texts(heads, rows, words=()).text()


def trial_line(name: str, outcome: TrialOutcome) -> str:
    """A trial that has ended, in one line."""
    values = ", ".join(f"{key}={shown(value)}" for key, value in outcome.trial.values.items())
    objective = _objective_text(outcome)
    number = "untuned" if outcome.trial.number == 0 else f"trial {outcome.trial.number}"
    return f"{name}, {number}: {outcome.score} {objective} with {values}"


def _objective_text(outcome: TrialOutcome) -> str:
    if outcome.stopped:
        return f"stopped at {number_text(outcome.first)}"
    return number_text(outcome.objective, missing="failed")


def verdict(name: str, outcomes: Sequence[TrialOutcome]) -> str:
    """What the search says, in one line."""
    best, untuned = outcomes[0], untuned_of(outcomes)
    if best.objective is None:
        return f"{name}: no trial gave a score: there is nothing to tune with"
    score = f"{best.score} {best.objective:.3f}"
    if best is untuned:
        return f"{name}: the settings before tuning ({score}) are the best of {len(outcomes)} trials: they stay"
    values = ", ".join(f"{key}={shown(value)}" for key, value in best.trial.values.items())
    if untuned.objective is None:
        return f"{name}: {score} with {values}; the settings before tuning failed"
    return f"{name}: {score} with {values}; {untuned.objective:.3f} before tuning"


def gain_text(outcome: TrialOutcome, base: float | None) -> str:
    """How much better a trial is than the settings before tuning, with a sign."""
    if outcome.objective is None or base is None:
        return number_text(None, signed=True)
    gain = outcome.objective - base if outcome.score == "Q" else base - outcome.objective
    return number_text(gain, signed=True)


def shown(value: Any) -> str:
    """A value of a hyperparameter as text."""
    return f"{value:g}" if isinstance(value, float) else str(value)
