"""Sequences of requests, step by step: what the first one has become, and how damage adds up.

Each step of a sequence has a board for its first and for its last request (`grouping.kind_of`). This table shows one
row over all steps: the first request and the latest one by the measure of forgetting, and what had to stay by that of
retention, which is of the same images at every step.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmark.leaderboards.grouping import BoardKey, by_board, by_row
from benchmark.records.record import Record
from datamodules.common.errors import BenchmarkError
from datamodules.common.image_request import read_request

FORGOTTEN, RETAINED, OTHERS = "forget/acc1", "retain/acc1", "other/acc1"


@dataclass(frozen=True)
class Steps:
    """One row of a sequence, by step from 1.

    Attributes:
        method: The row's label.
        first: Of the first request, in [0, 1]; the mean over sequences and seeds, None where a step was not measured.
        latest: Of the step's own request, likewise.
        retained: Of the classes that no request of the sequence names, likewise.
        others: Of the other data sets, likewise.
    """

    method: str
    first: tuple[float | None, ...]
    latest: tuple[float | None, ...]
    retained: tuple[float | None, ...]
    others: tuple[float | None, ...]


def steps_of(records: Iterable[Record]) -> dict[BoardKey, list[Steps]]:
    """The rows of all sequences, those that kept most of what had to stay after the last step first.

    Args:
        records: In any order; those that stand in no sequence are passed over.

    Raises:
        BenchmarkError: If no record stands in a sequence.
    """
    boards: dict[BoardKey, list[Record]] = defaultdict(list)
    for key, on_board in by_board(records).items():
        if on_board[0].cell.get("sequence"):
            count = len(on_board[0].cell["sequence"])
            boards[key._replace(kind=f"{count} requests one after another")] += on_board
    if not boards:
        raise BenchmarkError(
            "no record is of requests one after another: run some with `python -m benchmark run --suite sequence`"
        )
    return {key: _rows(on_board) for key, on_board in boards.items()}


def _rows(records: Sequence[Record]) -> list[Steps]:
    count = len(records[0].cell["sequence"])
    rows = [_row(label, row_records, count) for label, row_records in by_row(records).items()]
    return sorted(rows, key=lambda row: (row.retained[-1] is None, -(row.retained[-1] or 0.0), row.method))


def _row(label: str, records: Sequence[Record], count: int) -> Steps:
    first, latest = ([record for record in records if _measured(record) in (which, "both")] for which in _WHICH)
    damage = [_by_step(latest, metric, count) for metric in (RETAINED, OTHERS)]
    return Steps(label, _by_step(first, FORGOTTEN, count), _by_step(latest, FORGOTTEN, count), *damage)


_WHICH = ("first", "latest")


def _measured(record: Record) -> str:
    """Which request of its sequence a record is of: "first", "latest", or "both" after the first step."""
    if record.cell["step"] == 1:
        return "both"
    first = read_request(record.cell["sequence"][0])
    return "first" if read_request(record.cell["request"]) == first else "latest"


def _by_step(records: Sequence[Record], metric: str, count: int) -> tuple[float | None, ...]:
    values: dict[int, list[float]] = defaultdict(list)
    for record in records:
        measured = record.metrics.get(metric)
        if measured is not None and measured.value is not None:
            values[record.cell["step"]].append(measured.value)
    return tuple(fmean(values[step]) if values[step] else None for step in range(1, count + 1))
