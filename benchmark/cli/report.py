"""`report`: one page and static figures from the records."""

from __future__ import annotations

from typing import Annotated

from benchmark.cli.arguments import Option, title_of
from benchmark.cli.options import Chosen, Plugins, Records, WhereFile, WhereFolder
from benchmark.records.store import REFERENCE
from datamodules.common.errors import BenchmarkError


def report_command(
    *,
    chosen: Chosen,
    own: Annotated[bool, Option(title=title_of(Chosen))] = False,
    reference: Annotated[bool, Option(title=title_of(Chosen))] = False,
    plugins: Plugins,
    places: Records,
    out: WhereFile | None = None,
    figures: WhereFolder | None = None,
    keep: WhereFile | None = None,
) -> int:
    """Write one HTML page that shows the records: leaderboards, plots, predictions, cards. It needs no network.

    By default it shows your records and the reference records; of a cell that both have, yours counts. They are only
    read.

    Args:
        own: Show your records alone.
        reference: Show the reference records that come with the project alone.
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

    if own and reference:
        raise BenchmarkError("--own and --reference leave each other out: give neither for your records and ours")
    registry = Registry(plugins.plugin)
    target = out or places.results / "report.html"
    if target.is_dir():
        raise BenchmarkError(f"{target} is a folder: name a file, such as --out {target / 'report.html'}")
    if figures:
        from benchmark.report.figures import check_matplotlib

        check_matplotlib()
    gathered = gather(
        places.results, REFERENCE, which="own" if own else "reference" if reference else "all", suite=chosen.suite
    )
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
