"""The pages of methods: one each, with its formula, values and numbers, and the rule for what is good and bad."""

from __future__ import annotations

import csv
import io
import re
from functools import cache
from pathlib import Path

from tuned_entry import tuned_entry
from world import command

from benchmark.leaderboards.boards import Board, Row
from benchmark.leaderboards.grouping import BoardKey
from benchmark.suites.tuned.space import competes
from benchmark.suites.tuned.trials import KeptTrial
from benchmark.utils.statistics import Interval
from docs.generation.blocks import fill
from docs.generation.boards import reference_boards
from docs.generation.method_pages import NEVER, NOT_YET, REGIMES, method_index, trial_figures, tuned_table
from docs.generation.standings import ASPECTS, NONE_YET, Place, places, sentences, standings_table
from methods.common.card import REGIME_NAMES
from methods.common.registry import Registry

PAGES = Path(__file__).resolve().parents[2] / "docs" / "methods"
REGISTRY = Registry()
NAMES = REGISTRY.names()


@cache
def filled(name: str) -> str:
    """A method's page with its generated blocks."""
    return fill((PAGES / f"{name}.md").read_text(encoding="utf-8"))


def test_every_method_has_its_page_with_a_formula_and_a_source() -> None:
    assert sorted(path.stem for path in PAGES.glob("*.md")) == sorted(NAMES)
    for name in NAMES:
        text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
        assert text.startswith(f"# {name}\n\n<!-- generated: method-card {name} -->\n\n## Formula\n"), name
        assert text.endswith(f"\n<!-- generated: method-here {name} -->\n"), name
        formula, _, source = text.partition("## Formula\n")[2].partition("\n## Source\n\n")
        assert "\n$$\n" in formula and len(source.partition("\n")[0]) > 20, name


def test_a_page_shows_what_the_method_declares() -> None:
    for name in NAMES:
        page, declaration = filled(name), REGISTRY.declaration(name)
        card = declaration.card
        assert REGIMES[card.regime] in page and f"`{card.regime}`" in page, name
        assert card.paper in page or card.paper == "reference row", name
        assert all(f"\n- {sentence}" in page for sentence in card.deviations), name
        arxiv = re.search(r"\d{4}\.\d{5}", card.paper)
        assert arxiv is None or f"https://arxiv.org/abs/{arxiv[0]}" in page, name
        for field in declaration.hyperparameters.__dataclass_fields__.values():
            assert f"| `{field.name}` |" in page and field.metadata["source"].replace("|", "\\|") in page, name


def test_the_index_links_every_page_once_below_what_it_reads() -> None:
    index = method_index()
    assert sorted(re.findall(r"\| \[\w+\]\(methods/(\w+)\.md\)", index)) == sorted(NAMES)
    assert set(REGIMES) == set(REGIME_NAMES)
    names_alone = index.partition("### ")[2].partition("\n### ")[0]
    listed = set(re.findall(r"methods/(\w+)\.md", names_alone))
    declared = {n for n in NAMES if REGISTRY.declaration(n).card.regime == "names" and competes(REGISTRY, n)}
    assert listed == declared and "ccup" in listed and "logit_mask" not in listed


