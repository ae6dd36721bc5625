"""What several commands share: lists on the command line, folders, the plan of a suite."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.cli.listing import Listed, numbers, paths, words
from benchmark.cli.listing import models as models_of
from benchmark.cli.listing import settings as settings_of
from benchmark.records.store import REFERENCE
from datamodules.common.errors import BenchmarkError

if TYPE_CHECKING:
    from benchmark.records.cell import Cell
    from benchmark.records.record import Record
    from benchmark.records.store import RecordStore
    from benchmark.suites.expansion import Where
    from benchmark.suites.suite import Suite
    from methods.common.registry import Registry

CACHE_VARIABLE = "CLIP_UNLEARNING_CACHE"


def same_command(further: Sequence[str] = ()) -> str:
    """The command line of this process as it can be pasted, with further arguments at its end."""
    return f"python -m benchmark {shlex.join([*sys.argv[1:], *further])}"


def cache_folder(named: str | None) -> Path:
    """Where decoded images, features and synthetic sets are kept: named, from the environment, or the user's cache."""
    if named:
        return Path(named).expanduser()
    if os.environ.get(CACHE_VARIABLE):
        return Path(os.environ[CACHE_VARIABLE]).expanduser()
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "clip-unlearning-benchmark"


def check_cache(folder: Path) -> None:
    """Check that the cache folder can be written.

    Raises:
        BenchmarkError: If it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise BenchmarkError(f"the cache folder {folder} cannot be written: name another with --cache-dir")


@dataclass(frozen=True)
class Plan:
    """A suite, its cells, what is needed to run them, and what the user must know first, one line each."""

    suite: Suite
    cells: list[Cell]
    registry: Registry
    where: Where
    store: RecordStore
    notes: tuple[str, ...] = ()


def make_plan(
    *,
    suite: str,
    methods: Listed,
    seeds: Listed,
    model: Listed,
    results: str,
    data_dir: str | None,
    cache_dir: str | None,
    device: str,
    precision: str | None,
    shard: str | None,
    plugin: Listed,
    settings: Listed,
    keys: Listed = None,
    tuned: bool = False,
    tuned_values: str | None = None,
    elsewhere: bool = False,
) -> Plan:
    """Check every argument and expand the suite.

    Raises:
        BenchmarkError: On anything that is wrong.
    """
    from benchmark.records.cell import shard as shard_of
    from benchmark.records.store import RecordStore
    from benchmark.suites.expansion import Where, expand, with_overrides
    from benchmark.suites.parsing import load_suite
    from benchmark.utils.suggestions import near_keys
    from methods.common.registry import Registry

    registry = Registry(paths(plugin))
    chosen = with_overrides(
        load_suite(suite),
        methods=words(methods),
        seeds=numbers(seeds, "--seeds"),
        models=models_of(model),
        settings=settings_of(settings),
    )
    notes: list[str] = []
    if tuned or tuned_values:
        from benchmark.suites.tuned.values import TUNED, TunedError, with_tuned

        file = Path(tuned_values).expanduser() if tuned_values else TUNED
        if tuned_values and not file.is_file():
            raise TunedError(f"no file {file} of tuned values: make one with `python -m benchmark tune --out`")
        chosen, notes = with_tuned(chosen, registry, file)
    data = Path(data_dir).expanduser() if data_dir else None
    where = Where(data, cache_folder(cache_dir), device, elsewhere)
    cells = expand(chosen, registry, where, precision=precision)
    if shard:
        try:
            cells = shard_of(cells, shard)
        except ValueError as error:
            raise BenchmarkError(str(error)) from error
    if keys is not None:
        every, cells = cells, [cell for cell in cells if cell.key.startswith(words(keys))]
        if not cells:
            near = near_keys(words(keys)[0], [cell.key for cell in every])
            asked = ",".join(words(keys))
            raise BenchmarkError(f"no cell of suite {suite!r} has a key that begins with {asked}{near}; see `plan`")
    return Plan(chosen, cells, registry, where, RecordStore(Path(results)), tuple(notes))


def expected_seconds(records: Sequence[Record], models: Sequence[str]) -> dict[str, float]:
    """What a cell of each method took on these models, from records."""
    times: dict[str, list[float]] = {}
    for record in records:
        if record.cell["model"] in models:
            spent = [record.cost.get("unlearn_seconds"), record.cost.get("evaluate_seconds")]
            times.setdefault(record.cell["method"], []).append(sum(float(s) for s in spent if s is not None))
    return {method: sum(each) / len(each) for method, each in times.items()}


def known_records(store: RecordStore) -> list[Record]:
    """The records of a results folder and the reference records of the package."""
    from benchmark.records.store import RecordStore

    return [*RecordStore(REFERENCE, older=True).all(), *store.all()] if REFERENCE.is_dir() else store.all()
