"""The leaderboard: records in, boards of comparable rows out.

A board holds what may be compared: one suite, model, data set, kind of request, precision and kind of device. A row
is a method. Its means are over (request, seed) cells, and a mean is empty where one of them is missing: a
method that failed on the hard requests must not win by that. Chips of one kind share a board; seconds and memory are
those of one chip, which a note names.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any

from benchmark.evaluation.catalogue import find
from benchmark.evaluation.measures.retrain_gap import retrain_gap
from benchmark.leaderboards.comparison import cell_values, rank_ranges
from benchmark.leaderboards.grouping import RANKED_BY, BoardKey, Pair, by_board, by_row, chip_of, columns_of, pair
from benchmark.leaderboards.pareto import FRONT_NOTE, axes_of, front
from benchmark.models.registry import PRETRAINING
from benchmark.records.record import Metric, Record
from benchmark.utils.statistics import Interval, t_interval
from datamodules.common.errors import UnknownNameError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from benchmark.records.cell import Cell
    from methods.common.registry import Registry


def gold_spread(records: Iterable[Record]) -> Interval | None:
    """The gap between retrained models of different seeds, in [0, 1]: mean over requests of the mean over pairs.

    A gap to one of them that is not larger may be the luck of a training. Our choice, because a gold standard that is
    trained has a spread, and a gap without it has no unit.

    Args:
        records: Of one board.

    Returns:
        The mean and its t interval over requests; None where no request has two seeds.
    """
    seeds: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.provenance.get("regime") == PRETRAINING:
            seeds[pair(record)[0]].append(record)
    means = []
    for models in seeds.values():
        gaps = [retrain_gap(first.metrics, second.metrics).gap for first, second in combinations(models, 2)]
        if gaps:
            means.append(sum(gaps) / len(gaps))
    return t_interval(means) if means else None


def spread_note(records: Iterable[Record]) -> list[str]:
    """The note below a board; none where the spread is not known."""
    spread = gold_spread(records)
    if spread is None:
        return []
    return [
        f"\u2013 gap: two models trained again without the same data, from different seeds, are "
        f"{100 * spread.mean:.1f} points apart: so much of a gap may be chance"
    ]


COSTS = ("unlearn_seconds", "peak_memory_bytes", "flops", "edited_bytes")
OF_CHIP = ("unlearn_seconds", "peak_memory_bytes")
"""The costs that depend on the chip; operations and the size of the edit do not."""
UNRANKED = "\u2013"
"""An en dash: in the place of a rank, and before a note."""
NOTE = (
    f"{UNRANKED} rank by S; intervals: t over (request, seed) cells, Wilson for one cell; "
    "an empty mean has missing cells"
)
RANGE_NOTE = (
    f"{UNRANKED} range: the ranks that a row may hold, from paired differences in S over requests (t, 95 % for the "
    "board as a whole: Holm's correction for all pairs)"
)
BROUGHT_NOTE = (
    f"{UNRANKED} brought: unlearned elsewhere and measured here from a checkpoint; what it read and cost is not known"
)
Expected = Mapping[tuple[BoardKey, str], Collection[Pair]]
"""By board and method, the cells that a full row has."""


@dataclass(frozen=True)
class Row:
    """One method on one board.

    Attributes:
        method: Registry name; with a suffix where a board holds several settings or sources of one method.
        regime: The data that it read.
        reference: Whether it is a reference row, which does not compete.
        rank: From 1, by `RANKED_BY`; None for reference rows and where the score is empty.
        cells: How many of the expected cells have a record.
        expected: How many cells a full row has.
        metrics: Mean and interval by metric; None where a cell is missing or could not be measured.
        costs: Mean by cost, in the units of its name; None likewise. Those of `OF_CHIP` are over the cells that ran on
            the board's chip, and None where none did.
        chip_cells: How many of its cells ran on that chip.
        rank_best: The best rank that the row may hold (`benchmark.leaderboards.comparison.rank_ranges`); None without a
        rank. rank_worst: The worst, likewise. front: Whether no other method forgets as much, retains as much and takes
        as little time (`benchmark.leaderboards.pareto`).
        brought: Whether the models were unlearned elsewhere and brought as checkpoints: what they read and cost is not
            known.
    """

    method: str
    regime: str
    reference: bool
    rank: int | None
    cells: int
    expected: int
    metrics: dict[str, Interval | None]
    costs: dict[str, float | None]
    chip_cells: int = 0
    rank_best: int | None = None
    rank_worst: int | None = None
    front: bool = False
    brought: bool = False


@dataclass(frozen=True)
class Board:
    """Rows that may be compared: reference rows first, then by rank, then those without one.

    Attributes:
        key: What the rows share.
        requests: How many requests were made.
        seeds: How many seeds were run.
        columns: The metrics to show, in order.
        costs: The costs to show, in order.
        rows: The methods.
        notes: What a reader must know, one line each.
        chip: Whose seconds and memory are shown.
        chips: By chip how many cells of the board ran on it, most first.
    """

    key: BoardKey
    requests: int
    seeds: int
    columns: tuple[str, ...]
    costs: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    chip: str = ""
    chips: dict[str, int] = field(default_factory=dict)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row a method, in full: what the board is, ranks, cells, costs, and of each metric mean, low and high."""
        import numpy as np
        import pandas as pd

        def numbers(values: Iterable[float | None]) -> np.ndarray:
            return np.array([*values], dtype=float)

        def fields(*names: str, dtype: Any = None) -> dict[str, Any]:
            return {name: pd.Series([getattr(row, name) for row in self.rows], dtype=dtype) for name in names}

        columns: dict[str, Any] = {
            **self.key._asdict(),
            **fields("method", "regime"),
            **fields("reference", "brought", dtype="bool"),
            **fields("rank", "rank_best", "rank_worst", dtype="Int64"),
            **fields("front", dtype="bool"),
            **fields("cells", "expected", dtype="int64"),
            **{name: numbers(row.costs.get(name) for row in self.rows) for name in COSTS},
            "chip": self.chip,
            **fields("chip_cells", dtype="int64"),
        }
        for name in sorted({*self.columns, *(name for row in self.rows for name in row.metrics)}):
            for column, end in ((name, "mean"), (f"{name}_low", "low"), (f"{name}_high", "high")):
                columns[column] = numbers(getattr(row.metrics.get(name), end, None) for row in self.rows)
        return pd.DataFrame(columns, index=range(len(self.rows)))


