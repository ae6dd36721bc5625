"""The leaderboard of a folder: its records read, put on boards, and given as text or as a DataFrame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.leaderboards.boards import Board, boards_of
from benchmark.leaderboards.tables import render
from benchmark.records.record import Record
from benchmark.records.store import REFERENCE, RecordStore
from benchmark.utils.suggestions import did_you_mean
from benchmark.utils.table import Format, joined
from datamodules.common.errors import BenchmarkError
from methods.common.registry import Registry

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class Leaderboard:
    """Boards of comparable rows; `str()` gives them as the command line prints them.

    Attributes:
        boards: One for each suite, model, data set, kind of request, precision and kind of device.
        records: What they were made from.
        notes: What a reader must know of files that were not read, one line each.
    """

    boards: tuple[Board, ...]
    records: tuple[Record, ...]
    notes: tuple[str, ...] = ()

    def to_pandas(self) -> pd.DataFrame:
        """All rows of all boards as one DataFrame: fractions, seconds and bytes; CSV and JSON hold the same."""
        return joined([board.frame for board in self.boards])

    def render(self, format: Format = "table") -> str:
        """The boards as text: table, markdown, csv, json, latex or html."""
        return render(self.boards, format)

    def __str__(self) -> str:
        return self.render()

    __repr__ = __str__


def read_leaderboard(
    results: Path,
    *,
    suite: str | None = None,
    reference: bool = False,
    with_reference: bool = False,
    plugins: Sequence[Path] = (),
    chip: str | None = None,
) -> Leaderboard:
    """The leaderboard of the records of a folder.

    Args:
        results: The folder.
        suite: Only this suite.
        reference: The reference records that come with the project, in the place of the folder's.
        with_reference: The folder's records and the reference records; of a cell that both have, the folder's counts.
        plugins: Files of further methods, which say what are baselines.
        chip: Whose seconds and memory to show, see `benchmark.leaderboards.boards.build`.

    Raises:
        BenchmarkError: If there are no records, or no such chip.
    """
    if reference and with_reference:
        raise BenchmarkError("--reference shows the reference records alone: leave it out beside --with-reference")
    store = RecordStore(REFERENCE if reference else results, older=reference)
    records = store.all(suite)
    if with_reference:
        records = [*RecordStore(REFERENCE, older=True).all(suite), *records]
    if not records:
        notes = "".join(f"; {note}" for note in store.notes)
        raise BenchmarkError(no_records(store, suite) + notes)
    boards = boards_of(records, Registry(plugins), chip=chip)
    return Leaderboard(tuple(boards), tuple(records), tuple(store.notes))


def no_records(store: RecordStore, suite: str | None) -> str:
    """The line that says so, with the nearest suite that has some, and how to make some."""
    if not suite:
        return f"no records in {store.folder}; make some with `python -m benchmark run --all`"
    near = did_you_mean(suite, sorted({record.cell["suite"] for record in store.all()}))
    make = f"make some with `python -m benchmark run --suite {suite}`"
    return f"no records of suite {suite!r} in {store.folder}{near or f'; {make}'}"
