"""The leaderboard: records in, boards of comparable rows out.

A board holds what may be compared: one suite, model, data set, kind of request, precision and kind of device. A row
is a method. Its means are over requests, each the mean over its seeds, and a mean is empty where a (request, seed) cell
is missing: a method that failed on the hard requests must not win by that. Chips of one kind share a board; seconds and
memory are those of one chip, which a note names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from benchmark.evaluation.catalogue import better
from benchmark.evaluation.measures.quality import QUALITY
from benchmark.leaderboards.comparison import LEAST_REQUESTS, Standings, cell_values, standings
from benchmark.leaderboards.found import found_note, found_text, with_found
from benchmark.leaderboards.gold_standard import spread_note
from benchmark.leaderboards.grouping import (
    PUBLISHED,
    QUALITY_COLUMNS,
    BoardKey,
    Pair,
    by_board,
    by_request,
    by_row,
    chip_of,
    columns_of,
    kind_of,
    pair,
)
from benchmark.leaderboards.means import mean, mean_cost
from benchmark.leaderboards.notes import BROUGHT_NOTE, DASH, NOTE, chip_notes, ranking_notes, worst_case_notes
from benchmark.leaderboards.pareto import CLOCK_SECONDS, CPU_SECONDS, FRONT_NOTE, axes_of, front, runtime_of
from benchmark.leaderboards.scored import floors, with_quality
from benchmark.leaderboards.unscored import LEFT_OUT, requests_with, unscored, unscored_note
from benchmark.records.record import Record
from benchmark.utils.statistics import Interval
from datamodules.common.errors import UnknownNameError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from benchmark.records.cell import Cell
    from methods.common.registry import Registry


COSTS = (CLOCK_SECONDS, CPU_SECONDS, "peak_memory_bytes", "flops", "edited_bytes")
OF_CHIP = (CLOCK_SECONDS, CPU_SECONDS, "peak_memory_bytes")
"""The costs that depend on the chip; operations and the size of the edit do not."""
Expected = Mapping[tuple[BoardKey, str], Collection[Pair]]
"""By board and method, the cells that a full row has."""


@dataclass(frozen=True)
class Row:
    """One method on one board.

    Attributes:
        method: Registry name; with a suffix where a board holds several settings or sources of one method.
        regime: The data that it read.
        reference: Whether it is a reference row, which does not compete.
        rank: From 1, by the board's `ranked_by`; None for reference rows and where that is empty.
        cells: How many of the expected cells have a record.
        expected: How many cells a full row has.
        metrics: Mean and interval by metric; None where a cell is missing or could not be measured.
        costs: Mean by cost, in the units of its name; None likewise. Those of `OF_CHIP` are over the cells that ran on
            the board's chip, and None where none did.
        chip_cells: How many of its cells ran on that chip.
        rank_best: The best rank that the row may hold (`benchmark.leaderboards.comparison.standings`); None without a
            rank, and where the board has fewer than `LEAST_REQUESTS` requests.
        rank_worst: The worst, likewise.
        tier: From 1; the rows of a tier cannot be told from its first, and all of them can from the first rows of the
            tiers before it. None where `rank_best` is.
        wide: Whether it is in its tier for varying much from request to request, not for its mean.
        front: Whether no other method forgets as much, retains as much and takes as little time
            (`benchmark.leaderboards.pareto`).
        found_by: The questions that still find the forget set, in a word or two each (`benchmark.leaderboards.found`);
            None where they were not all asked.
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
    tier: int | None = None
    wide: bool = False
    front: bool = False
    found_by: tuple[str, ...] | None = None
    brought: bool = False

    @property
    def in_first_tier(self) -> bool:
        """Whether it cannot be told from the best, and not for its spread alone."""
        return self.tier == 1 and not self.wide

    def mean(self, metric: str) -> float | None:
        """The mean of a metric; None where there is none."""
        interval = self.metrics.get(metric)
        return None if interval is None else interval.mean


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
        ranked_by: The metric that rows are ranked by.
        by_chance: Whether the floor of E is chance, for want of retrained models.
        runtime: Which cost stands for the time that a method takes (`benchmark.leaderboards.pareto.runtime_of`).
        unscored: The requests that Q and E leave out (`benchmark.leaderboards.unscored`).
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
    ranked_by: str = QUALITY
    by_chance: bool = False
    runtime: str = CLOCK_SECONDS
    unscored: tuple[str, ...] = ()

    @property
    def ranking_requests(self) -> int:
        """Over how many requests rows are ranked."""
        return requests_with(self.ranked_by, self.requests, self.unscored)

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
            **fields("rank", "rank_best", "rank_worst", "tier", dtype="Int64"),
            **fields("wide", "front", dtype="bool"),
            "found_by": [found_text(row.found_by) for row in self.rows],
            **fields("cells", "expected", dtype="int64"),
            **{name: numbers(row.costs.get(name) for row in self.rows) for name in COSTS},
            "runtime": self.runtime,
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
    """Group records into boards, after E, D and Q are made of all of them.

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
    return build_scored(with_quality(records), expected, references=references, chip=chip)


def build_scored(
    records: Sequence[Record],
    expected: Expected | None = None,
    *,
    references: Collection[str] = (),
    chip: str | None = None,
) -> list[Board]:
    """As `build`, of records that have E, D and Q: they are made of all records, so not of a part of them again."""
    chips = sorted({chip_of(record) for record in records})
    if chip is not None and not _fitting(chip, chips):
        raise UnknownNameError("device of these records", chip, chips)
    measured = by_board(records, by_chip=True)
    return [
        _board(key, board_records, measured[key], expected or {}, references, chip)
        for key, board_records in by_board(records).items()
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
    left_out = unscored(records)
    chips = dict(sorted(Counter(map(chip_of, measured)).items(), key=lambda item: (-item[1], item[0])))
    chip = next(iter((*_fitting(wanted, chips), *chips)))
    on_chip = {record.key: record for record in measured if chip_of(record) == chip}
    rows: list[Row] = []
    stale: list[str] = []
    counted: dict[str, list[Record]] = {}
    for label, row_records in by_row(records).items():
        method = row_records[0].cell["method"]
        seeds = {record.cell["seed"] for record in row_records}
        cells = set(expected.get((key, method), [(request, seed) for request in requests for seed in seeds]))
        counted[label] = [record for record in row_records if pair(record) in cells]
        row = _row(label, row_records, counted[label], on_chip, cells, left_out, reference=method in references)
        twice = sum(count > 1 for count in Counter(map(pair, row_records)).values())
        if twice:
            stale.append(
                f"{DASH} {label}: {twice} cells have several records (other data, weights or packages); "
                "its means are empty until the stale ones are removed"
            )
        rows.append(row)
    present = {record.cell["method"] for record in records}
    for board, method in expected:
        if board == key and method not in present:
            count = len(set(expected[board, method]))
            rows.append(Row(method, "", method in references, None, 0, count, {}, {}))
    shown = ((name, metric) for record in records for name, metric in record.metrics.items())
    names = {name for name, metric in shown if name not in QUALITY_COLUMNS or metric.value is not None}
    columns = columns_of(key.kind, names)
    ranked_by = _ranking(rows)
    ranked = _ranked(rows, ranked_by)
    values = {row.method: cell_values(counted[row.method], ranked_by) for row in ranked if row.rank}
    count = requests_with(ranked_by, len(requests), left_out)
    standing = standings(values, _better(ranked_by)) if count >= LEAST_REQUESTS else Standings()
    runtime = runtime_of(key.device, [row.costs for row in ranked if not row.reference])
    ranked = with_found(_with_fronts(_with_standings(ranked, standing), columns, runtime))
    of_time = {CLOCK_SECONDS, CPU_SECONDS} - {runtime}
    left = floors(records)
    notes = (
        NOTE,
        *ranking_notes(ranked, records, ranked_by, standing, count, left),
        *([f"{DASH} {unscored_note(left_out, records)}"] if left_out else []),
        *worst_case_notes(columns, records),
        *found_note(ranked),
        *([FRONT_NOTE] if any(row.front for row in ranked) else []),
        *([BROUGHT_NOTE] if any(row.brought for row in ranked) else []),
        *(spread_note(records) if "score/retrain_gap" in columns else []),
        *chip_notes(chip, chips, ranked),
        *stale,
    )
    return Board(
        key,
        len(requests),
        len({record.cell["seed"] for record in records}),
        columns,
        tuple(c for c in COSTS if c not in of_time and any(record.cost.get(c) is not None for record in records)),
        tuple(ranked),
        notes,
        chip,
        chips,
        ranked_by,
        by_chance=left.by_chance > 0,
        runtime=runtime,
        unscored=left_out,
    )


def _row(
    label: str,
    records: list[Record],
    expected_records: list[Record],
    on_chip: Mapping[str, Record],
    expected: set[Pair],
    left_out: Sequence[str],
    *,
    reference: bool,
) -> Row:
    cells = {pair(record) for record in expected_records}
    complete = bool(expected) and len(expected_records) == len(cells) == len(expected)
    requests = by_request(expected_records)
    every, scored = [*requests.values()], [of for request, of in requests.items() if request not in left_out]
    names = sorted({name for record in expected_records for name in record.metrics})
    there = [on_chip[record.key] for record in expected_records if record.key in on_chip]
    costs = {
        name: mean_cost(name, there if name in OF_CHIP else expected_records) if complete else None for name in COSTS
    }
    return Row(
        label,
        str(records[0].provenance.get("regime", "")),
        reference,
        None,
        len(cells),
        len(expected),
        {name: mean(name, scored if name in LEFT_OUT else every) if complete else None for name in names},
        costs,
        len(there),
        brought=any(record.cell.get("brought") for record in records),
    )


def _score(row: Row, ranked_by: str) -> float | None:
    mean = row.metrics.get(ranked_by)
    return None if mean is None or row.reference else mean.mean


def _ranking(rows: Iterable[Row]) -> str:
    """Q where a row that competes has it, else S."""
    return QUALITY if any(_score(row, QUALITY) is not None for row in rows) else PUBLISHED


def _better(metric: str) -> Literal["lower", "higher"]:
    return "higher" if better(metric) == "higher" else "lower"


def _ranked(rows: list[Row], ranked_by: str) -> list[Row]:
    sign = -1.0 if _better(ranked_by) == "higher" else 1.0
    scores = {row.method: sign * value for row in rows if (value := _score(row, ranked_by)) is not None}
    ranks = {label: 1 + sum(other < value for other in scores.values()) for label, value in scores.items()}
    ranked = [replace(row, rank=ranks.get(row.method)) for row in rows]
    return sorted(ranked, key=lambda row: (not row.reference, row.rank is None, row.rank or 0, row.method))


def _with_standings(rows: list[Row], known: Standings) -> list[Row]:
    ranges = [known.ranges.get(row.method, (None, None)) for row in rows]
    return [
        replace(row, rank_best=best, rank_worst=worst, tier=known.tiers.get(row.method), wide=row.method in known.wide)
        for row, (best, worst) in zip(rows, ranges, strict=True)
    ]


def _with_fronts(rows: list[Row], columns: Collection[str], runtime: str) -> list[Row]:
    competing = {row.method: (row.metrics, row.costs) for row in rows if not row.reference}
    best = front(competing, axes_of(columns), runtime) if len(competing) > 1 else frozenset()
    return [replace(row, front=row.method in best) for row in rows]


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
        kind = kind_of(cell.identity())
        shared = (cell.suite, cell.model, cell.dataset, kind, cell.precision, cell.device, cell.tuned)
        expected.setdefault((BoardKey(*shared), cell.method), set()).add((str(cell.request), cell.seed))
    return build(records, expected, references=references, chip=chip)
