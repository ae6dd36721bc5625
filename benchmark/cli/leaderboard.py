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
    against: Name | None = None,
    metric: Name | None = None,
    informative: bool = False,
    gaps: Name | None = None,
    joint: bool = False,
    steps: bool = False,
    findings: bool = False,
    device: Name | None = None,
) -> int:
    """Show the leaderboard of the records: by model, data set and kind of request.

    Args:
        reference: Show the reference records that come with the project.
        with_reference: Your records and the reference records on one board; of a cell that both have, yours counts.
        compare: Two rows: show their paired differences instead, with intervals and a verdict.
        against: Show all other rows beside this one, with a verdict each; `leader` for the first row of each board.
        metric: With --compare or --against, this metric, such as score/kravets; by default the columns of each board,
            or what it ranks by.
        informative: Show which measures tell models that never saw the forget set from models that kept it.
        gaps: Show how far this row is from the models trained again without the forget set, by measure, in units of
            the spread between them.
        joint: Show whether one model trained without several classes at once may stand for one model a class.
        steps: Show sequences step by step: what the first request has become, and how damage adds up.
        findings: Say in words what each board says: who leads, who only hides the class, what it costs,
            and what changes between boards of different data.
        device: Whose seconds and memory to show where cells ran on several chips: a chip's name or a part of it; by
            default the chip of most cells.
    """
    import sys

    if metric and not (compare or against):
        raise BenchmarkError(
            f"--metric {metric} needs two methods: --compare A B --metric {metric}, or --against METHOD"
        )
    asked = [("--compare", compare), ("--against", against), ("--informative", informative), ("--gaps", gaps)]
    asked += [("--joint", joint), ("--steps", steps), ("--findings", findings)]
    chosen_views = [name for name, value in asked if value]
    if len(chosen_views) > 1:
        raise BenchmarkError(f"{' and '.join(chosen_views)} are different tables: ask for one of them")
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
    elif against:
        sys.stdout.write(_against(board.records, board.boards, against, metric, shown.format))
    elif informative:
        sys.stdout.write(_informative(board.records, shown.format))
    elif gaps:
        sys.stdout.write(_gaps(board.records, gaps, shown.format))
    elif joint:
        sys.stdout.write(_joint(board.records, shown.format))
    elif findings:
        sys.stdout.write(_findings(board.boards))
    elif steps:
        sys.stdout.write(_steps(board.records, shown.format))
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


def _against(
    records: Sequence[Record], boards: Sequence[Board], method: str, metric: str | None, format: Format
) -> str:
    from benchmark.evaluation.catalogue import describe
    from benchmark.leaderboards.against import against
    from benchmark.leaderboards.tables import render_against

    if metric:
        describe(metric)
    return render_against(against(records, boards, method, metric=metric), format)


def _informative(records: Sequence[Record], format: Format) -> str:
    from benchmark.leaderboards.meta_evaluation import meta_evaluation
    from benchmark.leaderboards.tables import render_trust

    return render_trust(meta_evaluation(records), format)


def _gaps(records: Sequence[Record], method: str, format: Format) -> str:
    from benchmark.leaderboards.gold_standard import gaps
    from benchmark.leaderboards.tables import render_gaps

    return render_gaps(method, gaps(records, method), format)


def _findings(boards: Sequence[Board]) -> str:
    from benchmark.leaderboards.between import between_all
    from benchmark.leaderboards.findings import findings

    said = [(str(board.key), findings(board)) for board in boards]
    said += [(f"{first.key}, beside {second.key}", lines) for first, second, lines in between_all(boards)]
    return "\n\n".join("\n".join([title, *(f"- {line}" for line in lines)]) for title, lines in said if lines) + "\n"


def _joint(records: Sequence[Record], format: Format) -> str:
    from benchmark.leaderboards.gold_standard import joint_gaps
    from benchmark.leaderboards.tables import render_joint

    return render_joint(joint_gaps(records), format)


def _steps(records: Sequence[Record], format: Format) -> str:
    from benchmark.leaderboards.steps import steps_of
    from benchmark.leaderboards.tables import render_steps

    return render_steps(steps_of(records), format)
