"""The reference records as tables: all boards of a suite, and the ten rows of the README."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from benchmark.evaluation.measures.quality import QUALITY
from benchmark.leaderboards.between import between
from benchmark.leaderboards.boards import Board, Row, boards_of
from benchmark.leaderboards.findings import (
    REGIMES,
    beyond,
    certainty,
    findings,
    gold_standard,
    leader,
    portrait,
    unfound,
)
from benchmark.leaderboards.gold_standard import joint_gaps
from benchmark.leaderboards.meta_evaluation import meta_evaluation
from benchmark.leaderboards.tables import render, render_joint, render_trust, unit_of
from benchmark.records.record import Record
from benchmark.records.store import REFERENCE, RecordStore
from benchmark.utils.table import Table
from datamodules.common.image_request import read_request
from methods.common.registry import Registry

ROOT = Path(__file__).resolve().parents[2]
HEADLINE_SUITE = "reference"
"""The README's table: the suite with most requests, and with retrained models."""
PHOTOGRAPHS = "cifar100"
"""The suite of real images that the README tells of beside it."""
INFORMATIVE_SUITE = "oracle"
"""The suite on which the measures of E were chosen: the one with all attacks."""
BASELINES = ("original", "logit_mask", "retrain")
PAPERS = ("lip", "cliperase", "ccup")
"""The three methods for which the benchmark was begun: shown wherever they rank."""
ROWS = 10
HEADLINE_COLUMNS = (
    ("score/quality", "Q ↑"),
    ("score/residual", "E: left ↓"),
    ("score/damage", "D: lost ↓"),
    ("score/kravets", "S, as published ↓"),
    ("forget/acc1", "forgotten class, by name ↓"),
    ("forget/worst_prompt_acc1", "in other words ↓"),
    ("forget/relearn_acc1@0", "relearned without it ↓"),
    ("retain/acc1", "retained classes ↑"),
)


@cache
def reference_boards() -> tuple[Board, ...]:
    """Every board of the committed records, in the order of their keys."""
    return tuple(boards_of(RecordStore(REFERENCE, older=True).all(), Registry()))


def suites_with_records() -> tuple[str, ...]:
    """The suites that have reference records."""
    return tuple(dict.fromkeys(board.key.suite for board in reference_boards()))


def suite_boards(suite: str) -> str:
    """The boards of a suite as Markdown: untuned before tuned ones, single classes first.

    Raises:
        LookupError: If no reference record is of this suite.
    """
    chosen = [board for board in reference_boards() if board.key.suite == suite]
    if not chosen:
        raise LookupError(f"there are no reference records of suite {suite!r}")
    kinds = ("class", "concept")
    order = sorted(chosen, key=lambda b: (bool(b.key.tuned), kinds.index(b.key.kind) if b.key.kind in kinds else 2))
    return _as_lists(render(order, "markdown"))


def findings_of(suite: str) -> str:
    """What the boards of a suite say, as a list for each board with a score.

    Raises:
        LookupError: If no board of the suite says anything.
    """
    said = [(board, findings(board)) for board in reference_boards() if board.key.suite == suite]
    if not any(lines for _, lines in said):
        raise LookupError(f"no board of suite {suite!r} has a score yet")
    several = len(said) > 1
    return "\n\n".join(
        "\n".join([*([f"{board.key}:", ""] if several else []), *(f"- {line}" for line in lines)])
        for board, lines in said
        if lines
    )


def portraits(suite_and_methods: str) -> str:
    """Some methods on the board of a suite that decides, a sentence each, as a list.

    Args:
        suite_and_methods: The suite and the methods' names, apart by spaces.

    Raises:
        LookupError: If one of them has no rank there.
    """
    suite, *methods = suite_and_methods.split()
    board = deciding_board(suite)
    return "\n".join(f"- {portrait(board, method)}" for method in methods)


def changes(suites: str) -> str:
    """What changes from the board of one suite to that of another, as a list.

    Args:
        suites: Their names, apart by a space.

    Raises:
        LookupError: If the boards have too few methods in common.
    """
    first, second = (deciding_board(suite) for suite in suites.split())
    lines = between(first, second)
    if not lines:
        raise LookupError(f"{first.key} and {second.key} have too few methods in common")
    return "\n".join(f"- {line}" for line in lines)