def build(
    records: Iterable[Record],
    expected: Expected | None = None,
    *,
    references: Collection[str] = (),
    chip: str | None = None,
) -> list[Board]:
    """Group records into boards.

    Args:
        records: In any order; of two with one key on one board the later counts, whichever machines made them.
        expected: The cells that a full row has. A row that it does not name is expected to have every request
            of its board at every seed of its own: a method without chance runs at seed 0 only.
        references: Names of the methods that do not compete.
        chip: Whose seconds and memory to show, where it has cells: a chip's name or a part of it, in any case. By
            default, and on boards without it, that of most cells.

    Returns:
        Boards in the order of their keys. A board without any record is not there.

    Raises:
        UnknownNameError: If no board has cells of that chip.
    """
    all_records = list(records)
    chips = sorted({chip_of(record) for record in all_records})
    if chip is not None and not _fitting(chip, chips):
        raise UnknownNameError("device of these records", chip, chips)
    measured = by_board(all_records, by_chip=True)
    return [
        _board(key, board_records, measured[key], expected or {}, references, chip)
        for key, board_records in by_board(all_records).items()
    ]


def _fitting(wanted: str | None, chips: Iterable[str]) -> list[str]:
    return [] if wanted is None else [chip for chip in chips if wanted.casefold() in chip.casefold()]


def _board(
    key: BoardKey,
    records: list[Record],
    measured: list[Record],
    expected: Expected,
    references: Collection[str],
    wanted: str | None,
) -> Board:
    requests = {pair(record)[0] for record in records}
    chips = dict(sorted(Counter(map(chip_of, measured)).items(), key=lambda item: (-item[1], item[0])))
    chip = next(iter((*_fitting(wanted, chips), *chips)))
    on_chip = {record.key: record for record in measured if chip_of(record) == chip}
    rows, notes = [], [NOTE]
    counted: dict[str, list[Record]] = {}
    for label, row_records in by_row(records).items():
        method = row_records[0].cell["method"]
        seeds = {record.cell["seed"] for record in row_records}
        cells = expected.get((key, method), [(request, seed) for request in requests for seed in seeds])
        row = _row(label, row_records, on_chip, set(cells), reference=method in references)
        counted[label] = [record for record in row_records if pair(record) in set(cells)]
        twice = sum(count > 1 for count in Counter(map(pair, row_records)).values())
        if twice:
            notes.append(
                f"{UNRANKED} {label}: {twice} cells have several records (other data, weights or packages); "
                "its means are empty until the stale ones are removed"
            )
        rows.append(row)
    present = {record.cell["method"] for record in records}
    for board, method in expected:
        if board == key and method not in present:
            count = len(set(expected[board, method]))
            rows.append(Row(method, "", method in references, None, 0, count, {}, {}))
    names = {name for record in records for name in record.metrics}
    columns = columns_of(key.kind, names)
    ranked = _with_fronts(_with_ranges(_ranked(rows), counted), columns)
    notes[1:1] = [
        *_range_notes(ranked, len(requests)),
        *([FRONT_NOTE] if any(row.front for row in ranked) else []),
        *([BROUGHT_NOTE] if any(row.brought for row in ranked) else []),
        *(spread_note(records) if "score/retrain_gap" in columns else []),
        *_chip_notes(chip, chips, ranked),
    ]
    return Board(
        key,
        len(requests),
        len({record.cell["seed"] for record in records}),
        columns,
        tuple(name for name in COSTS if any(record.cost.get(name) is not None for record in records)),
        tuple(ranked),
        tuple(notes),
        chip,
        chips,
    )


