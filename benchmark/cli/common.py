"""What several commands share: this command line as text, and the plan that options ask for."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.cli.listing import Listed, numbers, paths, words
from benchmark.cli.listing import models as models_of
from benchmark.cli.listing import settings as settings_of
from benchmark.utils.folders import cache_folder
from benchmark.utils.project import program

if TYPE_CHECKING:
    from benchmark.suites.plan import Plan


def same_command(further: Sequence[str] = ()) -> str:
    """The command line of this process as it can be pasted, with further arguments at its end."""
    return f"{program()} {shlex.join([*sys.argv[1:], *further])}"


def plan_of(
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
    """The checked plan of a command's options.

    Raises:
        BenchmarkError: On anything that is wrong.
    """
    from benchmark.suites.expansion import Where
    from benchmark.suites.plan import make_plan

    data = Path(data_dir).expanduser() if data_dir else None
    return make_plan(
        suite,
        Where(data, cache_folder(cache_dir), device, elsewhere),
        Path(results),
        methods=words(methods),
        seeds=numbers(seeds, "--seeds"),
        models=models_of(model),
        settings=settings_of(settings),
        plugins=paths(plugin),
        precision=precision,
        shard=shard,
        keys=None if keys is None else words(keys),
        tuned=Path(tuned_values).expanduser() if tuned_values else tuned,
    )