def in_short(suite: str, beside: str) -> str:
    """Who leads the board of a suite, how sure that is, and what changes from another suite to it, as a list.

    Args:
        suite: The suite.
        beside: The other one.

    Raises:
        LookupError: If one of them has no tuned board with Q.
    """
    board = deciding_board(suite)
    said = [
        gold_standard(board),
        beyond(board),
        unfound(board),
        *(leader(board, regime) for regime in REGIMES),
        certainty(board),
    ]
    said += between(deciding_board(beside), board)[:1]
    return "\n".join(f"- {sentence}" for sentence in said if sentence)


def deciding_board(suite: str) -> Board:
    """The tuned board of a suite over most requests; one that is ranked by Q before one that is not.

    Raises:
        LookupError: If there is none.
    """
    boards = [board for board in reference_boards() if board.key.suite == suite and board.key.tuned]
    if not boards:
        raise LookupError(f"the reference records have no tuned board of suite {suite!r}")
    return max(boards, key=lambda board: (board.ranked_by == QUALITY, board.requests))


def headline_board() -> Board:
    """The board that the README shows rows of."""
    return deciding_board(HEADLINE_SUITE)


def headline_rows(board: Board) -> list[Row]:
    """Ten rows: the baselines, the three papers' methods, and the best others by what the board ranks by.

    Args:
        board: With a retrained model among its rows.
    """
    by_name = {row.method: row for row in board.rows}
    ranked = [row.method for row in board.rows if row.rank is not None and row.method not in PAPERS]
    others = ranked[: ROWS - len(BASELINES) - len(PAPERS)]
    competing = sorted((*PAPERS, *others), key=lambda name: by_name[name].rank or 0)
    return [by_name[name] for name in (*BASELINES, *competing)]


def headline_table() -> str:
    """The README's table, with a note on the board that it is taken from."""
    board = headline_board()
    columns = [name for name, _ in HEADLINE_COLUMNS]
    titles = ["method", "reads", *(title for _, title in HEADLINE_COLUMNS), "seconds ↓"]
    rows = [
        [f"`{row.method}`", row.regime, *(_mean(row, name) for name in columns), _seconds(row, board.runtime)]
        for row in headline_rows(board)
    ]
    note = (
        f"Suite `{board.key.suite}`, model `{board.key.model}`: means over {board.requests} forgotten classes, "
        f"accuracies in per cent, seconds on {board.chip}. {len([r for r in board.rows if r.rank])} methods compete; "
        "all rows, with intervals, are in [LEADERBOARD.md](results/reference/LEADERBOARD.md)."
    )
    return "\n".join([Table.of_texts(titles, rows, words=(0, 1)).markdown(), "", note])


def informative_table() -> str:
    """The meta-evaluation that the measures of E come from, as Markdown: which measures tell what was removed."""
    return _trust(RecordStore(REFERENCE, older=True).all(INFORMATIVE_SUITE))


def confirmed_table() -> str:
    """The same on the classes of the headline suite that took no part in choosing the measures."""
    return _trust(confirming_records())


def trust_table(suite: str) -> str:
    """The same on all classes of another suite."""
    return _trust(RecordStore(REFERENCE, older=True).all(suite))


def joint_rule(suite: str) -> str:
    """Joint beside single retrained models of a suite that has both, measure by measure, by the rule for using them."""
    tables = joint_gaps(RecordStore(REFERENCE, older=True).all(suite))
    return _as_lists(render_joint(tables, "markdown").partition("\n\n")[2])


def confirming_records() -> list[Record]:
    """The records of the headline suite that are of none of the classes on which the measures of E were chosen."""
    store = RecordStore(REFERENCE, older=True)
    chosen_on = {
        name for record in store.all(INFORMATIVE_SUITE) for name in read_request(record.cell["request"]).classes
    }
    return [r for r in store.all(HEADLINE_SUITE) if chosen_on.isdisjoint(read_request(r.cell["request"]).classes)]


def _trust(records: list[Record]) -> str:
    tables = meta_evaluation(records)
    key = next(key for key in tables if key.kind.partition(",")[0] == "class")
    return _as_lists(render_trust({key: tables[key]}, "markdown").partition("\n\n")[2])


def _as_lists(markdown: str) -> str:
    """Tables with the notes below them as lists of Markdown."""
    return markdown.replace("\n\n– ", "\n\n- ")


def _mean(row: Row, name: str) -> str:
    from benchmark.evaluation.catalogue import describe

    interval = row.metrics.get(name)
    scale, digits = unit_of(describe(name))
    if interval is None:
        return ""
    return f"{interval.mean * scale:.{digits if scale == 1.0 else 0}f}"


def _seconds(row: Row, runtime: str) -> str:
    value = row.costs.get(runtime)
    return "" if value is None else f"{value:.2g}" if value < 100 else f"{value:.0f}"
