"""What the page opens on: what a board asks, how its score is read, who leads, podiums, and what the board says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.evaluation.measures.quality import DAMAGE, QUALITY, RESIDUAL
from benchmark.leaderboards.boards import Board, Row
from benchmark.leaderboards.findings import REGIMES, findings, too_few_requests
from benchmark.leaderboards.found import found_text, found_words
from benchmark.leaderboards.scored import ORIGINAL

PLACES = 3
"""Methods on a podium."""
_NAMED = 5
"""Requests that are named one by one; our choice."""
_KINDS = {"class": "one class", "concept": "one concept"}


@dataclass(frozen=True)
class Step:
    """A method on a podium.

    Attributes:
        label: Its row.
        rank: On the whole board.
        tier: Likewise; None where the board has no tiers.
        score: The mean that the board ranks by.
        left: E; None where the records lack it.
        lost: D; likewise.
        found: By which questions the forget set is still found; empty where they were not asked.
    """

    label: str
    rank: int
    tier: int | None
    score: float
    left: float | None
    lost: float | None
    found: str


def overview(board: Board, requests: Sequence[str]) -> dict[str, Any]:
    """The three lines, the podiums and the sentences of a board, as JSON for the page.

    Args:
        board: The board.
        requests: What is forgotten, each as a string.
    """
    return {
        "asked": asked(board, requests),
        "reading": reading(board),
        "leads": leads(board),
        "podiums": [
            {"title": REGIMES[regime], "regime": regime, "steps": [vars(step) for step in steps]}
            for regime, steps in podiums(board).items()
        ],
        "findings": [sentence.replace("`", "") for sentence in findings(board)],
    }


def asked(board: Board, requests: Sequence[str]) -> str:
    """What each method of a board was asked to do."""
    key = board.key
    named = ", ".join(requests[:_NAMED]) + (f" and {len(requests) - _NAMED} more" if len(requests) > _NAMED else "")
    kind = key.kind.partition(", retrained ")[0]  # how its gold standard is trained is not asked of a method
    what = _KINDS.get(kind, kind)
    each = "" if len(requests) == 1 else ", each request from the original model"
    return f"Make {key.model} forget {what} of {key.dataset} and keep all else: {named}{each}."


def reading(board: Board) -> str:
    """How the score of a board is read."""
    if board.ranked_by == QUALITY:
        floor = "chance" if board.by_chance else "a model that was trained without it"
        return (
            "Q, higher is better, joins E, the share of the forget set that is left when it is looked for beneath the "
            f"surface (0: as in {floor}), and D, the share of the rest that is lost. Doing nothing has Q 0, and so has "
            "a model that is destroyed."
        )
    original = next((row.metrics.get(board.ranked_by) for row in board.rows if row.method == ORIGINAL), None)
    nothing = "" if original is None else f" Doing nothing has S {original.mean:.3f}."
    return (
        "S, lower is better, is the mean of what still answers to the name and of what is lost elsewhere, as published."
        f"{nothing} These records lack measures of E, what is left beneath the surface, so there is no Q."
    )


def leads(board: Board) -> str:
    """Who leads a board, what it reads, and how sure that is."""
    ranked = [row for row in board.rows if row.rank is not None]
    first = [row for row in ranked if row.rank == 1]
    if not first:
        return "No method of this board has a score."
    leader = first[0]
    others = f", level with {', '.join(row.method for row in first[1:])}" if first[1:] else ""
    line = f"{leader.method} leads{others}: {_said(board, leader)}, reading {leader.regime}{_still(leader)}."
    best_of_names = next((row for row in ranked if row.regime == "names"), None)
    if best_of_names is not None and best_of_names.rank != 1:
        line += (
            f" From names alone {best_of_names.method} does best: {_said(board, best_of_names)}{_still(best_of_names)}."
        )
    unfound = next((row for row in ranked if row.found_by == ()), None)
    if unfound is not None and leader.found_by:
        line += f" Of the methods after which nothing finds it {unfound.method} does best: {_said(board, unfound)}."
    return f"{line} {_certainty(board, leader, ranked)}"


def _still(row: Row) -> str:
    """What still finds the forget set in a row's models, to follow its score; empty where nothing does."""
    return f", but the forget set is still found by {found_words(row.found_by)}" if row.found_by else ""


def podiums(board: Board) -> Mapping[str, list[Step]]:
    """The best methods of each data regime, by their ranks on the whole board; regimes without any are left out."""
    found: dict[str, list[Step]] = {}
    for regime in REGIMES:
        ranked = [row for row in board.rows if row.regime == regime and row.rank is not None]
        steps = [step for row in ranked if (step := _step(board, row)) is not None]
        if steps:
            found[regime] = sorted(steps, key=lambda step: step.rank)[:PLACES]
    return found


def _step(board: Board, row: Row) -> Step | None:
    score = row.mean(board.ranked_by)
    if score is None or row.rank is None:
        return None
    return Step(row.method, row.rank, row.tier, score, row.mean(RESIDUAL), row.mean(DAMAGE), found_text(row.found_by))


def _certainty(board: Board, leader: Row, ranked: Sequence[Row]) -> str:
    if too_few := too_few_requests(board):
        return f"{too_few}: read it as a first look."
    level = sum(row.in_first_tier for row in ranked) - 1
    if level <= 0:
        return f"{leader.method} can be told from all {len(ranked) - 1} others."
    return f"{level} of the {len(ranked) - 1} others cannot be told from {leader.method} (tier 1)."


def _said(board: Board, row: Row) -> str:
    """A row's score with E and D, as far as they are there."""
    parts = [(letter, row.mean(name)) for letter, name in (("E", RESIDUAL), ("D", DAMAGE))]
    shown = ", ".join(f"{letter} {100 * value:.1f} %" for letter, value in parts if value is not None)
    score = f"{'Q' if board.ranked_by == QUALITY else 'S'} {row.mean(board.ranked_by) or 0.0:.3f}"
    return f"{score} ({shown})" if shown else score
