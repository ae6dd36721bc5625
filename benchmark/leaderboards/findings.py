"""What a board says, in sentences: who leads, who hides, who removes, what it costs, and what S makes of it.

A sentence is made by a rule from the means of the board, so it changes with the records and cannot be out of date. A
board that lacks what a rule asks for has no such sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from benchmark.evaluation.measures.quality import DAMAGE, QUALITY, RESIDUAL
from benchmark.leaderboards.boards import Board, Row
from benchmark.leaderboards.comparison import LEAST_REQUESTS
from benchmark.leaderboards.found import (
    BY_NAME,
    IN_OTHER_WORDS,
    LAYER_BEFORE,
    QUESTIONS,
    RELEARNED,
    ends_of,
    finds,
    found_words,
)
from benchmark.leaderboards.grouping import PUBLISHED
from benchmark.leaderboards.pareto import CLOCK_SECONDS, CPU_SECONDS
from benchmark.leaderboards.scored import ORIGINAL
from benchmark.models.registry import PRETRAINING
from benchmark.utils.statistics import kendalls_tau
from benchmark.utils.words import listed

REGIMES = {
    "names": "From names alone",
    "forget": "With forget data",
    "retain": "With retain data",
    "forget+retain": "With forget and retain data",
}
"""The data regimes in which methods compete, in words."""
GONE = 0.10
"""A class is gone by name where at most this share of its images is recognised; our choice."""
BACK = 0.50
"""It is back where fine-tuning on the other classes alone makes at least this share recognised; our choice."""
STIRRED = 0.05
"""Fine-tuning does something to a class where at least so much more of it is recognised; our choice."""
NEAR, LITTLE = 0.10, 0.05
"""A method removes at next to no loss where E and D are at most these; our choice."""


def findings(board: Board) -> list[str]:
    """The sentences of a board, the most important first; empty where it says nothing yet."""
    rules: Sequence[Callable[[Board], str]] = (
        gold_standard,
        as_published,
        beyond,
        beneath,
        unfound,
        *(lambda board, regime=regime: leader(board, regime) for regime in REGIMES),
        certainty,
        hiders,
        removers,
        costs,
        orders,
    )
    return [sentence for rule in rules if (sentence := rule(board))]


def competing(board: Board) -> list[Row]:
    """The rows that hold a rank, the best first."""
    return sorted((row for row in board.rows if row.rank is not None), key=lambda row: row.rank or 0)


def gold_standard(board: Board) -> str:
    """What the score gives to models that never saw the forget set, and to doing nothing."""
    golden = _golden(board, QUALITY)
    nothing = [row for row in board.rows if row.reference and row.mean(QUALITY) == 0.0]
    if not golden or not nothing:
        return ""
    trained = ", ".join(_scored(row) for row in golden)
    verb = "scores" if len(nothing) == 1 else "score"
    return f"Models that were trained without the forget set score {trained}; {_named(nothing)} {verb} 0."


def as_published(board: Board) -> str:
    """What S, as published, gives to doing nothing and to what removes nothing, where rows are ranked by it."""
    nothing = _row(board, ORIGINAL)
    if nothing is None or nothing.mean(PUBLISHED) is None or board.ranked_by != PUBLISHED:
        return ""
    best = min((row.mean(PUBLISHED) or 0.0 for row in competing(board)), default=0.0)
    known = [(row, s) for row in _fakes(board) if (s := row.mean(PUBLISHED)) is not None]
    fakes = [f"`{row.method}` has {s:.3f}{', before all methods' if s < best else ''}" for row, s in known]
    said = f"There is no Q: rows are ranked by S, as published. Doing nothing scores {_scored_here(board, nothing)}"
    return f"{said}; of the baselines, {listed(fakes)}." if fakes else f"{said}."


def beyond(board: Board) -> str:
    """Who scores above models that never saw the forget set: there the measures of E are at their end."""
    golden = _golden(board, QUALITY)
    if not golden or board.ranked_by != QUALITY:
        return ""
    best = max(row.mean(QUALITY) or 0.0 for row in golden)
    rows = [row for row in competing(board) if (row.mean(QUALITY) or 0.0) > best]
    if not rows:
        return ""
    verb = "scores" if len(rows) == 1 else "score"
    tells = "this board tells what a method costs, not whether the set is removed or well hidden"
    if beneath(board):
        tells = "Q tells what a method costs; whether it removes or hides shows one layer earlier"
    return (
        f"{_named(rows)} {verb} above models that were trained without the forget set: the measures of E find no more "
        f"of it than in those, so {tells}."
    )


def leader(board: Board, regime: str) -> str:
    """Who is best among the methods that read the same data, and the two that follow."""
    ranked = [row for row in competing(board) if row.regime == regime]
    if not ranked or board.ranked_by not in (QUALITY, PUBLISHED):
        return ""
    first, others = ranked[0], ranked[1:]
    then = f"; then {listed([_scored_here(board, row, parts=False) for row in others], 2)}" if others else ""
    return f"{REGIMES[regime]}, {_scored_here(board, first)} leads ({_place(board, first)}){then}."


def certainty(board: Board) -> str:
    """How many pairs of methods the board tells apart."""
    ranked = competing(board)
    if len(ranked) < 2:
        return ""
    if too_few := too_few_requests(board):
        return f"{too_few}: the order may be chance."
    if any(row.rank_best is None for row in ranked):
        return ""
    apart = sum((row.rank_best or 1) - 1 for row in ranked)  # each has so many rows before it for certain
    pairs = len(ranked) * (len(ranked) - 1) // 2
    first = [row for row in ranked if row.in_first_tier]
    share = f"{apart} of {pairs} pairs of methods apart ({100 * apart / pairs:.0f} %)"
    return (
        f"{board.ranking_requests} requests tell {share}; "
        f"{len(first)} of {len(ranked)} methods are in the first tier: {_named(first)}."
    )


def too_few_requests(board: Board) -> str:
    """That a board has too few requests to rank, without the end of the sentence; empty where it has enough."""
    if (count := board.ranking_requests) >= LEAST_REQUESTS:
        return ""
    return f"{count} request{'s are' if count != 1 else ' is'} too few to rank"


def hiders(board: Board) -> str:
    """Who makes the class unknown by name alone: it comes back without one image of it."""
    rows = [row for row in _gone(board) if (row.mean(RELEARNED) or 0.0) >= BACK]
    asked = [row for row in _gone(board) if row.mean(RELEARNED) is not None]
    if not asked:
        return ""
    if all((row.mean(RELEARNED) or 0.0) - (row.mean(BY_NAME) or 0.0) < STIRRED for row in asked):
        return (
            f"Fine-tuning on the other classes alone brings a class back after none of the {len(asked)} methods that "
            f"leave at most {100 * GONE:.0f} % of it by name: at a rate that the original bears it accuses nobody."
        )
    found = listed([f"`{row.method}` {_percent(row, RELEARNED)}" for row in _most(rows, RELEARNED)])
    golden = _golden(board, RELEARNED)
    beside = f"; trained without it, {_percent(golden[0], RELEARNED)}" if golden else ""
    return (
        f"{len(rows)} of {len(asked)} methods that leave at most {100 * GONE:.0f} % of a class by name hide it: "
        f"fine-tuned on the other classes alone, at least {100 * BACK:.0f} % of it is back"
        + (f" ({found}{beside})." if rows else ".")
    )


def beneath(board: Board) -> str:
    """Who makes the class unknown in the embeddings alone: one layer earlier its images lie as in the original."""
    ends = ends_of(board.rows).get(LAYER_BEFORE)
    known = [row for row in _gone(board) if row.mean(LAYER_BEFORE) is not None]
    if ends is None or not known:
        return ""
    without, whole = ends
    rows = _most([row for row in known if finds(row, LAYER_BEFORE, ends)], LAYER_BEFORE)
    others = sorted((row for row in known if row not in rows), key=lambda row: row.mean(LAYER_BEFORE) or 0.0)
    kept, gone = (listed([f"`{row.method}` {row.mean(LAYER_BEFORE):.2f}" for row in some]) for some in (rows, others))
    return (
        f"One layer before the last, {len(rows)} of {len(known)} methods that leave at most {100 * GONE:.0f} % of a "
        f"class by name leave more than half of it: there its images find each other by a mean average precision of "
        f"{whole:.2f} in the original and {without:.2f} in models trained without it"
        + (f"; {kept}" if rows else "")
        + (f"; less than half in {gone}" if others else "")
        + "."
    )


def unfound(board: Board) -> str:
    """In which methods' models none of the questions finds the forget set, and what finds it in those of the first."""
    ranked = [row for row in competing(board) if row.found_by is not None]
    if not ranked:
        return ""
    questions = listed([QUESTIONS[metric] for metric in ends_of(board.rows)], len(QUESTIONS))
    rows = [row for row in ranked if not row.found_by]
    said = f"None of the questions asked ({questions}) finds half of the forget set after "
    named = f"{said}{len(rows)} of {len(ranked)} methods: {_named(rows)}" if rows else f"{said}no method"
    first = ranked[0]
    by = f"; after `{first.method}`, the first, it is found by {found_words(first.found_by)}" if first.found_by else ""
    return f"{named}{by}."


