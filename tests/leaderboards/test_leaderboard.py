"""What the leaderboard says, and what it refuses to say."""

from __future__ import annotations

import csv
import io
import itertools
import json
import warnings
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from benchmark.evaluation.catalogue import MEASURES, describe, find
from benchmark.evaluation.families import FAMILIES
from benchmark.leaderboards.boards import Board, Row, build
from benchmark.leaderboards.leaderboard import Leaderboard, read_leaderboard
from benchmark.leaderboards.notes import NOTE
from benchmark.leaderboards.pareto import FRONT_NOTE
from benchmark.leaderboards.tables import FOUND, board_table, render, unit_of
from benchmark.records.record import Metric, Record
from benchmark.records.store import REFERENCE
from benchmark.utils.table import FORMATS, number_text, records, values
from datamodules.common.errors import UnknownNameError

NUMBERS = itertools.count()


def record(
    method: str,
    request: str = "apple",
    seed: int = 0,
    *,
    s: float | None = 0.2,
    forget: float = 0.1,
    device: str = "cpu",
    **more: Any,
) -> Record:
    cell = {
        "suite": "quick",
        "method": method,
        "dataset": "shapes",
        "request": more.get("what", {"classes": [request]}),
        "model": "mini",
        "seed": seed,
        "hparams": more.get("hparams", {}),
        "device": more.get("kind", device),
    }
    metrics = {
        "score/kravets": Metric(s),
        "forget/acc1": Metric(forget, 100, (0.06, 0.18)),
        "retain/acc1": Metric(0.8, 900, (0.77, 0.83)),
        **more.get("metrics", {}),
    }
    provenance = {
        "device": device,
        "precision": "fp32",
        "regime": "names",
        "method_source": more.get("source", "s1"),
    }
    cost = {"unlearn_seconds": more.get("seconds", 2.0), "peak_memory_bytes": 3e6, "flops": None, "edited_bytes": 1500}
    key = more.get("key", f"{next(NUMBERS):064x}")
    return Record(1, key, cell, metrics, {}, cost, provenance)


def rows(board: Board) -> dict[str, Row]:
    return {row.method: row for row in board.rows}


@pytest.fixture(scope="module")
def reference() -> Leaderboard:
    return read_leaderboard(REFERENCE, suite="oracle", reference=True)


FULL = [
    *(record("fast", request, seed, s=0.1, forget=0.01 * seed) for request in "ab" for seed in (0, 1, 2)),
    *(record("slow", request, s=0.15) for request in "ab"),
    *(record("twin", request, s=0.15) for request in "ab"),
    *(record("original", request, s=0.05) for request in "ab"),
]


def test_ranks_ties_and_reference_rows() -> None:
    (board,) = build(FULL, references={"original"})
    assert [(row.method, row.rank) for row in board.rows] == [
        ("original", None),
        ("fast", 1),
        ("slow", 2),
        ("twin", 2),
    ]
    assert rows(board)["original"].reference
    assert (board.requests, board.seeds) == (2, 3)
    assert rows(board)["fast"].cells == rows(board)["fast"].expected == 6
    assert rows(board)["slow"].expected == 2


def test_a_mean_with_a_missing_cell_is_empty() -> None:
    board = build([*FULL, record("lucky", "a", s=0.0)])[0]
    row = rows(board)["lucky"]
    assert (row.cells, row.expected, row.rank) == (1, 2, None)
    assert all(value is None for value in [*row.metrics.values(), *row.costs.values()])
    line = next(line for line in render([board], "markdown").splitlines() if "lucky" in line)
    assert "1/2" in line and "0.000" not in line


def test_an_unmeasured_value_empties_the_mean() -> None:
    board = build([record("m", "a", s=None), record("m", "b", s=0.1)])[0]
    assert rows(board)["m"].metrics["score/kravets"] is None
    assert rows(board)["m"].metrics["forget/acc1"] is not None
    assert rows(board)["m"].rank is None


def test_expected_cells_count_what_is_missing_everywhere() -> None:
    key = build(FULL)[0].key
    wanted = [(request, 0) for request in "abc"]
    board = build(FULL, {(key, "slow"): wanted, (key, "absent"): wanted})[0]
    assert (rows(board)["slow"].cells, rows(board)["slow"].expected) == (2, 3)
    assert rows(board)["slow"].metrics["forget/acc1"] is None
    assert (rows(board)["absent"].cells, rows(board)["absent"].expected) == (0, 3)
    only = build(FULL, {(key, "fast"): [("a", 0), ("b", 0)]})[0]
    mean = rows(only)["fast"].metrics["forget/acc1"]
    assert mean is not None and mean.n == 2 and rows(only)["fast"].expected == 2


