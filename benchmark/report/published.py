"""The papers' tables: published and measured numbers side by side, as the command `tables` shows them."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.leaderboards.papers.measured import Measured
from benchmark.leaderboards.papers.table import PaperTable
from benchmark.records.record import Record
from datamodules.common.errors import BenchmarkError

PAPERS = ("lip", "ccup", "cliperase", "diet", "negmerge")


@dataclass(frozen=True)
class Paper:
    """One paper.

    Attributes:
        name: As `tables` names it.
        suites: Those whose records are its measured numbers.
        tables: The tables that hold a number, be it published or measured.
        left_out: How many tables hold none yet.
        problem: Why there are no tables; empty otherwise.
    """

    name: str
    suites: tuple[str, ...]
    tables: tuple[PaperTable, ...]
    left_out: int
    problem: str = ""


def papers(records: Sequence[Record]) -> list[Paper]:
    """Every paper with the records of its suites."""
    return [_paper(name, records) for name in PAPERS]


def _paper(name: str, records: Sequence[Record]) -> Paper:
    module = importlib.import_module(f"benchmark.leaderboards.papers.{name}")
    suites: tuple[str, ...] = module.SUITES
    try:
        tables: list[PaperTable] = module.build(Measured([r for r in records if r.cell["suite"] in suites]))
    except BenchmarkError as error:
        return Paper(name, suites, (), 0, str(error))
    filled = tuple(table for table in tables if _holds_a_number(table))
    return Paper(name, suites, filled, len(tables) - len(filled))


def _holds_a_number(table: PaperTable) -> bool:
    return any(cell.published is not None or cell.measured is not None for _, cells in table.rows for cell in cells)


def pairs(sources: Sequence[Paper]) -> list[dict[str, object]]:
    """Every number that is both published and measured, in per cent."""
    return [
        {
            "paper": paper.name,
            "where": f"{table.title}: {label}, {head}",
            "published": cell.published,
            "measured": cell.measured,
            "before": cell.before,
            "differs": cell.differs,
        }
        for paper in sources
        for table in paper.tables
        for label, cells in table.rows
        for head, cell in zip(table.columns, cells, strict=True)
        if cell.difference is not None
    ]
