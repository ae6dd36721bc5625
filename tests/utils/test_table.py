"""A table in six formats: people's texts and programs' numbers are the same, and no text acts as a command."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pandas as pd
import pytest
from world import ROOT

from benchmark.utils.table import FORMATS, Table, TableColumn, ends_text, joined, number_text, records, render, values

NASTY = '=2+3|<b>&_%\\ \x1b[31m"x"'


def table(**more: Any) -> Table:
    frame = pd.DataFrame(
        {
            "method": ["a", NASTY],
            "rank": pd.Series([2, None], dtype="Int64"),
            "front": [True, False],
            "score": [0.1 + 0.2, None],
        }
    )
    texts = [number_text(value, 100, 1) for value in values(frame["score"])]
    columns = [TableColumn("method", values(frame["method"]), words=True), TableColumn("S ↓", texts)]
    return Table("A title", columns, frame, lead="First.", notes=("- a note",), about={"key": 1}, **more)


def test_csv_and_json_hold_every_digit_and_nothing_where_a_value_is_missing() -> None:
    first, second = csv.DictReader(io.StringIO(render([table()], "csv")))
    assert first == {"method": "a", "rank": "2", "front": "True", "score": repr(0.1 + 0.2)}
    assert second == {"method": f"'{NASTY}", "rank": "", "front": "False", "score": ""}
    (shown,) = json.loads(render([table()], "json"))
    assert (shown["title"], shown["key"], shown["notes"]) == ("A title", 1, ["- a note"])
    assert shown["rows"] == records(table().frame)
    assert shown["rows"][1] == {"method": NASTY, "rank": None, "front": False, "score": None}


def test_several_tables_are_one_csv() -> None:
    other = Table("", [], pd.DataFrame({"method": ["c"], "seconds": [1.5]}))
    rows = list(csv.DictReader(io.StringIO(render([table(), other], "csv"))))
    assert list(rows[2].values()) == ["c", "", "", "", "1.5"] and rows[0]["seconds"] == ""
    frame = joined([table().frame, other.frame])
    assert list(frame["method"]) == ["a", NASTY, "c"] and values(frame["rank"]) == [2, None, None]


def test_no_text_acts_as_a_command() -> None:
    shown = {form: render([table()], form) for form in ("table", "markdown", "latex", "html")}
    assert "\x1b" not in shown["table"] and "=2+3" in shown["table"]
    assert r"=2+3\|<b>" in shown["markdown"]
    assert r"=2+3\textbar{}\textless{}b\textgreater{}\&\_\%\textbackslash{}" in shown["latex"]
    assert "=2+3|&lt;b&gt;&amp;_%" in shown["html"] and shown["html"].isascii()

    class Cells(HTMLParser):
        seen: list[str]

        def handle_starttag(self, tag: str, attributes: object) -> None:
            self.seen.append(tag)

    parser = Cells()
    parser.seen = []
    parser.feed(shown["html"])
    assert "b" not in parser.seen and parser.seen.count("td") == 4


def test_a_bar_that_is_escaped_already_stays_so() -> None:
    assert Table.of_texts(["a"], [[r"x \| y"], ["x | y"]], words=()).markdown().count(r"x \| y") == 2


def test_title_and_lead_stand_above_and_notes_below() -> None:
    for form in ("table", "markdown", "latex"):
        text = render([table()], form)
        places = [text.index(part) for part in ("A title", "First.", "30.0")]
        assert places == sorted(places)
        assert text.index("- a note") > places[-1] or form == "latex"
    lines = render([table()], "latex").splitlines()
    assert [line for line in lines if line.startswith("%")][:3] == ["% A title", "% First.", "% - a note"]


def test_words_stand_left_and_numbers_right() -> None:
    grid = Table.of_texts(["name", "n"], [["a", "1"], ["long", "100"]], words=(0,))
    assert grid.text().splitlines() == ["", " name     n", " ──────────", " a        1", " long   100"]
    assert grid.markdown().splitlines()[1] == "|---|--:|"
    assert grid.latex_frame()[0].splitlines()[1] == r"\begin{tabular}{lr}"
    assert grid.html().count("text-align: right") == 3


def test_a_narrow_terminal_breaks_between_words_and_words_share_what_numbers_leave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "24")
    rows = [["one two three four five", "12.3 ±4.5"]]
    lines = Table.of_texts(["text", "number"], rows, words=(0,)).text().splitlines()
    assert lines[1:] == [
        " text           number",
        " ─────────────────────",
        " one two          12.3",
        " three four       ±4.5",
        " five",
    ]
    whole = Table("", Table.of_texts(["text", "number"], rows, words=(0,)).columns, folds=False)
    assert " one two three four five   12.3 ±4.5" in whole.text().splitlines()
    text, number = Table.of_texts(["text", "number"], rows, words=(0,)).columns
    lines = Table("", [text, replace(number, folds=False)]).text().splitlines()
    assert lines[3] == " one two     12.3 ±4.5" and lines[4] == " three"


def test_wide_signs_take_two_places() -> None:
    lines = Table.of_texts(["名前", "n"], [["猫", "1"], ["abcd", "2"]], words=(0,)).text().splitlines()
    assert lines[1:] == [" 名前   n", " ────────", " 猫     1", " abcd   2"]


@pytest.mark.parametrize("format", FORMATS)
def test_without_rows_or_tables(format: Any) -> None:
    assert render([], format).endswith("\n")
    empty = Table.of_texts(["a", "b"], [], words=(0,), title="none")
    text = render([empty], format)
    assert text.endswith("\n") and (json.loads(text)[0]["rows"] == [] if format == "json" else "a" in text)


def test_numbers_for_people() -> None:
    assert (number_text(0.1234, 100, 1), number_text(0.5, signed=True), number_text(None, missing="–")) == (
        "12.3", "+0.5000", "–",
    )  # fmt: skip
    assert ends_text(-0.1, 0.25, 100, 1, signed=True) == "[-10.0, +25.0]" and ends_text(None, None) == ""


def test_texts_alone_need_no_pandas() -> None:
    code = (
        "import sys; from benchmark.utils.table import Table, render\n"
        "print(render([Table.of_texts(['a'], [['b']], words=())], 'table'), 'pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split()[-1] == "False", done.stderr
