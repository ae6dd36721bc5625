"""What a reader of a board must know, one line each below it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from benchmark.evaluation.catalogue import describe
from benchmark.evaluation.measures.quality import QUALITY, RESIDUAL, WANTED_RETRAINED
from benchmark.leaderboards.comparison import LEAST_REQUESTS, Standings
from benchmark.leaderboards.scored import REPORT, Floors
from benchmark.records.record import Record
from datamodules.common.paraphrases import load_paraphrases

if TYPE_CHECKING:
    from benchmark.leaderboards.boards import Row

DASH = "\u2013"
"""An en dash: before a note, and in the place of a rank."""
BY_CHANCE = "°"
"""Stands at the head of E and Q where the floor of E is chance."""
NOTE = (
    f"{DASH} means over requests, each the mean over its seeds; intervals: Student's t over requests, 95 %, none from "
    "fewer than three; an empty mean has missing cells"
)
QUALITY_NOTE = (
    f"{DASH} rank by Q, the harmonic mean of 1 - E and 1 - D: E is the share of the forget set that is left, D the "
    "share of the rest that is lost; S is shown as published"
)
TIER_NOTE = (
    f"{DASH} tier: rows that cannot be told from the first row of their tier; all of them can be told from the first "
    "rows of the tiers before (paired t over requests, 95 % for the board as a whole: Holm's correction for all pairs)"
)
WIDE = "?"
"""Marks a tier that a row holds for its spread alone."""
WIDE_NOTE = (
    f"{DASH} {WIDE}: in this tier because its score varies much from request to request: its mean is below that of a "
    "row two tiers down"
)
BROUGHT_NOTE = (
    f"{DASH} brought: unlearned elsewhere and measured here from a checkpoint; what it read and cost is not known"
)
WORST_PROMPT = "forget/worst_prompt_acc1"
WORST_CLASSES = "retain/worst10_drop"


def ranking_notes(
    rows: Sequence[Row], records: Sequence[Record], ranked_by: str, standings: Standings, requests: int, left: Floors
) -> list[str]:
    """What the rows are ranked by, what E is measured from, and what the ranks are worth.

    Args:
        rows: Of the board.
        records: Of the board, with E, D and Q.
        ranked_by: The metric that rows are ranked by.
        standings: What is known of the ranks.
        requests: How many requests the board has.
        left: What the floors of E are.
    """
    notes = [QUALITY_NOTE if ranked_by == QUALITY else _why_not_quality(records)]
    if left.by_chance:
        notes.append(
            f"{DASH} {BY_CHANCE}: no model was trained again without the forget set, so E is measured from what chance "
            "would give: an upper bound of what is left"
        )
    if left.by_retrained:
        few = "" if left.fewest >= WANTED_RETRAINED else f": fewer than {WANTED_RETRAINED}, so partly the luck of one"
        notes.append(
            f"{DASH} E is measured from the mean of {left.fewest} or more models trained again without the forget set "
            f"(one of them from the mean of the others){few}"
        )
    competing = [row for row in rows if row.rank is not None]
    if len(competing) < 2:
        return notes
    if requests < LEAST_REQUESTS:
        count = f"{requests} request{'s' if requests > 1 else ''}"
        notes.append(
            f"{DASH} too few requests to rank: {count}, and ranks hold from {LEAST_REQUESTS} on; "
            "the order may be chance"
        )
        return notes
    notes.append(TIER_NOTE)
    notes += [WIDE_NOTE] if standings.wide else []
    if not standings.apart:
        notes.append(f"{DASH} {requests} requests do not tell any two rows apart: the order may be chance")
    if standings.skewed:
        notes.append(
            f"{DASH} {standings.skewed} of the {len(standings.apart)} pairs of rows that are told apart have skewed "
            f"differences: Student's t over {requests} requests may claim too much there"
        )
    return notes


def worst_case_notes(columns: Collection[str], records: Sequence[Record]) -> list[str]:
    """Over how much the worst cases of a board are taken."""
    notes = []
    if WORST_PROMPT in columns:
        counts, at_least = _wordings(records)
        if counts:
            low, high = min(counts), max(counts)
            span = str(low) if low == high else f"{low} to {high}"
            more = " or more" if at_least else ""
            notes.append(f"{DASH} {describe(WORST_PROMPT).head}: the best of {span}{more} wordings of a class")
    if WORST_CLASSES in columns:
        counts = [m.n for record in records if (m := record.metrics.get(WORST_CLASSES)) is not None and m.n]
        if counts:
            notes.append(
                f"{DASH} {describe(WORST_CLASSES).head}: of {max(counts)} classes, chosen after the fact: above 0 by "
                "chance alone"
            )
    return notes


def _wordings(records: Iterable[Record]) -> tuple[list[int], bool]:
    """How many wordings of a class were tried, and whether these are lower bounds: older records do not say."""
    counts, at_least = [], False
    for record in records:
        metric, told = record.metrics.get(WORST_PROMPT), record.report.get("wordings")
        if metric is None or metric.value is None:
            continue
        if isinstance(told, Mapping):
            counts += [int(count) for count in told.values()]
        elif (paraphrases := load_paraphrases(record.cell["dataset"])) is not None:
            at_least = True
            names = record.cell["request"].get("classes", ())
            counts += [(1 + len(paraphrases.templates)) * (1 + len(paraphrases.names.get(name, ()))) for name in names]
    return counts, at_least


def _why_not_quality(records: Sequence[Record]) -> str:
    """Why rows are ranked by S: the commonest reason for which E or D is empty."""
    reasons = Counter(
        str(reason)
        for record in records
        if record.metrics[QUALITY].value is None
        and (reason := dict(record.report.get("not_measured") or {}).get(REPORT)) is not None
    )
    why = reasons.most_common(1)[0][0] if reasons else f"{describe(RESIDUAL).head} is empty"
    return f"{DASH} rank by S, as published, for want of Q: {why}"


def chip_notes(chip: str, chips: Mapping[str, int], rows: Sequence[Row]) -> list[str]:
    """Whose seconds and memory the board shows, and what it does not show."""
    if len(chips) == 1:
        return [f"{DASH} seconds and MB: on {chip}"]
    others = ", ".join(f"{name} ({count} cells)" for name, count in chips.items() if name != chip)
    partly = [f"{row.method} ({row.chip_cells}/{row.cells})" for row in rows if 0 < row.chip_cells < row.cells]
    some = f"; of some rows only a part of the cells ran there: {', '.join(partly)}" if partly else ""
    return [
        f"{DASH} seconds and MB: on {chip}, of the cells that ran there{some}; all other numbers are of all chips; "
        f"--device NAME shows the costs of {others}"
    ]