def removers(board: Board) -> str:
    """Who comes near a model that never saw the class, at next to no loss."""
    asked = [row for row in competing(board) if row.mean(RESIDUAL) is not None and row.mean(DAMAGE) is not None]
    if not asked:
        return ""
    rows = [row for row in asked if (row.mean(RESIDUAL) or 0.0) <= NEAR and (row.mean(DAMAGE) or 0.0) <= LITTLE]
    what = f"a tenth of the forget set left at most (E) and {100 * LITTLE:.0f} % of the rest lost at most (D)"
    return f"Both hold for {_named(rows)}: {what}." if rows else f"No method has both: {what}."


def costs(board: Board) -> str:
    """What the leader takes, beside the others and training again."""
    ranked = competing(board)
    known = [seconds for row in ranked if (seconds := row.costs.get(board.runtime)) is not None]
    first = ranked[0].costs.get(board.runtime) if ranked else None
    if len(known) < 2 or first is None:
        return ""
    golden = [row.costs.get(CLOCK_SECONDS) for row in board.rows if row.regime == PRETRAINING]
    trained = next((seconds for seconds in golden if seconds is not None), None)
    again = "" if trained is None else f"; training again takes {_seconds(trained)} by the clock"
    kind = "of processor time" if board.runtime == CPU_SECONDS else "by the clock"
    return (
        f"`{ranked[0].method}`, the first, takes {_seconds(first)} {kind}; half of the methods take less than "
        f"{_seconds(median(known))}, the fastest {_seconds(min(known))}, the slowest {_seconds(max(known))}{again}."
    )