def _row(
    label: str, records: list[Record], on_chip: Mapping[str, Record], expected: set[Pair], *, reference: bool
) -> Row:
    expected_records = [record for record in records if pair(record) in expected]
    cells = {pair(record) for record in expected_records}
    complete = bool(expected) and len(expected_records) == len(cells) == len(expected)
    names = sorted({name for record in expected_records for name in record.metrics})
    there = [on_chip[record.key] for record in expected_records if record.key in on_chip]
    costs = {
        name: _mean_cost(name, there if name in OF_CHIP else expected_records) if complete else None for name in COSTS
    }
    return Row(
        label,
        str(records[0].provenance.get("regime", "")),
        reference,
        None,
        len(cells),
        len(expected),
        {name: _mean(name, [r.metrics.get(name) for r in expected_records]) if complete else None for name in names},
        costs,
        len(there),
        brought=any(record.cell.get("brought") for record in records),
    )


def _mean_cost(name: str, records: list[Record]) -> float | None:
    values = [value for record in records if (value := record.cost.get(name)) is not None]
    return sum(values) / len(values) if values and len(values) == len(records) else None


def _mean(name: str, metrics: list[Metric | None]) -> Interval | None:
    values = [metric.value for metric in metrics if metric is not None and metric.value is not None]
    if not values or len(values) < len(metrics):
        return None
    if len(metrics) == 1:
        low, high = (metrics[0].ci95 if metrics[0] is not None else None) or (None, None)
        return Interval(values[0], low, high, 1)
    interval, measure = t_interval(values), find(name)
    if measure is None or interval.low is None or interval.high is None:
        return interval
    return replace(interval, low=max(interval.low, measure.low), high=min(interval.high, measure.high))


def _ranked(rows: list[Row]) -> list[Row]:
    def score(row: Row) -> float | None:
        mean = row.metrics.get(RANKED_BY)
        return None if mean is None or row.reference else mean.mean

    scores = [value for row in rows if (value := score(row)) is not None]
    ranked = [
        replace(row, rank=None if value is None else 1 + sum(other < value for other in scores))
        for row, value in ((row, score(row)) for row in rows)
    ]
    return sorted(ranked, key=lambda row: (not row.reference, row.rank is None, row.rank or 0, row.method))


def _with_ranges(rows: list[Row], counted: Mapping[str, list[Record]]) -> list[Row]:
    ranges = rank_ranges({row.method: cell_values(counted[row.method], RANKED_BY) for row in rows if row.rank})
    row_ranges = ((row, ranges.get(row.method, (None, None))) for row in rows)
    return [replace(row, rank_best=best, rank_worst=worst) for row, (best, worst) in row_ranges]


def _with_fronts(rows: list[Row], columns: Collection[str]) -> list[Row]:
    competing = {row.method: (row.metrics, row.costs) for row in rows if not row.reference}
    best = front(competing, axes_of(columns)) if len(competing) > 1 else frozenset()
    return [replace(row, front=row.method in best) for row in rows]


def _chip_notes(chip: str, chips: Mapping[str, int], rows: list[Row]) -> list[str]:
    """Whose seconds and memory the board shows, and what it does not show."""
    if len(chips) == 1:
        return [f"{UNRANKED} seconds and MB: on {chip}"]
    others = ", ".join(f"{name} ({count} cells)" for name, count in chips.items() if name != chip)
    partly = [f"{row.method} ({row.chip_cells}/{row.cells})" for row in rows if 0 < row.chip_cells < row.cells]
    some = f"; of some rows only a part of the cells ran there: {', '.join(partly)}" if partly else ""
    return [
        f"{UNRANKED} seconds and MB: on {chip}, of the cells that ran there{some}; all other numbers are of all chips; "
        f"--device NAME shows the costs of {others}"
    ]


def _range_notes(rows: list[Row], requests: int) -> list[str]:
    competing = [row for row in rows if row.rank is not None]
    if len(competing) < 2:
        return []
    if any((row.rank_best, row.rank_worst) != (1, len(competing)) for row in competing):
        return [RANGE_NOTE]
    few = f"{requests} request{'s do' if requests > 1 else ' does'} not tell any two rows apart"
    return [RANGE_NOTE, f"{UNRANKED} {few}: the order may be chance; more requests narrow the ranges"]


def boards_of(
    records: Sequence[Record], registry: Registry, *, cells: Sequence[Cell] | None = None, chip: str | None = None
) -> list[Board]:
    """The boards of some records.

    Args:
        records: The records.
        registry: Tells which methods are reference rows.
        cells: The plan, if there is one: a row that lacks one of its cells has empty means.
        chip: Whose seconds and memory to show, see `benchmark.leaderboards.boards.build`.
    """
    references = [n for n in registry.names() if registry.declaration(n).card.paper == "reference row"]
    expected: dict[tuple[BoardKey, str], set[Pair]] = {}
    for cell in cells or ():
        shared = (cell.suite, cell.model, cell.dataset, cell.request.kind, cell.precision, cell.device, cell.tuned)
        expected.setdefault((BoardKey(*shared), cell.method), set()).add((str(cell.request), cell.seed))
    return build(records, expected, references=references, chip=chip)