def test_the_numbers_of_the_pages_are_those_of_the_leaderboard() -> None:
    rows = list(csv.DictReader(io.StringIO(command("leaderboard", "--reference", "--format", "csv").out)))
    assert len(rows) > 20
    boards = {board.key: board for board in reference_boards()}
    for row in rows:
        method = row["method"].split()[0]
        if method not in NAMES:
            continue
        key = BoardKey(*(row[name] for name in BoardKey._fields))
        (place,) = [p for p in places(method, [boards[key]]) if p.row.method == row["method"]]
        line = standings_table([place]).splitlines()[2]
        cells = [cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|")]  # the last may be empty
        shown = dict(zip(("place", "Q", "E", "D", "S"), cells[1:6], strict=True))
        assert f"{row['rank']} of " in shown["place"] if row["rank"] else shown["place"] == ""
        for head, metric in (("Q", "quality"), ("E", "residual"), ("D", "damage"), ("S", "kravets")):
            value = row.get(f"score/{metric}")
            assert shown[head] == (f"{float(value):.3f}" if value else ""), (row["method"], metric)


def test_a_method_without_records_says_so() -> None:
    boards = {row.method.split()[0] for board in reference_boards() for row in board.rows if row.cells}
    for name in NAMES:
        assert (NONE_YET in filled(name)) == (name not in boards), name


def board(*rows: tuple[str, float, float, float], tiers: bool = False) -> Board:
    """A board by S: method, forget accuracy, D and seconds; S is their mean, and original does not compete."""
    made = []
    for rank, (name, left, damage, seconds) in enumerate(rows):
        metrics = {"forget/acc1": left, "score/damage": damage, "score/kravets": (left + damage) / 2}
        intervals: dict[str, Interval | None] = {n: Interval(value, None, None, 3) for n, value in metrics.items()}
        reference = name == "original"
        costs: dict[str, float | None] = {"unlearn_seconds": seconds}
        tier = 1 if tiers and not reference else None
        made.append(Row(name, "names", reference, None if reference else rank, 3, 3, intervals, costs, tier=tier))
    key = BoardKey("s", "m", "d", "class", "fp32", "cpu")
    columns = ("score/kravets", "forget/acc1", "retain/acc1")
    return Board(key, 3, 1, columns, (), tuple(made), (), ranked_by="score/kravets")


ROWS = (
    ("original", 1.0, 0.0, 0.0),
    ("a", 0.0, 0.1, 1.0),
    ("b", 0.2, 0.0, 2.0),
    ("c", 0.5, 0.4, 3.0),
    ("d", 0.9, 0.9, 90.0),
)


def test_good_is_the_best_quarter_of_the_competing_rows_and_bad_the_worst() -> None:
    found = {name: places(name, [board(*ROWS)]) for name, *_ in ROWS}
    told = {name: [aspect.verdict(rows[0]) for aspect in ASPECTS] for name, rows in found.items()}
    assert told["a"] == ["good", "", "good"] and told["b"] == ["", "good", ""]
    assert told["c"] == ["", "", ""] and told["d"] == ["bad", "bad", "bad"] and told["original"] == ["", "", ""]
    assert sentences(found["a"]) == [
        "**Good**: little is left of the forget set on s, m, class (0 % by name).",
        "**Good**: it is fast on s, m, class (1 s).",
        "Better than doing nothing on 1 of 1 boards.",
    ]
    assert sentences(found["d"])[-1] == "Better than doing nothing on 0 of 1 boards."


def test_equal_rows_are_neither_good_nor_bad_and_tiers_come_before_ranks() -> None:
    same = board(*((name, 0.5, 0.5, 1.0) for name in "wxyz"), tiers=True)
    rows = places("x", [same])
    assert [aspect.verdict(rows[0]) for aspect in ASPECTS] == ["", "", ""] and sentences(rows) == []
    assert rows[0].standing == "tier 1 (1 of 4)"
    assert Place(board(*ROWS), board(*ROWS).rows[2]).standing == "2 of 4"
    assert places("q", [same]) == []


def test_the_values_that_tuning_found_stand_beside_those_before() -> None:
    entry = tuned_entry(method="ccup", values={"forget_weight": 12.5, "retain_weight": 3.0})
    table = tuned_table("ccup", [entry, tuned_entry(method="lip", values={"learning_rate": 0.5})])
    (line,) = [line for line in table.splitlines() if line.startswith("| `forget_weight` | ")]
    assert line.endswith(", in logarithms | `12.5` |") and "`0.5`" not in table
    assert f"{entry.untuned:.3f} → {entry.objective:.3f}" in table and f"{entry.dataset}, {entry.kind}" in table
    assert tuned_table("ccup", []) == NOT_YET and tuned_table("original", [entry]) == NEVER


def test_the_figure_of_a_page_has_the_trials_of_its_method_alone() -> None:
    fields = {"dataset": "shapes", "kind": "class", "model": "m", "weights": "w", "revision": "1", "suite": "d"}
    fields |= {"source": "0", "seed": 0, "rate": "", "score": "Q"}
    trials = [
        KeptTrial(method="ccup", number=n, values={"forget_weight": 1.0 + n}, means={"Q": 0.1 * n}, **fields)  # type: ignore[arg-type]
        for n in (0, 1)
    ]
    figure = trial_figures("ccup", trials)
    assert figure.count('<circle class="trial"') == 1 and figure.count('<rect class="untuned"') == 1
    assert figure.count("<figure>") == 1 and "shapes, forget class, m" in figure
    assert "<svg" not in trial_figures("lip", trials) and trial_figures("original", trials) == ""