def test_intervals_are_over_requests_and_there_is_none_below_three() -> None:
    for few in ("a", "ab"):
        mean = rows(build([record("m", q, n, forget=0.1 * n) for q in few for n in range(3)])[0])["m"].metrics
        interval = mean["forget/acc1"]
        assert interval is not None and (interval.mean, interval.low, interval.high) == (pytest.approx(0.1), None, None)
        assert interval.n == len(few)
    several = [record("m", q, n, forget=0.02 * place + 0.001 * n) for place, q in enumerate("abc") for n in range(3)]
    found = rows(build(several)[0])["m"].metrics["forget/acc1"]
    assert found is not None and found.n == 3
    # requests 0.001, 0.021, 0.041: 0.021 ± 4.3027 * 0.02 / sqrt(3), clipped at 0
    assert found.low == 0.0 and found.high == pytest.approx(0.021 + 0.049683, abs=1e-5)


def test_an_interval_of_all_that_is_possible_is_not_shown() -> None:
    board = build([record("m", q, forget=forget) for q, forget in (("a", 0.0), ("b", 0.5), ("c", 1.0))])[0]
    found = rows(board)["m"].metrics["forget/acc1"]
    assert found is not None and (found.mean, found.low, found.high, found.n) == (0.5, None, None, 3)


def test_what_may_not_be_compared_is_on_another_board() -> None:
    boards = build(
        [
            record("m"),
            record("m", device="H100"),
            record("m", what={"concept": "dog"}),
            record("m", what={"classes": ["a", "b", "c"]}),
        ]
    )
    assert sorted((board.key.kind, board.key.device) for board in boards) == [
        ("3 classes", "cpu"),
        ("class", "H100"),
        ("class", "cpu"),
        ("concept", "cpu"),
    ]


def test_settings_and_sources_are_never_mixed() -> None:
    board = build([record("m", hparams={"rate": 1, "k": 3}), record("m", hparams={"rate": 2, "k": 3})])[0]
    assert sorted(rows(board)) == ["m rate=1", "m rate=2"]
    board = build([record("m", source="sha256:aaaa"), record("m", source="sha256:bbbb")])[0]
    assert sorted(rows(board)) == ["m @aaaa", "m @bbbb"]


def test_two_records_of_one_cell_are_not_averaged() -> None:
    board = build([record("m", s=0.1), record("m", s=0.3)])[0]
    assert rows(board)["m"].metrics["score/kravets"] is None
    assert any("several records" in note for note in board.notes)


def test_the_same_record_twice_counts_once_and_the_later_wins() -> None:
    board = build([record("m", s=0.1, key="a" * 64), record("m", s=0.3, key="a" * 64)])[0]
    mean = rows(board)["m"].metrics["score/kravets"]
    assert mean is not None and (mean.mean, mean.n) == (0.3, 1)


def test_columns() -> None:
    recall = {"forget/mean_recall": Metric(0.1), "forget/image_retrieval_recall@5": Metric(0.2)}
    (plain,) = build([record("m")])
    assert plain.columns == ("score/kravets", "forget/acc1", "retain/acc1")
    assert plain.costs == ("unlearn_seconds", "peak_memory_bytes", "edited_bytes")
    (concept,) = build([record("m", what={"concept": "dog"}, metrics=recall)])
    assert concept.columns == ("score/kravets", "forget/mean_recall", "forget/image_retrieval_recall@5")


def test_table() -> None:
    board = build(FULL, references={"original"})[0]
    text = render([board], "table")
    assert text.startswith("quick · mini · shapes · forget class · 2 requests, 3 seeds · cpu · fp32\n")
    assert NOTE in text and "forget acc ↓" in text and "retain acc ↑" in text and "unlearn s ↓" in text
    assert "…" not in text
    assert next(line for line in text.splitlines() if "original" in line).split()[0] == "\u2013"


def _mixed() -> list[Record]:
    """Two methods on a cluster of two chips, and a stranger's on a third."""
    ours = [
        record("fast", request, kind="cuda", device=chip, seconds=seconds)
        for request, chip, seconds in (("a", "H100", 1.0), ("b", "H100", 3.0), ("c", "A100", 50.0))
    ]
    ours += [record("slow", request, kind="cuda", device="H100", seconds=9.0) for request in "abc"]
    return ours + [record("theirs", request, kind="cuda", device="L4", s=0.01, seconds=7.0) for request in "abc"]


