"""What a report is made from: records of the user's folder and of the project, what lies beside them, what failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmark.leaderboards.grouping import chip_of
from benchmark.records.failures import Failure, Ledger
from benchmark.records.record import Record
from benchmark.records.store import RecordStore
from benchmark.report.extras import Extras, read_extras
from benchmark.suites.tuned.trials import FILE, FOLDER, KeptTrial, by_search, load_trials, trials_file

RecordOrigin = Literal["own", "reference"]
Which = Literal["all", "own", "reference"]
_SHOWN_DAMAGED = 20
"""How many files that are no records are named one by one; our choice."""


@dataclass(frozen=True)
class Gathered:
    """The material of a report.

    Attributes:
        records: Each (suite, key) once; one of the user's counts before one of the project's.
        folders: By key the folder that its record is from.
        origins: By key whose record it is.
        failures: The failures whose cells have no record.
        extras: Curves and predictions kept without outputs, by key.
        notes: What was not read and why, one line each.
        trials: Of searches; of one that both made, the user's.
        elsewhere: Records of the project in whose place stands one of the user's from another chip: their seconds still
            tell of that chip.
    """

    records: tuple[Record, ...]
    folders: Mapping[str, Path]
    origins: Mapping[str, RecordOrigin]
    failures: tuple[Failure, ...]
    extras: Extras
    notes: tuple[str, ...]
    trials: tuple[KeptTrial, ...] = ()
    elsewhere: tuple[Record, ...] = ()


def gather(results: Path, reference: Path, *, which: Which = "all", suite: str | None = None) -> Gathered:
    """Read what is there; nothing is moved or written, and nothing that is damaged stops it.

    Args:
        results: The user's folder of records; it need not exist.
        reference: The project's.
        which: Whose records.
        suite: Only this suite.
    """
    named: tuple[tuple[RecordOrigin, Path], ...] = (("reference", reference), ("own", results))
    records: dict[tuple[str, str], Record] = {}
    folders: dict[str, Path] = {}
    origins: dict[str, RecordOrigin] = {}
    extras, notes, elsewhere = Extras(), list[str](), list[Record]()
    for origin, folder in named:
        if which not in ("all", origin):
            continue
        store = RecordStore(folder, older=origin == "reference")
        for record in store.all(suite):
            place = (record.cell["suite"], record.key)
            if place in records and chip_of(records[place]) != chip_of(record):
                elsewhere.append(records[place])
            records[place] = record
            folders[record.key], origins[record.key] = folder, origin
        folder_extras, wrong = read_extras(folder)
        extras = extras.joined(folder_extras)
        notes += [*_unread(store, suite), *wrong]
    failures = () if which == "reference" else _open_failures(results, {key for _, key in records}, suite)
    trials = _trials(results, which)
    return Gathered(tuple(records.values()), folders, origins, failures, extras, tuple(notes), trials, tuple(elsewhere))


def _unread(store: RecordStore, suite: str | None) -> list[str]:
    """Lines on the files that are no records, now or found so by an earlier command."""
    damaged = [f"{path.parent.name}/{path.name}: {reason}" for path, reason in store.damaged]
    lines = [f"not read: {line}" for line in damaged[:_SHOWN_DAMAGED]]
    if len(damaged) > _SHOWN_DAMAGED:
        lines.append(f"not read: {len(damaged) - _SHOWN_DAMAGED} further files that are no records of this version")
    earlier = len([*store.folder.glob(f"{suite or '*'}/*.corrupt*")])
    if store.left_alone:
        lines.append(store.notes[-1])
    if earlier:
        lines.append(f"{earlier} files were set aside by an earlier command (KEY.json.corrupt and the like): not read")
    return lines


def _open_failures(results: Path, keys: set[str], suite: str | None) -> tuple[Failure, ...]:
    failures: Sequence[Failure] = [failure for key, failure in Ledger(results).failures().items() if key not in keys]
    return tuple(failure for failure in failures if _is_cell(failure.cell) and suite in (None, failure.cell["suite"]))


def _is_cell(cell: Mapping[str, Any]) -> bool:
    words = ("suite", "method", "model", "dataset")
    return all(isinstance(cell.get(name), str) for name in words) and isinstance(cell.get("request"), dict)


def _trials(results: Path, which: Which) -> tuple[KeptTrial, ...]:
    """The trials of the project's searches and of the user's."""
    reference = load_trials(trials_file()) if which != "own" else []
    own = load_trials(results / FOLDER / FILE) if which != "reference" else []
    searches = {**by_search(reference), **by_search(own)}
    return tuple(trial for trials in searches.values() for trial in trials)
