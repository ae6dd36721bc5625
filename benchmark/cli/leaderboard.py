"""`leaderboard`: the leaderboard of the records, in any format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from benchmark.cli.arguments import Option
from benchmark.cli.options import Chosen, Name, Plugins, Records, TableOptions
from benchmark.leaderboards.leaderboard import read_leaderboard
from benchmark.utils.table import Format
from datamodules.common.errors import BenchmarkError

if TYPE_CHECKING:
    from benchmark.leaderboards.boards import Board
    from benchmark.records.record import Record


def leaderboard_command(
    *,
    chosen: Chosen,
    plugins: Plugins,
    records: Records,
    shown: TableOptions,
    reference: bool = False,
    with_reference: bool = False,
    compare: Annotated[tuple[str, str], Option(("A", "B"), tuple)] | None = None,
    metric: Name | None = None,
    device: Name | None = None,
) -> int:
    """Show the leaderboard of the records: by model, data set and kind of request.

    Args:
        reference: Show the reference records that come with the project.
        with_reference: Your records and the reference records on one board; of a cell that both have, yours counts.
        compare: Two rows: show their paired differences instead, with intervals and a verdict.
        metric: With --compare, only this metric, such as score/kravets; by default the columns of each board.
        device: Whose seconds and memory to show where cells ran on several chips: a chip's name or a part of it; by
            default the chip of most cells.
    """
    import sys

    if metric and not compare:
        raise BenchmarkError(f"--metric {metric} needs two methods: --compare A B --metric {metric}")
    board = read_leaderboard(
        records.results,
        suite=chosen.suite,
        reference=reference,
        with_reference=with_reference,
        plugins=plugins.plugin,
        chip=device,
    )
    for message in board.notes:
        print(message, file=sys.stderr)
    for line in _older(board.records):
        print(f"note: {line}; `run` measures it again", file=sys.stderr)
    if compare:
        sys.stdout.write(_compared(board.records, board.boards, compare, metric, shown.format))
    else:
        sys.stdout.write(board.render(shown.format))
    return 0


def _older(records: Sequence[Record]) -> list[str]:
    """One line for each family that older code measured; records without digests are of no known code."""
    from benchmark.execution.staleness import stale_records, told
    from benchmark.suites.digests import Digests
    from benchmark.utils.folders import cache_folder

    known = [record for record in records if record.measures]
    return told(stale_records(known, Digests(None, cache_folder(None), trainings=False))) if known else []


def _compared(
    records: Sequence[Record], boards: Sequence[Board], names: tuple[str, str], metric: str | None, format: Format
) -> str:
    from benchmark.evaluation.catalogue import describe
    from benchmark.leaderboards.comparison import compare
    from benchmark.leaderboards.tables import render_comparisons

    if metric:
        describe(metric)
    columns = {board.key: (metric,) if metric else board.columns for board in boards}
    return render_comparisons(compare(records, *names, columns), format)