def test_chips_of_one_kind_share_a_board_and_the_costs_are_those_of_one() -> None:
    (board,) = build(_mixed())
    assert board.key.device == "cuda" and "· cuda · fp32" in render([board], "table")
    assert [(row.method, row.rank, row.cells) for row in board.rows] == [
        ("theirs", 1, 3),
        ("fast", 2, 3),
        ("slow", 2, 3),
    ]
    assert (board.chip, board.chips) == ("H100", {"H100": 5, "L4": 3, "A100": 1})
    own = rows(board)
    assert [own[name].costs["unlearn_seconds"] for name in ("fast", "slow", "theirs")] == [2.0, 9.0, None]
    assert [own[name].costs["edited_bytes"] for name in ("fast", "slow", "theirs")] == [1500, 1500, 1500]
    assert own["fast"].chip_cells == 2 and not own["theirs"].front
    (note,) = [note for note in board.notes if "seconds" in note]
    assert "on H100" in note and "fast (2/3)" in note and "L4 (3 cells), A100 (1 cells)" in note


def test_the_costs_of_another_chip_are_asked_for_by_its_name() -> None:
    (board,) = build(_mixed(), chip="l4")
    assert board.chip == "L4" and rows(board)["theirs"].costs["unlearn_seconds"] == 7.0
    assert rows(board)["slow"].costs["unlearn_seconds"] is None and rows(board)["slow"].rank == 2
    with pytest.raises(UnknownNameError, match="L44"):
        build(_mixed(), chip="L44")


def test_a_cell_measured_on_two_machines_counts_once() -> None:
    key = "f" * 64
    both = [
        record("m", "a", key=key, kind="cuda", device=chip, s=s, seconds=seconds)
        for chip, s, seconds in (("H100", 0.4, 1.0), ("A100", 0.2, 5.0))
    ]
    (board,) = build([*both, record("m", "b", kind="cuda", device="H100", s=0.6, seconds=2.0)])
    row = rows(board)["m"]
    assert row.cells == 2 and row.metrics["score/kravets"] is not None
    assert row.metrics["score/kravets"].mean == pytest.approx(0.4) and row.metrics["score/kravets"].n == 2
    assert row.costs["unlearn_seconds"] == 1.5 and row.chip_cells == 2  # the H100 measured both


def test_cells_over_several_devices_stand_beside_the_others_with_costs_of_their_own() -> None:
    several = replace(record("n"), provenance={**record("n").provenance, "devices": 4, "strategy": "ddp"})
    (board,) = build([record("m"), record("o"), several])
    assert board.chips == {"cpu": 2, "4 × cpu": 1} and rows(board)["n"].costs["unlearn_seconds"] is None


def test_the_pareto_front_is_marked() -> None:
    kept = {"retain/acc1": Metric(0.9)}
    board = build(
        [
            record("forgets", forget=0.0),
            record("keeps", forget=0.2, metrics=kept),
            record("beaten", forget=0.2),
            record("blank", forget=0.0, metrics={"retain/acc1": Metric(None)}),
            record("original", forget=0.0, metrics=kept),
        ],
        references={"original"},
    )[0]
    assert {name for name, row in rows(board).items() if row.front} == {"forgets", "keeps"}
    text = render([board], "table")
    assert FRONT_NOTE in text and text.count("◆") == 3
    assert next(line for line in text.splitlines() if "keeps" in line).startswith(" ◆ 1")
    assert {row["method"]: row["front"] for row in csv.DictReader(io.StringIO(render([board], "csv")))} == {
        "forgets": "True", "keeps": "True", "beaten": "False", "blank": "False", "original": "False",
    }  # fmt: skip
    assert "◆" not in render(build([record("alone")]), "table"), "one row is no front"


def test_values_are_in_per_cent_with_the_shorter_interval() -> None:
    cells = [
        record("m", q, s=0.25, forget=f, metrics={"retain/acc1": Metric(r)})
        for q, f, r in (("a", 0.1, 0.8), ("b", 0.0, 0.78), ("c", 0.05, 0.82))
    ]
    text = render(build(cells), "markdown")
    row = [cell.strip() for cell in text.splitlines()[4].strip("|").split("|")]
    assert row == ["1", "m", "names", "3", "0.250 ±0.000", "5.0 [0.0, 17.4]", "80.0 ±5.0", "2", "3", "1.5"]


def test_a_narrow_terminal_cuts_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    text = render(build([*FULL, *(record(m, "c", s=0.15) for m in ("slow", "twin"))]), "table")
    for word in ("±0.000", "80.0", "unlearn", "retain", "1.5", "original"):
        assert word in text
    assert "…" not in text


