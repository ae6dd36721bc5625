"""`verify`: run recorded cells again and compare."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from benchmark.cli.arguments import Option, title_of
from benchmark.cli.options import Chosen, DeviceOfRecord, Places, Plugins, Tolerance
from benchmark.execution.verification import (
    FEWEST_SEEDS,
    TOLERANCE,
    VERDICTS,
    WORDS,
    Gap,
    Verdict,
    as_recorded,
    gaps,
    largest,
    siblings_of,
    threads_of,
    worst_of,
)
from benchmark.records.lookup import cell_to_run, find_record, left_alone, records_in
from benchmark.records.store import REFERENCE
from benchmark.utils.table import Table, number_text, render
from datamodules.common.documents import MOST_NUMBER
from datamodules.common.errors import BenchmarkError

if TYPE_CHECKING:
    from benchmark.execution.runner import CellRunner
    from benchmark.records.cell import Cell
    from benchmark.records.record import Record
    from methods.common.registry import Registry


def verify_command(
    key: Annotated[tuple[str, ...], Option(read=tuple)] = (),
    /,
    *,
    chosen: Chosen,
    reference: Annotated[bool, Option(title=title_of(Chosen))] = False,
    sample: Annotated[int, Option("N", low=1, high=1_000_000, title=title_of(Chosen))] | None = None,
    sample_seed: Annotated[int, Option("N", low=0, high=MOST_NUMBER, title=title_of(Chosen))] = 0,
    plugins: Plugins,
    strict: bool = False,
    spread: bool = False,
    tolerance: Tolerance = TOLERANCE,
    places: Places,
    device_of: DeviceOfRecord,
) -> int:
    """Run recorded cells again and compare their metrics with the records.

    The answer is equal (to the last digit), within rounding, within the spread of this method's seeds, or different;
    only the last ends with status 1. A key or its beginning names one of your records or of the reference records.

    Args:
        key: Keys of records, their beginnings, or records' files.
        reference: Only the reference records that come with the project.
        sample: In the place of keys: so many records, drawn at random (of --suite alone if it is given).
        sample_seed: Of that draw.
        strict: Only equal and within rounding count, not the spread of seeds.
        spread: Where fewer than 3 seeds have records, run further seeds now to learn how far seeds are apart.
        tolerance: Largest difference of a metric (a fraction) that rounding explains in any case.
    """
    from benchmark.utils.hardware import resolve_device
    from methods.common.registry import Registry

    records = _records(key, places.results, chosen.suite, reference=reference, sample=sample, seed=sample_seed)
    cells = [cell_to_run(record) for record in records]
    for kind in dict.fromkeys(device_of.device or cell.device for cell in cells):
        resolve_device(kind)
    check = _VerifiedRecords(Registry(plugins.plugin), places, device_of.device, tolerance, spread)
    counts: Counter[str] = Counter()
    for number, (record, cell) in enumerate(zip(records, cells, strict=True), start=1):
        if len(records) > 1:
            print(f"[{number}/{len(records)}] {record.key[:12]} {cell}", flush=True)
        counts[check.one(record, cell, all_numbers=len(records) == 1)] += 1
    if len(records) > 1:
        words_of = {**{str(verdict): text for verdict, text in WORDS.items()}, FAILED: FAILED}
        print(f"{len(records)} records: {', '.join(f'{counts[verdict]} {words_of[verdict]}' for verdict in words_of)}")
    bad = {"different", FAILED, *(["spread"] if strict else [])}
    return int(any(counts[verdict] for verdict in bad))


FAILED = "not run"
"""In the place of a verdict: the method raised."""


@dataclass
class _VerifiedRecords:
    """Runs records again, one by one."""

    registry: Registry
    places: Places
    device: str | None
    tolerance: float
    spread: bool
    _runners: dict[str, CellRunner] = field(default_factory=dict)
    _known: list[Record] | None = None

    def one(self, record: Record, cell: Cell, *, all_numbers: bool) -> str:
        """Run a record's cell again, show how it compares, and return the verdict.

        Args:
            record: The record.
            cell: Its cell.
            all_numbers: Show every number, not only those that are different.
        """
        from benchmark.utils.stopping import stop_if_asked

        runner = self._runner(self.device or cell.device)
        if runner.where.digests.code(self.registry, cell.method, cell.model, of_a_part=cell.of_a_part) != cell.code:
            print(f"note: the code with which {cell.method!r} unlearns differs from the one that made this record")
        runner.session.unlearner.threads = threads_of(record)
        try:
            again = _again(runner, as_recorded(cell, record))
            stop_if_asked()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            import traceback

            stop_if_asked()
            if isinstance(error, BenchmarkError):
                if all_numbers:
                    raise
            else:
                traceback.print_exception(error)
            print(f"{FAILED}: {type(error).__name__}: {error}")
            return FAILED
        siblings = self._siblings(record)
        differences = gaps(record, again, siblings=siblings, tolerance=self.tolerance)
        verdict = worst_of(differences)
        if verdict == "different" and self.spread and self._has_chance(cell):
            siblings = self._further(record, cell, siblings, runner)
            differences = gaps(record, again, siblings=siblings, tolerance=self.tolerance)
            verdict = worst_of(differences)
        _show(record, cell, differences if all_numbers else [gap for gap in differences if gap.verdict == "different"])
        for line in machines(record, again):
            print(line)
        print(self._conclusion(cell, differences, verdict, seeds=1 + len(siblings)))
        return verdict

    def _runner(self, device: str) -> CellRunner:
        from benchmark.execution.runner import CellRunner
        from benchmark.execution.tracking import Tracker
        from benchmark.records.store import RecordStore

        if device not in self._runners:
            store = RecordStore(self.places.results)
            self._runners[device] = CellRunner(self.registry, self.places.where(device), store, Tracker(None))
        return self._runners[device]

    def _has_chance(self, cell: Cell) -> bool:
        return self.registry.declaration(cell.method).card.stochastic

    def _siblings(self, record: Record) -> list[Record]:
        if not self.registry.declaration(record.cell["method"]).card.stochastic:
            return []
        if self._known is None:
            self._known = records_in([REFERENCE, self.places.results])
        return siblings_of(record, self._known)

    def _further(self, record: Record, cell: Cell, siblings: list[Record], runner: CellRunner) -> list[Record]:
        """The siblings, with cells of further seeds run now until there are enough."""
        from dataclasses import replace

        cell_again = as_recorded(cell, record)
        seeds = {cell.seed, *(sibling.cell["seed"] for sibling in siblings)}
        further = (seed for seed in range(len(seeds) + FEWEST_SEEDS) if seed not in seeds)
        missing = max(0, FEWEST_SEEDS - len(seeds))
        return [*siblings, *(_again(runner, replace(cell_again, seed=next(further))) for _ in range(missing))]

    def _conclusion(self, cell: Cell, differences: Sequence[Gap], verdict: Verdict, *, seeds: int) -> str:
        if verdict == "equal":
            return f"equal: all {len(differences)} numbers, to the last digit"
        worst = max(
            (gap for gap in differences if gap.verdict == verdict), key=lambda gap: gap.size / max(gap.rounding, 1e-12)
        )
        beyond = sum(VERDICTS.index(gap.verdict) > 1 for gap in differences)
        recorded, now = (number_text(value, missing="–") for value in (worst.recorded, worst.now))
        seen = f"{worst.metric} is {recorded} in the record and {now} now"
        if verdict == "rounding":
            return f"within rounding: the largest difference is {largest(list(differences)).size:.4f}; {seen}"
        if verdict == "spread":
            return (
                f"within the spread of seeds: {beyond} of {len(differences)} numbers differ by more than rounding, "
                f"none by more than two of this method's seeds do ({seeds} seeds); {seen}"
            )
        if not self._has_chance(cell):
            why = f"{cell.method} has no chance, so only rounding could explain a difference"
        elif seeds < FEWEST_SEEDS:
            why = (
                f"the spread of this method's seeds is not known: that takes {FEWEST_SEEDS} seeds, and only "
                f"{seeds - 1} others have records; run more, or --spread runs them now"
            )
        else:
            why = f"two of its seeds differ by less ({seeds} seeds)"
        count = sum(gap.verdict == "different" for gap in differences)
        return f"different: {count} of {len(differences)} numbers; {seen}; {why}"


def _again(runner: CellRunner, cell: Cell) -> Record:
    return runner.make(cell, runner.references(cell)).record


def _show(record: Record, cell: Cell, differences: Sequence[Gap]) -> None:
    if not differences:
        return
    rows = []
    for gap in differences:
        size = "0" if gap.size == 0 else f"{gap.size:.4f}" if gap.size >= 5e-5 else f"{gap.size:.0e}"
        numbers = [number_text(value, missing="–") for value in (gap.recorded, gap.now)]
        rows.append([gap.metric, *numbers, size, WORDS[gap.verdict]])
    heads = ("metric", "recorded", "now", "difference", "is")
    print(render([Table.of_texts(heads, rows, words=(0, 4), title=f"{cell} · {record.key[:12]}")], "table"), end="")


def machines(record: Record, again: Record) -> list[str]:
    """Two lines: which device and packages made the record and which run now; of packages only those that differ."""
    lines = []
    packages = [dict(run.provenance.get("packages") or {}) for run in (record, again)]
    differing = [name for name in packages[1] if packages[0].get(name) != packages[1][name]]
    for what, run, versions in zip(("recorded on", "now on"), (record, again), packages, strict=True):
        device = f"{run.provenance.get('device') or 'unknown'} ({run.cell.get('device', 'unknown')})"
        named = [f"{name} {versions.get(name, 'unknown')}" for name in differing]
        lines.append(f"{what}: {', '.join([device, *(named or ['the same packages'])])}")
    return lines


def _records(
    keys: Sequence[str], results: Path, suite: str | None, *, reference: bool, sample: int | None, seed: int
) -> list[Record]:
    """The records that are asked for.

    Raises:
        BenchmarkError: If a key names none or several, or neither keys nor a sample are asked for.
    """
    import random

    if sample is None:
        if not keys:
            raise BenchmarkError("name a record's key, such as `verify 3f2a9c`, or draw some with --sample 10")
        if suite:
            raise BenchmarkError(f"--suite {suite} is for --sample: a key names one record")
        return [find_record(key, results, reference=reference) for key in keys]
    if keys:
        raise BenchmarkError(f"--sample {sample} draws records: leave out the keys, or leave out --sample")
    folder = REFERENCE if reference else results
    records = sorted(records_in([folder], suite), key=lambda record: record.key)
    records = [record for record in records if not record.cell.get("brought")]  # these cannot be run again
    if not records:
        left = "".join(f"; {note}" for note in left_alone([folder]))
        raise BenchmarkError(f"no records{f' of suite {suite!r}' if suite else ''} in {folder} to draw from{left}")
    return random.Random(seed).sample(records, min(sample, len(records)))
