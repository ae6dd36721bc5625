"""`pack`: the records of a suite as one small file, to commit or to send."""

from __future__ import annotations

from pathlib import Path

from benchmark.cli.options import Records, WhereFolder
from datamodules.common.errors import BenchmarkError


def pack_command(
    suite: str,
    /,
    *,
    records: Records,
    out: WhereFolder = Path("results/reference"),
    add: bool = False,
    replace: bool = False,
) -> int:
    """Write the records of a suite into one compact file, OUT/SUITE.jsonl.gz, with one record a line.

    The records that come with the project are made so. Every command reads such a file where it reads records: put one
    into the folder of your records and its records are on your leaderboard. Damaged records are refused; the records
    that are packed stay where they are.

    Args:
        suite: The suite whose records are packed.
        out: The folder of the compact file.
        add: Keep the records that the file already holds; of the same cell the new record counts.
        replace: Drop the records that the file already holds.
    """
    from benchmark.records.store import RecordStore

    if add and replace:
        raise BenchmarkError("--add keeps the records that the file holds and --replace drops them: give one of them")
    path, count = RecordStore(records.results).pack(suite, out, add=add, replace=replace)
    print(f"{path}: {count} records, {path.stat().st_size / 1e3:.0f} kB")
    return 0