def orders(board: Board) -> str:
    """How the order by S, as published, differs from the order by Q."""
    ranked = [row for row in competing(board) if row.mean(PUBLISHED) is not None]
    if len(ranked) < 3 or board.ranked_by != QUALITY:
        return ""
    by_s = sorted(ranked, key=lambda row: row.mean(PUBLISHED) or 0.0)
    tau = kendalls_tau([row.rank or 0 for row in ranked], [by_s.index(row) for row in ranked])
    first = by_s[0]
    best = first.mean(PUBLISHED) or 0.0
    ahead = [row for row in _fakes(board) if (s := row.mean(PUBLISHED)) is not None and s < best]
    hidden = f"; {_named(ahead)}, which removes nothing, would be before it" if len(ahead) == 1 else ""
    return (
        f"By S, as published, `{first.method}` leads, place {first.rank} by Q{hidden}; Kendall's tau between the two "
        f"orders is {tau:.2f} (1: the same, 0: unrelated)."
    )


def portrait(board: Board, method: str) -> str:
    """One method in a sentence: its place, what is left of the forget set by three questions, and what the rest lost.

    Raises:
        LookupError: If the board has no row of that method, or none with a rank.
    """
    row = _row(board, method)
    if row is None or row.rank is None:
        raise LookupError(f"{board.key} has no ranked row {method!r}")
    asked = ((BY_NAME, "by name"), (IN_OTHER_WORDS, "in other words"), (RELEARNED, "after fine-tuning on the rest"))
    left = [f"{_percent(row, metric)} {how}" for metric, how in asked if row.mean(metric) is not None]
    known = f"; a forgotten class is still recognised in {listed(left)}" if left else ""
    lost = row.mean(DAMAGE)
    cost = "" if lost is None else f"; {100 * lost:.0f} % of the rest is lost (D)"
    return f"{_scored_here(board, row, parts=board.ranked_by == PUBLISHED)} is {_place(board, row)}{known}{cost}."


def _place(board: Board, row: Row) -> str:
    tier = "" if row.tier is None else f", tier {row.tier}"
    return f"place {row.rank} of {len(competing(board))}{tier}"


def _golden(board: Board, metric: str) -> list[Row]:
    """The rows of models that never saw the forget set and have the metric."""
    return [row for row in board.rows if row.regime == PRETRAINING and row.mean(metric) is not None]


def _fakes(board: Board) -> list[Row]:
    """The baselines that do something, but remove nothing: a filter, noise, training on the rest."""
    return [row for row in board.rows if row.reference and row.method != ORIGINAL and row.regime != PRETRAINING]


def _row(board: Board, method: str) -> Row | None:
    return next((row for row in board.rows if row.method == method), None)


def _gone(board: Board) -> list[Row]:
    return [row for row in competing(board) if (left := row.mean(BY_NAME)) is not None and left <= GONE]


def _most(rows: Sequence[Row], metric: str) -> list[Row]:
    return sorted(rows, key=lambda row: -(row.mean(metric) or 0.0))


def _scored(row: Row, *, parts: bool = False) -> str:
    said = f"`{row.method}` Q {row.mean(QUALITY) or 0.0:.3f}"
    left, lost = row.mean(RESIDUAL), row.mean(DAMAGE)
    return (
        f"{said} (E {100 * left:.0f} %, D {100 * lost:.0f} %)"
        if parts and left is not None and lost is not None
        else said
    )


def _scored_here(board: Board, row: Row, *, parts: bool = True) -> str:
    """A row with the score by which its board ranks, and what that is made of."""
    if board.ranked_by != PUBLISHED:
        return _scored(row, parts=parts)
    left, kept = (row.mean(f"{part}/mean_recall") for part in ("forget", "retain"))
    said = f"`{row.method}` S {row.mean(PUBLISHED) or 0.0:.3f}"
    if not parts or left is None or kept is None:
        return said
    return f"{said} (mean recall {100 * left:.0f} % on the forget set, {100 * kept:.0f} % on the rest)"


def _percent(row: Row, metric: str) -> str:
    return f"{100 * (row.mean(metric) or 0.0):.0f} %"


def _seconds(value: float) -> str:
    return f"{seconds_text(value)} s"


def seconds_text(value: float) -> str:
    """Seconds with two digits, whole ones from a hundred on."""
    return f"{value:.2g}" if value < 100 else f"{value:,.0f}"


def _named(rows: Sequence[Row]) -> str:
    return listed([f"`{row.method}`" for row in rows])
