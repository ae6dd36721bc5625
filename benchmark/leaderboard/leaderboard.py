"""The leaderboard of a folder: its records read, put on boards, and given as text or as a DataFrame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.leaderboard.boards import Board, boards_of, flat_rows, no_records
from benchmark.leaderboard.tables import Format, render
from benchmark.records.record import Record
from benchmark.records.store import REFERENCE, RecordStore
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

    def rows(self) -> list[dict[str, Any]]:
        """One flat dictionary a row: what its board is, method, rank, the mean of each metric, costs."""
        return flat_rows(self.boards)

    def to_pandas(self) -> pd.DataFrame:
        """All rows of all boards as one DataFrame: fractions, seconds and bytes."""
        import pandas as pd

        return pd.DataFrame(self.rows())

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
        chip: Whose seconds and memory to show, see `benchmark.leaderboard.boards.build`.

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
