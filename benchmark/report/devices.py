"""Seconds of unlearning by chip, and on which chips the cells of each board were run.

Boards of one kind of device stand apart, since their numbers differ a little; here the devices stand beside each other.
Where a method ran on several chips, its seconds are over the cells that all of them ran, as far as there are any.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmark.leaderboards.grouping import BoardKey, Pair, board_key, by_row, chip_of, pair
from benchmark.leaderboards.pareto import CLOCK_SECONDS
from benchmark.records.record import Record

Asked = tuple[str, str, str, str, str]
"""What boards of several devices share: suite, model, data set, kind of request, tuning budget."""


@dataclass(frozen=True)
class DeviceRow:
    """A method on the chips.

    Attributes:
        label: Its row.
        regime: What it reads.
        cells: By chip, how many cells ran on it.
        seconds: By chip the mean by the clock; None where no cell tells it.
        alike: Whether all means are over the same cells.
    """

    label: str
    regime: str
    cells: tuple[int, ...]
    seconds: tuple[float | None, ...]
    alike: bool


@dataclass(frozen=True)
class Devices:
    """What was asked, on every chip that ran it.

    Attributes:
        asked: What the boards share.
        chips: Most cells first.
        cells: By chip.
        rows: By label.
    """

    asked: Asked
    chips: tuple[str, ...]
    cells: tuple[int, ...]
    rows: tuple[DeviceRow, ...]


def asked_of(key: BoardKey) -> Asked:
    """What a board shares with those of other devices."""
    return key.suite, key.model, key.dataset, key.kind, key.tuned


def devices(records: Iterable[Record]) -> list[Devices]:
    """The chips of all boards, in the order of what was asked.

    Args:
        records: A cell that several chips ran has a record of each.
    """
    groups: dict[Asked, list[Record]] = defaultdict(list)
    for record in records:
        groups[asked_of(board_key(record))].append(record)
    return [_devices(asked, groups[asked]) for asked in sorted(groups)]


def _devices(asked: Asked, records: Sequence[Record]) -> Devices:
    counts: dict[str, int] = defaultdict(int)
    for record in records:
        counts[chip_of(record)] += 1
    chips = sorted(counts, key=lambda chip: (-counts[chip], chip))
    rows = [_row(label, of_row, chips) for label, of_row in by_row(records).items()]
    return Devices(asked, tuple(chips), tuple(counts[chip] for chip in chips), tuple(rows))


def _row(label: str, records: Sequence[Record], chips: Sequence[str]) -> DeviceRow:
    seconds: dict[str, dict[Pair, float]] = {chip: {} for chip in chips}
    cells = dict.fromkeys(chips, 0)
    for record in records:
        cells[chip_of(record)] += 1
        value = record.cost.get(CLOCK_SECONDS)
        if value is not None:
            seconds[chip_of(record)][pair(record)] = float(value)
    timed = [set(of_chip) for of_chip in seconds.values() if of_chip]
    shared = set.intersection(*timed) if timed else set()
    means = [
        fmean(value for cell, value in of_chip.items() if cell in shared or not shared) if of_chip else None
        for of_chip in seconds.values()
    ]
    regime = str(records[0].provenance.get("regime", ""))
    return DeviceRow(label, regime, tuple(cells.values()), tuple(means), bool(shared) or len(timed) < 2)
