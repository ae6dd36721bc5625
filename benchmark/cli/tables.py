"""`tables`: a paper's tables, published and measured numbers side by side."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from benchmark.utils.table import Format

if TYPE_CHECKING:
    from benchmark.leaderboard.papers.table import PaperTable
    from benchmark.records.record import Record


def tables_command(
    paper: Literal["lip", "ccup", "cliperase", "diet", "negmerge"],
    results: str = "results/runs",
    format: Format = "table",
) -> int:
    """Show a paper's tables: published number, measured number, difference.

    The measured numbers are those of the records of the paper's suite, such as `run --suite paper-lip --data-dir data`
    makes; a number that is not known stays "not known".

    Args:
        paper: lip, ccup, cliperase, diet or negmerge.
        results: The folder of the records.
        format: A table for the terminal, Markdown, CSV, JSON, LaTeX (booktabs) or HTML.
    """
    import sys

    from benchmark.leaderboard.papers.table import render
    from benchmark.records.store import RecordStore

    store = RecordStore(Path(results))
    suites: tuple[str, ...] = importlib.import_module(f"benchmark.leaderboard.papers.{paper}").SUITES
    records = [record for suite in suites for record in store.all(suite)]
    for message in store.notes:
        print(message, file=sys.stderr)
    if not records:
        print(f"no records of {' or '.join(suites)} in {store.folder} yet: nothing is measured", file=sys.stderr)
    sys.stdout.write(render(tables_of(paper, records), format))
    return 0


def tables_of(paper: str, records: list[Record]) -> list[PaperTable]:
    """The tables of a paper from some records."""
    from benchmark.leaderboard.papers.measured import Measured

    tables: list[PaperTable] = importlib.import_module(f"benchmark.leaderboard.papers.{paper}").build(Measured(records))
    return tables
