"""A plan: a suite with what was asked to be changed of it, its cells, and where they run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.records.cell import Cell
from benchmark.records.cell import shard as shard_of
from benchmark.records.store import RecordStore
from benchmark.suites.parsing import load_suite
from benchmark.suites.suite import Suite
from benchmark.utils.suggestions import near_keys
from datamodules.common.content import forget_digests
from datamodules.common.errors import BenchmarkError
from methods.common.registry import Registry

if TYPE_CHECKING:
    from benchmark.suites.expansion import Where


@dataclass(frozen=True)
class Plan:
    """A suite with what was asked of it.

    Attributes:
        suite: With all that was asked to be changed of it.
        cells: What it consists of.
        registry: The methods.
        where: Folders and device.
        store: The records.
        notes: What the user must know first, one line each.
        suite_file: The suite as it was given, for the command in a record.
        plugins: Files of further methods, likewise.
        tuned_values: The file of tuned values, likewise; empty for the project's.
    """

    suite: Suite
    cells: list[Cell]
    registry: Registry
    where: Where
    store: RecordStore
    notes: tuple[str, ...] = ()
    suite_file: str = ""
    plugins: tuple[Path, ...] = ()
    tuned_values: str = ""


def make_plan(
    suite: str,
    where: Where,
    results: Path,
    *,
    methods: Sequence[str] = (),
    seeds: Sequence[int] = (),
    models: Sequence[str] = (),
    settings: Sequence[str] = (),
    plugins: Sequence[Path] = (),
    precision: str | None = None,
    shard: str | None = None,
    keys: Sequence[str] = (),
    tuned: bool | Path = False,
    read_again: bool = False,
) -> Plan:
    """Check every argument and expand the suite.

    Args:
        suite: A suite of the package, or a YAML file.
        where: Folders and device.
        results: The folder of the records.
        methods: Names, if not the suite's.
        seeds: Seeds, if not the suite's.
        models: Models, if not the suite's.
        settings: Hyperparameters as METHOD.NAME=VALUE.
        plugins: Files of further methods.
        precision: "fp32", "bf16" or "auto", if not the suite's.
        shard: "i/n": only the i-th of n parts of the cells.
        keys: Only the cells whose keys begin so.
        tuned: With the tuned values of the package, or of a file.
        read_again: Whether all files of data sets are read again, also those whose content is remembered.

    Raises:
        BenchmarkError: On anything that is wrong.
    """
    from benchmark.suites.expansion import expand, with_overrides  # heavy: it knows the models

    if read_again:
        forget_digests(where.cache_dir)
    registry = Registry(plugins)
    chosen = with_overrides(load_suite(suite), methods=methods, seeds=seeds, models=models, settings=settings)
    notes: list[str] = []
    if tuned:
        from benchmark.suites.tuned.values import TUNED, TunedError, with_tuned

        file = TUNED if tuned is True else tuned
        if not file.is_file():
            raise TunedError(f"no file {file} of tuned values: make one with `python -m benchmark tune --out`")
        chosen, notes = with_tuned(chosen, registry, file)
    cells = expand(chosen, registry, where, precision=precision)
    if shard:
        try:
            cells = shard_of(cells, shard)
        except ValueError as error:
            raise BenchmarkError(str(error)) from error
    if keys:
        all_cells, cells = cells, [cell for cell in cells if cell.key.startswith(tuple(keys))]
        if not cells:
            near = near_keys(keys[0], [cell.key for cell in all_cells])
            prefixes = ",".join(keys)
            raise BenchmarkError(f"no cell of suite {suite!r} has a key that begins with {prefixes}{near}; see `plan`")
    tuned_values = str(tuned) if isinstance(tuned, Path) else ""
    store = RecordStore(results)
    return Plan(chosen, cells, registry, where, store, tuple(notes), suite, tuple(plugins), tuned_values)
