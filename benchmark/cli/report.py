"""`report`: one page and static figures from the records."""

from __future__ import annotations

from typing import Annotated, Literal

from benchmark.cli.arguments import Option, title_of
from benchmark.cli.options import Chosen, Plugins, Records, WhereFile, WhereFolder
from benchmark.records.store import REFERENCE
from datamodules.common.errors import BenchmarkError


def report_command(
    *,
    chosen: Chosen,
    records: Annotated[Literal["all", "own", "reference"], Option(title=title_of(Chosen))] = "all",
    plugins: Plugins,
    places: Records,
    out: WhereFile | None = None,
    figures: WhereFolder | None = None,
    keep: WhereFile | None = None,
) -> int:
    """Write one HTML page that shows the records: leaderboards, plots, predictions, cards. It needs no network.

    Your records are only read.

    Args:
        records: own, those of the project (reference), or all; of one cell in both yours counts.
        out: The file of the page; by default report.html in the folder of your records.
        figures: Also write static figures into this folder, as SVG and PDF (extra `figures`).
        keep: Also write the curves and predictions that the page took from outputs and logs to this file. As
            extras.json in a folder of records, it stands for the outputs and logs.
    """
    import sys

    from benchmark.report.content import collect, worth_keeping
    from benchmark.report.extras import write_extras
    from benchmark.report.gathering import gather
    from benchmark.report.page import LIMIT, render
    from datamodules.common.kept_files import CannotWriteError, replace_file
    from methods.common.registry import Registry

    registry = Registry(plugins.plugin)
    target = out or places.results / "report.html"
    if target.is_dir():
        raise BenchmarkError(f"{target} is a folder: name a file, such as --out {target / 'report.html'}")
    if figures:
        from benchmark.report.figures import check_matplotlib

        check_matplotlib()
    gathered = gather(places.results, REFERENCE, which=records, suite=chosen.suite)
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
        extras = worth_keeping(content)
        write_extras(keep, extras)
        print(f"{keep}: curves of {len(extras.curves)} records, predictions of {len(extras.predictions)}")
    if figures:
        from benchmark.report.figures import write_figures

        written = write_figures(content, figures)
        print(f"{figures}: {len(written)} figures, as SVG and PDF")
    return 0
