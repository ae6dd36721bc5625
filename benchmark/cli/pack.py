"""`pack`: the records of a suite as one small file, to commit or to send."""

from __future__ import annotations

from pathlib import Path

from datamodules.common.errors import BenchmarkError


def pack_command(
    suite: str,
    results: str = "results/runs",
    out: str = "results/reference",
    add: bool = False,
    replace: bool = False,
) -> int:
    """Write the records of a suite into one compact file, OUT/SUITE.jsonl.gz, with one record a line.

    The records that come with the project are made so. Every command reads such a file where it reads records: put one
    into the folder of your records and its records are on your leaderboard. Damaged records are refused.

    Args:
        suite: The suite whose records are packed.
        results: The folder of the records; they stay where they are.
        out: The folder of the compact file.
        add: Keep the records that the file already holds; of the same cell the new record counts.
        replace: Drop the records that the file already holds.
    """
    from benchmark.records.store import RecordStore

    if add and replace:
        raise BenchmarkError("--add keeps the records that the file holds and --replace drops them: give one of them")
    path, count = RecordStore(Path(results)).pack(suite, Path(out), add=add, replace=replace)
    print(f"{path}: {count} records, {path.stat().st_size / 1e3:.0f} kB")
    return 0
