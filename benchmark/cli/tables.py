"""`tables`: a paper's tables, published and measured numbers side by side."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Literal

from benchmark.cli.options import Records, TableOptions

if TYPE_CHECKING:
    from benchmark.leaderboards.papers.table import PaperTable
    from benchmark.records.record import Record


def tables_command(
    paper: Literal["lip", "ccup", "cliperase", "diet", "negmerge"], /, *, records: Records, shown: TableOptions
) -> int:
    """Show a paper's tables: published number, measured number, difference.

    The measured numbers are those of the records of the paper's suite, such as `run --suite paper-lip --data-dir data`
    makes; a number that is not known stays "not known".

    Args:
        paper: lip, ccup, cliperase, diet or negmerge.
    """
    import sys

    from benchmark.leaderboards.papers.table import render
    from benchmark.records.store import RecordStore

    store = RecordStore(records.results)
    suites: tuple[str, ...] = importlib.import_module(f"benchmark.leaderboards.papers.{paper}").SUITES
    measured = [record for suite in suites for record in store.all(suite)]
    for message in store.notes:
        print(message, file=sys.stderr)
    if not measured:
        print(f"no records of {' or '.join(suites)} in {store.folder} yet: nothing is measured", file=sys.stderr)
    sys.stdout.write(render(tables_of(paper, measured), shown.format))
    return 0


def tables_of(paper: str, records: list[Record]) -> list[PaperTable]:
    """The tables of a paper from some records."""
    from benchmark.leaderboards.papers.measured import Measured

    module = importlib.import_module(f"benchmark.leaderboards.papers.{paper}")
    tables: list[PaperTable] = module.build(Measured(records))
    return tables
