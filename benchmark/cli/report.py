"""`report`: one page and static figures from the records."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from benchmark.cli.listing import Listed, paths
from benchmark.records.store import REFERENCE
from datamodules.common.errors import BenchmarkError


def report_command(
    results: str = "results/runs",
    records: Literal["all", "own", "reference"] = "all",
    suite: str | None = None,
    out: str | None = None,
    figures: str | None = None,
    keep: str | None = None,
    plugin: Listed = None,
) -> int:
    """Write one HTML page that shows the records: leaderboards, plots, predictions, cards. It needs no network.

    Args:
        results: The folder of your records; they are only read.
        records: own, those of the project (reference), or all; of one cell in both yours counts.
        suite: Only this suite.
        out: The file of the page; by default report.html in the folder of your records.
        figures: Also write static figures into this folder, as SVG and PDF (extra `figures`).
        keep: Also write the curves and predictions that the page took from outputs and logs to this file. As
            extras.json in a folder of records, it stands for the outputs and logs.
        plugin: Files of further methods, separated by commas; may be repeated.
    """
    import sys

    from benchmark.report.content import collect, worth_keeping
    from benchmark.report.extras import write_extras
    from benchmark.report.gathering import gather
    from benchmark.report.page import LIMIT, render
    from datamodules.common.kept_files import CannotWriteError, replace_file
    from methods.common.registry import Registry

    registry = Registry(paths(plugin))
    target = Path(out) if out else Path(results) / "report.html"
    if target.is_dir():
        raise BenchmarkError(f"{target} is a folder: name a file, such as --out {target / 'report.html'}")
    if figures:
        from benchmark.report.figures import check_matplotlib

        check_matplotlib()
    gathered = gather(Path(results), REFERENCE, which=records, suite=suite)
    content = collect(gathered, registry)
    for line in content.gathered.notes:
        print(line, file=sys.stderr)
    page = render(content).encode()
    if len(page) > LIMIT:
        raise BenchmarkError(f"the page would have {len(page):,} bytes: name one suite with --suite")
    try:
        replace_file(target, page)
    except CannotWriteError as error:
        raise type(error)(f"{error} with --out") from error
    print(f"{target}: {len(gathered.records)} records on {len(content.boards)} boards, {len(page) / 1e6:.1f} MB")
    if keep:
        kept = worth_keeping(content)
        write_extras(Path(keep), kept)
        print(f"{keep}: curves of {len(kept.curves)} records, predictions of {len(kept.predictions)}")
    if figures:
        from benchmark.report.figures import write_figures

        written = write_figures(content, Path(figures))
        print(f"{figures}: {len(written)} figures, as SVG and PDF")
    return 0
