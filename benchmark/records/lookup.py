"""Records found: by the beginning of a key, those that come with the project, and what they say of a cell's time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmark.records.cell import Cell
from benchmark.records.record import Record
from benchmark.records.store import REFERENCE, RecordStore
from benchmark.utils.streams import complain
from benchmark.utils.suggestions import near_file, near_keys
from datamodules.common.documents import DocumentError, load_json
from datamodules.common.errors import BenchmarkError
from datamodules.common.image_request import read_request
from datamodules.common.request import ForgetRequest

TRAINING_SECONDS = "training_seconds"
"""What the report of a model that was trained anew tells, and of no other."""


def expected_seconds(records: Sequence[Record], models: Sequence[str]) -> dict[str, float]:
    """What a cell of each method took on these models, from records."""
    times: dict[str, list[float]] = {}
    for record in records:
        if record.cell["model"] in models:
            times.setdefault(record.cell["method"], []).append(seconds_of(record))
    return {method: sum(seconds) / len(seconds) for method, seconds in times.items()}


def expected_of_cells(cells: Sequence[Cell], records: Sequence[Record]) -> list[float | None]:
    """What each cell will take by the clock, in seconds, from records; None where no record tells of its method.

    Records of the same method and model tell, where there are any with the same measures and as many test images
    those alone. Models that are trained again without the forget set take by far the longest, and several cells of a
    group share one: its training counts for the first of them.
    """
    told = _Told.by(records)
    trained: set[tuple[object, ...]] = set()
    seconds = []
    for cell in cells:
        training = (cell.method, cell.model, cell.dataset, str(cell.never_seen), cell.seed)
        seconds.append(told.of(cell, trained=training in trained))
        trained.add(training)
    return seconds


@dataclass(frozen=True)
class _Told:
    """Seconds that records tell: of cells like one in all that takes time, and of all cells of a method and model."""

    alike: dict[tuple[object, ...], list[Record]]
    of_method: dict[tuple[object, ...], list[Record]]

    @classmethod
    def by(cls, records: Sequence[Record]) -> _Told:
        told = cls({}, {})
        for record in records:
            cell = record.cell
            of_method = (cell["method"], cell["model"])
            sizes = (tuple(cell.get("measures", ())), cell.get("test_images", 0))
            told.of_method.setdefault(of_method, []).append(record)
            told.alike.setdefault((*of_method, *sizes), []).append(record)
        return told

    def of(self, cell: Cell, *, trained: bool) -> float | None:
        of_method = (cell.method, cell.model)
        records = self.alike.get((*of_method, tuple(cell.measures), cell.test_images)) or self.of_method.get(of_method)
        if records is None:
            return None
        if trained and (fresh := [record for record in records if TRAINING_SECONDS in record.report]):
            return sum(float(record.cost.get("evaluate_seconds") or 0.0) for record in fresh) / len(fresh)
        return sum(map(seconds_of, records)) / len(records)


def seconds_of(record: Record) -> float:
    """What a cell took by the clock: its unlearning and its evaluation."""
    spent = [record.cost.get("unlearn_seconds"), record.cost.get("evaluate_seconds")]
    return sum(float(seconds) for seconds in spent if seconds is not None)


def known_records(store: RecordStore, suite: str, cells: Iterable[Cell]) -> list[Record]:
    """The records, in a results folder and of the package, that may tell how long cells will take.

    Args:
        store: Of the results folder.
        suite: The name of the cells' suite. Its records are enough where those of the package have each method on each
            model.
        cells: The cells; where one of them has no like there, the records of all suites are read, which takes longer
            the more there are.
    """
    reference = _kept_store(REFERENCE)
    told = reference.all(suite)
    pairs = {(record.cell["method"], record.cell["model"]) for record in told}
    if all((cell.method, cell.model) in pairs for cell in cells):
        return [*told, *store.all(suite)]
    return [*reference.all(), *store.all()]


@cache
def _kept_store(folder: Path) -> RecordStore:
    """One store for all plans of this process: it reads a compact file again only when that has changed."""
    return RecordStore(folder, older=True)


def records_in(folders: Sequence[Path], suite: str | None = None) -> list[Record]:
    """The records of several folders; says on standard error which of them were set aside."""
    stores = [RecordStore(folder, read_only=True) for folder in folders if folder.is_dir()]
    records = [record for store in stores for record in store.all(suite)]
    for message in dict.fromkeys(line for store in stores for line in store.set_aside):
        complain(message)
    return records


def left_alone(folders: Sequence[Path]) -> list[str]:
    """What is said of the records of another version in these folders: they cannot be run again by this one."""
    notes = []
    for folder in filter(Path.is_dir, folders):
        store = RecordStore(folder)
        store.all()
        notes += [note for note in store.notes if note not in store.set_aside]
    return notes


def find_record(key: str, results: Path, *, reference: bool = False) -> Record:
    """The record of a file, or of a key or its beginning; of one that lies in both folders, that of `results`.

    Args:
        key: The key, its beginning or the file.
        results: The folder of the records; the reference records are searched too.
        reference: Search the reference records alone.

    Raises:
        BenchmarkError: If there is none, or the beginning fits several.
    """

    if key.endswith(".json"):
        path = Path(key)
        if not path.exists():
            raise BenchmarkError(f"no record file {path}{near_file(path)}")
        try:
            return Record.from_dict(load_json(path), str(path))
        except (ValueError, DocumentError) as error:
            raise BenchmarkError(f"{path} is not a record: {error}") from error
    folders = [REFERENCE] if reference else [results, REFERENCE]
    records = records_in(folders)
    matches = {record.key: record for record in reversed(records) if record.key.startswith(key)}
    if len(matches) != 1:
        what = "no record has a key that begins" if not matches else f"{len(matches)} records have keys that begin"
        near = near_keys(key, [record.key for record in records]) if not matches else ""
        some = ", ".join(f"{record.key[:12]} ({record.cell['method']})" for record in list(matches.values())[:3])
        some = f": {some}, ..." if some else ""
        place = "the reference records" if reference else f"{results} or the reference records"
        left = "" if matches else "".join(f"; {note}" for note in left_alone(folders))
        raise BenchmarkError(f"{what} with {key!r} in {place}{near}{some}; see `plan` for keys{left}")
    return next(iter(matches.values()))


def cell_to_run(record: Record) -> Cell:
    """The cell that a record is of, to be run again.

    Raises:
        BenchmarkError: As `cell_of`, or if the model was unlearned elsewhere: no method here could run it.
    """
    cell = cell_of(record)
    if cell.brought:
        raise BenchmarkError(
            f"record {record.key[:12]}: {cell.method!r} was unlearned elsewhere and brought as a checkpoint, so it "
            "cannot be run again; `audit` measures its checkpoint again"
        )
    return cell


def cell_of(record: Record) -> Cell:
    """The cell that a record is of.

    Raises:
        BenchmarkError: If the record lacks a field, or its key does not fit its cell.
    """

    fields = dict(record.cell)
    try:
        fields["request"] = read_request(fields["request"])
        fields["others"] = tuple(fields["others"])
        for name in ("by_request", "measures", "group"):
            fields[name] = tuple(fields.get(name, ()))
        fields["sequence"] = tuple(map(ForgetRequest.from_dict, fields.get("sequence", ())))
        cell = Cell(**fields)
    except (KeyError, TypeError) as error:
        raise BenchmarkError(f"record {record.key[:12]} does not describe a cell of this version: {error}") from error
    if cell.key != record.key:
        raise BenchmarkError(f"record {record.key[:12]} was changed: its key does not fit its cell")
    return cell
