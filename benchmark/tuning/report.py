"""A finished search as text: every trial, best first, with its distance from the untuned default."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmark.suites.tuned.space import SearchSpace
from benchmark.tuning.search import TrialOutcome
from benchmark.utils.table import Table, number_text


def untuned_of(outcomes: Sequence[TrialOutcome]) -> TrialOutcome:
    """The outcome of the untuned default."""
    return next(outcome for outcome in outcomes if outcome.trial.number == 0)


def trials_table(space: SearchSpace, outcomes: Sequence[TrialOutcome]) -> str:
    """The trials of a search as a table.

    Args:
        space: What was searched.
        outcomes: Best first.
    """
    base = untuned_of(outcomes).objective
    requests = [*outcomes[0].scores]
    heads = ["#", "trial", "S ↓", "from untuned", *space.dimensions, *(f"S {request}" for request in requests)]
    rows = []
    for rank, outcome in enumerate(outcomes, start=1):
        known = outcome.objective is not None
        row = [str(rank) if known else "–", "untuned" if outcome.trial.number == 0 else str(outcome.trial.number)]
        row += [number_text(outcome.objective, missing="failed"), _less(outcome.objective, base)]
        row += [_shown(outcome.trial.values[name]) for name in space.dimensions]
        rows.append([*row, *(number_text(outcome.scores[request], missing="–") for request in requests)])
    return Table.of_texts(heads, rows, words=()).text()


def verdict(space: SearchSpace, outcomes: Sequence[TrialOutcome]) -> str:
    """What the search says, in one line."""
    best, untuned = outcomes[0], untuned_of(outcomes)
    if best.objective is None:
        return f"{space.method}: no trial gave a score: there is nothing to tune with"
    if best is untuned:
        score = f"S {best.objective:.3f}"
        return f"{space.method}: the untuned default ({score}) is the best of {len(outcomes)} trials: it stays"
    values = ", ".join(f"{name}={_shown(value)}" for name, value in best.trial.values.items())
    if untuned.objective is None:
        return f"{space.method}: S {best.objective:.3f} with {values}; the untuned default failed"
    less = untuned.objective - best.objective
    return f"{space.method}: S {best.objective:.3f} with {values}; {less:.3f} below the untuned default"


def _less(value: float | None, base: float | None) -> str:
    return number_text(None if value is None or base is None else value - base, signed=True)


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