def test_markdown_parses_back() -> None:
    boards = build([*FULL, record("a|b", "a"), record("a|b", "b"), record("m", device="H100")])
    blocks = [block for block in render(boards, "markdown").split("## ") if block]
    assert len(blocks) == 2
    for block, board in zip(blocks, boards, strict=True):
        lines = [line.replace("\\|", "") for line in block.splitlines() if line.startswith("|")]
        assert len(lines) == 2 + len(board.rows) and len({line.count("|") for line in lines}) == 1


def test_csv_parses_back() -> None:
    boards = build([*FULL, *(record("fast", "c", seed, s=0.1) for seed in (0, 1, 2))], references={"original"})
    found = list(csv.DictReader(io.StringIO(render(boards, "csv"))))
    assert [row["method"] for row in found] == [row.method for row in boards[0].rows]
    fast = next(row for row in found if row["method"] == "fast")
    mean = rows(boards[0])["fast"].metrics["forget/acc1"]
    assert mean is not None
    assert (float(fast["forget/acc1"]), float(fast["forget/acc1_high"])) == (mean.mean, mean.high)
    assert (fast["rank"], fast["suite"], fast["unlearn_seconds"]) == ("1", "quick", "2.0")
    assert next(row for row in found if row["method"] == "original")["rank"] == ""


def test_programs_get_one_frame_in_every_way(reference: Leaderboard) -> None:
    """The DataFrame, CSV and JSON hold the same numbers to the last digit, under the same names."""
    frame = reference.to_pandas()
    boards = json.loads(reference.render("json"))
    rows = [row for board in boards for row in board["rows"]]
    assert len(rows) == len(frame) == sum(len(board.rows) for board in reference.boards)
    for given, shown in zip(records(frame), rows, strict=True):
        assert {name: value for name, value in given.items() if name in shown} == shown
        assert all(given[name] is None for name in given.keys() - shown.keys())
    lines = list(csv.DictReader(io.StringIO(reference.render("csv"))))
    assert list(lines[0]) == list(frame.columns)
    for given, line in zip(records(frame), lines, strict=True):
        for name, value in given.items():
            assert line[name] == ("" if value is None else str(value)), name
    with warnings.catch_warnings(action="error"):
        frame["a user's own column"] = 1
    assert "a user's own column" not in reference.to_pandas(), "every call gives a DataFrame of its own"


def test_people_see_the_numbers_of_the_frame(reference: Leaderboard) -> None:
    for board in reference.boards:
        table = board_table(board)
        heads = list(table.heads)
        before = FOUND if FOUND in heads else "cells"
        for place, name in enumerate(board.columns, start=heads.index(before) + 1):
            unit = unit_of(describe(name))
            means = [number_text(value, *unit) for value in values(board.frame[name])]
            assert [text.partition(" ")[0] for text in table.columns[place].texts] == means
        assert (
            list(table.columns[heads.index("method")].texts)
            == list(board.frame["method"])
            == [row.method for row in board.rows]
        )


def test_a_board_of_expected_rows_alone_has_a_frame() -> None:
    key = build(FULL)[0].key
    board = build([record("m")], {(key, "absent"): [("a", 0)]})[0]
    frame = board.frame.set_index("method")
    assert frame.loc["absent", "cells"] == 0 and pd.isna(frame.loc["absent", "score/kravets"])
    assert frame["rank"].dtype == "Int64" and frame.loc["m", "rank"] == 1


def test_json_parses_back() -> None:
    (board,) = json.loads(render(build(FULL), "json"))
    assert board["key"]["kind"] == "class" and board["rows"][0]["score/kravets"] == 0.05


@pytest.mark.parametrize("format", FORMATS)
def test_no_records(format: Any) -> None:
    assert build([]) == [] and render([], format).endswith("\n")


def test_catalogue() -> None:
    assert len({measure.name for measure in MEASURES}) == len(MEASURES)
    given = {name for family in FAMILIES.values() for name in family.metrics}
    assert {name for name in given if find(name) is None} == set(), "every metric of a family is in the catalogue"
    assert (describe("forget/acc1").head, describe("forget/acc1").direction) == ("forget acc", "↓")
    assert describe("other/shapes_colours/acc1").head == "other shapes_colours acc"
    assert describe("other/acc1").direction == describe("score/harmonic").direction == "↑"
    assert describe("retain/image_retrieval_recall@5").head == "retain image R@5"
    assert not describe("score/kravets").percent and describe("retain/acc1").percent
    for name in ("forget/acc", "acc1", "nowhere/acc1", "score/acc1", ""):
        with pytest.raises(UnknownNameError):
            describe(name)
