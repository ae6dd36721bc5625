"""What the page opens on, its averages and its devices: told by the records, counted here by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_report import Page, content, record, report, written

from benchmark.evaluation.measures.quality import quality
from benchmark.leaderboards.boards import Board, Row
from benchmark.leaderboards.comparison import LEAST_REQUESTS
from benchmark.leaderboards.grouping import BoardKey
from benchmark.records.record import Metric, Record
from benchmark.report.averages import CAVEAT, averages
from benchmark.report.devices import devices
from benchmark.report.gathering import gather
from benchmark.report.overview import asked, leads, podiums, reading
from benchmark.report.scatter_figures import QUALITIES, equal_quality
from benchmark.report.views import View, inline
from benchmark.utils.statistics import Interval

KEY = BoardKey("s", "m", "photos", "class", "fp32", "cpu")
ROWS = (
    ("original", "none", 1.0, 0.0),
    ("hide", "names", 0.6, 0.0),
    ("burn", "forget", 0.0, 0.9),
    ("fair", "forget+retain", 0.2, 0.1),
    ("poor", "names", 0.9, 0.5),
)
"""Method, regime, E and D; Q is their harmonic mean, and original does not compete."""


def board(key: BoardKey = KEY, rows: Any = ROWS, requests: int = 3, **changes: Any) -> Board:
    scores = {name: quality(left, lost) for name, _, left, lost in rows}
    competing = sorted((n for n in scores if n != "original"), key=lambda n: -scores[n])
    made = []
    for name, regime, left, lost in rows:
        values = {"score/quality": scores[name], "score/residual": left, "score/damage": lost}
        metrics: dict[str, Interval | None] = {n: Interval(value, None, None, 3) for n, value in values.items()}
        rank = None if name == "original" else competing.index(name) + 1
        tier = rank if requests >= LEAST_REQUESTS else None
        made.append(Row(name, regime, name == "original", rank, 3, 3, metrics, {}, tier=tier))
    made.sort(key=lambda row: (not row.reference, row.rank or 0))
    return Board(key, requests, 1, tuple(metrics), (), tuple(made), (), **changes)


def test_the_three_lines_say_what_is_asked_how_to_read_it_and_who_leads() -> None:
    few = board()
    assert asked(few, ["a"]) == "Make m forget one class of photos and keep all else: a."
    joint = replace(few, key=KEY._replace(kind="class, retrained joint"))
    assert asked(joint, ["a"]) == asked(few, ["a"])
    several = asked(few, ["a", "b", "c", "d", "e", "f", "g"])
    assert several.endswith(": a, b, c, d, e and 2 more, each request from the original model.")
    assert "0: as in a model that was trained without it" in reading(few)
    assert "0: as in chance" in reading(board(by_chance=True))
    score = 2 * 0.8 * 0.9 / (0.8 + 0.9)
    assert leads(few).startswith(
        f"fair leads: Q {score:.3f} (E 20.0 %, D 10.0 %), reading forget+retain. From names alone "
    )
    assert f"hide does best: Q {2 * 0.4 / 1.4:.3f} (E 60.0 %, D 0.0 %)" in leads(few)
    assert leads(few).endswith("3 requests are too few to rank: read it as a first look.")


def test_with_requests_enough_the_line_says_who_cannot_be_told_from_the_leader() -> None:
    alone = board(requests=LEAST_REQUESTS)
    assert leads(alone).endswith("fair can be told from all 3 others.")
    level = replace(alone, rows=tuple(replace(row, tier=1 if row.rank and row.rank < 3 else 2) for row in alone.rows))
    assert leads(level).endswith("1 of the 3 others cannot be told from fair (tier 1).")
    assert leads(replace(alone, rows=alone.rows[:1])) == "No method of this board has a score."


def test_a_board_without_e_is_read_by_s() -> None:
    rows = tuple(
        replace(row, metrics={"score/kravets": Interval(0.25 if row.reference else 0.1, None, None, 3)})
        for row in board().rows
    )
    by_s = replace(board(), rows=rows, ranked_by="score/kravets", columns=("score/kravets",))
    assert "S, lower is better" in reading(by_s) and "Doing nothing has S 0.250." in reading(by_s)
    assert ": S 0.100, reading" in leads(by_s)


def test_a_podium_has_the_best_of_its_regime_in_their_order() -> None:
    found = podiums(board())
    assert {regime: [step.label for step in steps] for regime, steps in found.items()} == {
        "names": ["hide", "poor"], "forget": ["burn"], "forget+retain": ["fair"],
    }  # fmt: skip
    assert (found["names"][0].rank, found["names"][0].left, found["names"][0].lost) == (2, 0.6, 0.0)
    many = tuple((f"n{place}", "names", 0.1 * place, 0.0) for place in range(5))
    assert [step.label for step in podiums(board(rows=many))["names"]] == ["n0", "n1", "n2"]


def test_baselines_stand_where_their_score_puts_them() -> None:
    doing_little = (*ROWS, ("worse", "names", 1.0, 1.0))
    assert inline(board(rows=doing_little))[:4] == ["fair", "hide", "burn", "poor"]
    assert set(inline(board(rows=doing_little))[4:]) == {"worse", "original"}
    lower = replace(board(), ranked_by="score/damage")
    assert inline(lower)[:2] == ["hide", "original"] and inline(lower)[-1] == "burn"


def test_the_front_of_the_plot_is_that_of_e_and_d() -> None:
    view = View(board(), {}, {}, ("score/residual", "score/damage"))
    assert view.edge == {"hide", "burn", "fair"}
    assert View(board(), {}, {}, None).edge == frozenset()


@pytest.mark.parametrize("value", QUALITIES)
def test_all_points_of_a_curve_have_its_q(value: float) -> None:
    curve = equal_quality(value)
    assert [quality(left / 100, lost / 100) for left, lost in curve] == pytest.approx([value] * len(curve))
    assert curve[0][1] == pytest.approx(0, abs=1e-9) and curve[-1][0] == pytest.approx(0, abs=1e-9)


def test_an_average_needs_all_boards_and_counts_none_twice() -> None:
    other = tuple((name, regime, left, lost) for name, regime, left, lost in ROWS if name != "burn")
    again, third = KEY._replace(suite="larger"), KEY._replace(suite="third", model="other")
    boards = [board(requests=10), board(again, requests=12), board(KEY._replace(dataset="more"), other, requests=10)]
    (made,) = averages([*boards, board(third, requests=9)])
    assert made.boards == ("larger, m, photos, class", "s, m, more, class"), "nine requests rank nothing"
    assert (made.score, made.higher, made.tuned) == ("Q", True, False)
    assert {row.label: row.mean for row in made.rows}["fair"] == pytest.approx(quality(0.2, 0.1))
    assert [row.label for row in made.rows] == ["fair", "hide", "poor", "original"]
    assert made.lacking == ("burn (1 of 2)",)
    assert averages(boards[:2]) == [] and "no interval" in CAVEAT
    tuned = [replace(each, key=each.key._replace(tuned="16 trials")) for each in boards]
    assert [each.tuned for each in averages([*boards, *tuned])] == [True, False], "what is open stands first"


def on(chip: str, method: str, request: str, seconds: float | None) -> Record:
    cell = {**record().cell, "method": method, "request": {"classes": [request]}}
    return record(cell=cell, provenance={**record().provenance, "device": chip}, cost={"unlearn_seconds": seconds})


def test_seconds_of_chips_are_over_the_cells_that_all_of_them_ran() -> None:
    runs = [("cpu", "a", 2.0), ("cpu", "b", 10.0), ("gpu", "a", 0.5)]
    (group,) = devices([on(chip, "m", request, seconds) for chip, request, seconds in runs])
    assert (group.chips, group.cells, group.asked) == (("cpu", "gpu"), (2, 1), ("own", "clip", "d", "class", ""))
    assert (group.rows[0].seconds, group.rows[0].cells, group.rows[0].alike) == ((2.0, 0.5), (2, 1), True)
    (apart,) = devices([on("cpu", "m", "a", 2.0), on("gpu", "m", "b", 0.5), on("gpu", "n", "b", None)])
    by_label = {row.label: row for row in apart.rows}
    assert (apart.chips, by_label["m"].seconds, by_label["m"].alike) == (("gpu", "cpu"), (0.5, 2.0), False)
    assert by_label["n"].seconds == (None, None) and by_label["n"].cells == (1, 0)


def test_a_cell_that_you_ran_on_another_chip_tells_of_both(tmp_path: Path) -> None:
    written(tmp_path / "project", on("cpu", "m", "a", 2.0), on("cpu", "n", "a", 3.0))
    written(tmp_path / "yours", on("gpu", "m", "a", 0.5), on("cpu", "n", "a", 3.0))
    found = gather(tmp_path / "yours", tmp_path / "project")
    assert len(found.records) == 2 and [r.provenance["device"] for r in found.elsewhere] == ["cpu"]
    (group,) = devices([*found.elsewhere, *found.records])
    assert {row.label: row.seconds for row in group.rows} == {"m": (2.0, 0.5), "n": (3.0, None)}


def test_your_rows_are_marked_among_those_of_the_project(tmp_path: Path) -> None:
    reference = content(tmp_path / "nothing", suite="caltech101")
    cell = {**reference.gathered.records[0].cell, "method": "mine"}
    provenance = {**reference.gathered.records[0].provenance, "regime": "names"}
    written(tmp_path, record(cell=cell, provenance=provenance, metrics={"score/kravets": Metric(0.1)}))
    assert report("--results", tmp_path, "--suite", "caltech101").status == 0
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    own = {row["label"]: row["own"] for shown in page.data["boards"] for row in shown["whole"]["rows"]}
    assert own["mine"] and not own["original"] and sum(own.values()) == 1
    assert report("--results", tmp_path, "--own").status == 0
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert not any(row["own"] for shown in page.data["boards"] for row in shown["whole"]["rows"]), "nothing to mark off"
