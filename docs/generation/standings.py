"""Where a method is good and bad here: its rows on the boards of the reference records, and what follows from them.

A sentence says only what a rule finds: on which boards fewer than a quarter of the competing rows are better than the
method (good) or worse than it (bad), in what is left of the forget set, in what is lost of the rest, and in time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmark.evaluation.measures.quality import DAMAGE, QUALITY, RESIDUAL
from benchmark.leaderboards.boards import Board, Row
from benchmark.leaderboards.findings import seconds_text
from benchmark.leaderboards.grouping import PUBLISHED
from benchmark.leaderboards.scored import ORIGINAL
from benchmark.utils.table import Table, number_text

NONE_YET = "There is no reference record of it yet."
QUARTER = 0.25
"""The share of the competing rows that may be better, or worse; our choice."""
NAMED = 3
"""So many boards are named in a sentence; the table has all."""


@dataclass(frozen=True)
class Place:
    """A row on its board.

    Attributes:
        board: The board.
        row: The row.
    """

    board: Board
    row: Row

    @property
    def title(self) -> str:
        """The board in few words."""
        key = self.board.key
        return f"{key.suite}, {key.model}, {key.kind}" + (", tuned" if key.tuned else "")

    @property
    def competing(self) -> int:
        """How many rows of the board hold a rank."""
        return sum(row.rank is not None for row in self.board.rows)

    @property
    def standing(self) -> str:
        """Its tier where the board has tiers, else its rank; empty for rows that hold none."""
        if self.row.rank is None:
            return ""
        rank = f"{self.row.rank} of {self.competing}"
        return rank if self.row.tier is None else f"tier {self.row.tier} ({rank})"

    @property
    def beats_original(self) -> bool | None:
        """Whether its score is better than that of doing nothing; None where one of them has none."""
        original = next((row for row in self.board.rows if row.method == ORIGINAL), None)
        scores = [None if row is None else row.mean(self.board.ranked_by) for row in (self.row, original)]
        if scores[0] is None or scores[1] is None:
            return None
        return scores[0] > scores[1] if self.board.ranked_by == QUALITY else scores[0] < scores[1]


def places(method: str, boards: Sequence[Board]) -> list[Place]:
    """The rows of a method, of each of its settings, that have cells; in the order of the boards."""
    return [
        Place(board, row) for board in boards for row in board.rows if row.method.split()[0] == method and row.cells
    ]


def left_metric(board: Board) -> str:
    """What tells on a board how much of the forget set is left: E, or its first forget metric where no row has E."""
    has_residual = any(row.mean(RESIDUAL) is not None for row in board.rows if row.rank is not None)
    return RESIDUAL if has_residual else next((name for name in board.columns if name.startswith("forget/")), RESIDUAL)


@dataclass(frozen=True)
class Aspect:
    """One thing that a method can be good or bad at.

    Attributes:
        good: It in words, where the method is good at it.
        bad: Likewise, where it is bad.
        value: What a row has of it, lower is better; None where it is not known.
        said: A value for people.
    """

    good: str
    bad: str
    value: Callable[[Board, Row], float | None]
    said: Callable[[Board, float], str]

    def verdict(self, place: Place) -> str:
        """Tell whether fewer than a quarter of the competing rows are better ("good") or worse ("bad"); else empty."""
        values = [self.value(place.board, row) for row in place.board.rows if row.rank is not None]
        known = [value for value in values if value is not None]
        value = self.value(place.board, place.row)
        if value is None or place.row.rank is None:
            return ""
        good = sum(other < value for other in known) < QUARTER * len(known)
        bad = sum(other > value for other in known) < QUARTER * len(known)
        return "" if good == bad else "good" if good else "bad"


ASPECTS = (
    Aspect(
        "little is left of the forget set",
        "much is left of the forget set",
        lambda board, row: row.mean(left_metric(board)),
        lambda board, value: f"E {value:.2f}" if left_metric(board) == RESIDUAL else f"{100 * value:.0f} % by name",
    ),
    Aspect(
        "little is lost of the rest",
        "much is lost of the rest",
        lambda _, row: row.mean(DAMAGE),
        lambda _, value: f"D {value:.2f}",
    ),
    Aspect(
        "it is fast",
        "it is slow",
        lambda board, row: row.costs.get(board.runtime),
        lambda _, value: f"{seconds_text(value)} s",
    ),
)


def sentences(rows: Sequence[Place]) -> list[str]:
    """What a method's rows say: what it is good at, what it is bad at, and how often it beats doing nothing."""
    lines = []
    for word in ("good", "bad"):
        for aspect in ASPECTS:
            said = [
                f"{place.title} ({aspect.said(place.board, value)})"
                for place in rows
                if aspect.verdict(place) == word and (value := aspect.value(place.board, place.row)) is not None
            ]
            if said:
                what = aspect.good if word == "good" else aspect.bad
                lines.append(f"**{word.capitalize()}**: {what} on {_listed(said)}.")
    against = against_original(rows)
    return [*lines, f"Better than doing nothing on {against}."] if against else lines


def _listed(boards: Sequence[str]) -> str:
    """Some boards by name, and how many more there are."""
    more = len(boards) - NAMED
    return "; ".join(boards[:NAMED]) + (f"; and {more} more board{'s' if more > 1 else ''}" if more > 0 else "")


def against_original(rows: Sequence[Place]) -> str:
    """On how many boards a method beats doing nothing; empty where none tells."""
    beats = [place.beats_original for place in rows if place.row.rank is not None]
    known = [beat for beat in beats if beat is not None]
    return f"{sum(known)} of {len(known)} boards" if known else ""


def standings_table(rows: Sequence[Place]) -> str:
    """A method's rows as Markdown: place, Q, E, D, S, forget and retained accuracy or recall, and cost."""
    several = len({place.row.method for place in rows}) > 1
    heads = ["board", *(["row"] if several else []), "place", "Q ↑", "E ↓", "D ↓", "S ↓", "forgotten ↓", "retained ↑"]
    body = []
    for place in rows:
        board, row = place.board, place.row
        by_name = [next((n for n in board.columns if n.startswith(part)), "") for part in ("forget/", "retain/")]
        body.append(
            [
                f"[{place.title}](../leaderboards/{board.key.suite}.md)",
                *([f"`{row.method}`"] if several else []),
                place.standing,
                *(number_text(row.mean(name), 1.0, 3) for name in (QUALITY, RESIDUAL, DAMAGE, PUBLISHED)),
                *(number_text(row.mean(name), 100.0, 1) for name in by_name),
                "" if (seconds := row.costs.get(board.runtime)) is None else seconds_text(seconds),
            ]
        )
    return Table.of_texts([*heads, "seconds ↓"], body, words=(0, *([1] if several else []))).markdown()
