"""Why a cell of a board is empty, in one line for its reader."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from benchmark.evaluation.catalogue import find
from benchmark.evaluation.families import DERIVED, FAMILIES
from benchmark.leaderboards.boards import Row
from benchmark.leaderboards.grouping import Pair, pair
from benchmark.records.failures import Failure
from benchmark.records.record import Record
from datamodules.common.errors import RequestError
from datamodules.common.image_request import read_request


def missing_cells(row: Row, records: Sequence[Record], expected: Collection[Pair], failures: Sequence[Failure]) -> str:
    """Why every mean of a row is empty; empty where the row is whole.

    Args:
        row: The row.
        records: Those of the row.
        expected: The cells that it should have.
        failures: Those of its method on its board.
    """
    twice = [cell for cell, count in Counter(map(pair, records)).items() if count > 1]
    if twice:
        return f"several records of one cell: {_cells(twice)}; remove the stale ones"
    if row.cells >= row.expected:
        return ""
    absent = sorted(set(expected) - set(map(pair, records)))
    lines = [f"{row.cells} of {row.expected} cells have a record; missing: {_cells(absent)}"]
    lines += [f"{failure.error}: {_line(failure.message)}" for failure in failures if pair_of(failure) in absent][:1]
    return "; it failed with ".join(lines)


def empty_metric(metric: str, records: Sequence[Record]) -> str:
    """Why a metric of a whole row is empty."""
    family = next((n for n, family in {**FAMILIES, **DERIVED}.items() if metric in family.metrics), None)
    for record in records:
        reasons = record.report.get("not_measured")
        if family is not None and isinstance(reasons, dict) and family in reasons:
            return f"not measured: {_line(str(reasons[family]))}"
    absent = [record for record in records if metric not in record.metrics]
    if len(absent) == len(records):
        how = f"; `measure {family}` adds it" if family in FAMILIES else ""
        return f"not asked of this method{how}"
    if absent:
        return f"{len(absent)} of {len(records)} records do not have it"
    measure = find(metric)
    needs = f" (it needs: {', '.join(measure.needs)})" if measure is not None and measure.needs else ""
    return f"not defined for these cells{needs}"


def empty_cost(records: Sequence[Record]) -> str:
    """Why a cost of a whole row is empty."""
    return f"not counted in {'these records' if len(records) > 1 else 'this record'}"


def pair_of(failure: Failure) -> Pair | None:
    """The (request, seed) of a failed cell; None where it cannot be read."""
    try:
        return str(read_request(failure.cell["request"])), int(failure.cell["seed"])
    except (KeyError, RequestError, TypeError, ValueError):
        return None


def _cells(cells: Sequence[Pair]) -> str:
    shown = ", ".join(f"{request} at seed {seed}" for request, seed in cells[:4])
    return f"{shown} and {len(cells) - 4} more" if len(cells) > 4 else shown


def _line(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= 200 else f"{plain[:199]}…"
