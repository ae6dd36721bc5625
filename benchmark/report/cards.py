"""Cards of the methods: what their files declare, and where the records say that they are good and bad."""

from __future__ import annotations

import ast
import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.evaluation.catalogue import describe
from benchmark.leaderboards.boards import Board, Row
from benchmark.leaderboards.tables import COST_UNITS
from benchmark.report.views import View
from methods.common.card import Declaration
from methods.common.registry import Registry

STRONG = WEAK = 0.25
"""The share of the places at the top and at the bottom that counts as good and as bad; our choice."""
SHOWN = 4
"""How many of each a card shows; our choice."""
FEWEST = 4
"""How many methods a column needs before a place in it says anything; our choice."""
RULE = (
    "On every board of all requests and in every column with a direction, the methods that compete get a place by "
    "their mean (equal means share the better one). Good: a place within the best quarter; bad: within the worst. "
    f"The {SHOWN} furthest out of each are shown, columns of at least {FEWEST} methods only. Places are of means: they "
    "do not say whether the difference is more than chance."
)
_ARXIV = re.compile(r"arXiv (\d{4}\.\d{4,5})")


@dataclass(frozen=True)
class RankPlace:
    """A method's place in one column of one board.

    Attributes:
        column: Head of the column.
        board: Title of the board.
        place: From 1.
        among: How many methods have a value.
    """

    column: str
    board: str
    place: int
    among: int

    @property
    def share(self) -> float:
        """How far down: 0 for the first, 1 for the last."""
        return (self.place - 1) / (self.among - 1)


def places(views: Sequence[View]) -> dict[str, list[RankPlace]]:
    """By method, its places in every column that has a direction; rows that do not compete have none."""
    by_method: dict[str, list[RankPlace]] = {}
    for view in views:
        board = view.board
        competing = [row for row in board.rows if not row.reference]
        key = board.key
        tuned = ("tuned",) if key.tuned else ()
        name = " · ".join((key.suite, key.model, key.dataset, f"forget {key.kind}", *tuned))
        for column, head, sign in _columns(board):
            means = {row.method: value for row in competing if (value := _value(row, column)) is not None}
            if len(means) < FEWEST:
                continue
            for label, mean in means.items():
                method = view.rows[label][0].cell["method"]
                place = 1 + sum(sign * other < sign * mean for other in means.values())
                by_method.setdefault(method, []).append(RankPlace(head, name, place, len(means)))
    return by_method


def _columns(board: Board) -> list[tuple[str, str, int]]:
    described = [(name, describe(name)) for name in board.columns]
    metrics = [(n, f"{c.head} {c.direction}", 1 if c.direction == "↓" else -1) for n, c in described if c.direction]
    return [*metrics, *((name, f"{COST_UNITS[name][0]} ↓", 1) for name in board.costs)]


def _value(row: Row, column: str) -> float | None:
    mean = row.mean(column)
    return row.costs.get(column) if mean is None else mean


def good_and_bad(rank_places: Sequence[RankPlace]) -> tuple[list[RankPlace], list[RankPlace]]:
    """The places furthest out at either end, by `RULE`; at one distance, those among more methods first."""
    good = sorted((p for p in rank_places if p.share <= STRONG), key=lambda p: (p.share, -p.among))
    bad = sorted((p for p in rank_places if p.share >= 1 - WEAK), key=lambda p: (-p.share, -p.among))
    return good[:SHOWN], bad[:SHOWN]


def cards(registry: Registry, views: Sequence[View]) -> list[dict[str, Any]]:
    """The card of every registered method, reference rows first; `views` are of whole boards."""
    by_method = places(views)
    return [_card(registry.declaration(name), by_method) for name in registry.names()]


def _card(declaration: Declaration, by_method: Mapping[str, Sequence[RankPlace]]) -> dict[str, Any]:
    card = declaration.card
    method_places = by_method.get(card.name, ())
    good, bad = good_and_bad(method_places)
    arxiv = _ARXIV.search(card.paper)
    return {
        **dataclasses.asdict(card),
        "reference": card.paper == "reference row",
        "arxiv": arxiv[1] if arxiv else "",
        "docstring": ast.get_docstring(ast.parse(declaration.path.read_text(encoding="utf-8"))) or "",
        "hyperparameters": [_hyper(field) for field in dataclasses.fields(declaration.hyperparameters)],
        "good": good,
        "bad": bad,
        "measured": bool(method_places),
    }


def _hyper(field: dataclasses.Field[Any]) -> dict[str, str]:
    about = field.metadata
    small = about.get("small")
    return {
        "name": field.name,
        "default": _short(field.default),
        "small": "" if small is None else _short(small),
        "range": _range(about.get("low", -math.inf), about.get("high", math.inf)),
        "source": str(about.get("source", "")),
        "small_source": str(about.get("small_source", "")),
    }


def _range(low: float, high: float) -> str:
    if low == -math.inf and high == math.inf:
        return ""
    if high == math.inf:
        return f"≥ {low:g}"
    return f"≤ {high:g}" if low == -math.inf else f"{low:g} to {high:g}"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
