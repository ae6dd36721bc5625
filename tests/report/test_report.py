"""The report: what stands on the page, where it is from, and what bad input does to it."""

from __future__ import annotations

import base64
import gzip
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from world import Answer, command

from benchmark.leaderboards.pareto import pareto_front
from benchmark.leaderboards.tables import board_table
from benchmark.leaderboards.tables import render as tables
from benchmark.records.failures import Ledger
from benchmark.records.kept_outputs import Outputs
from benchmark.records.record import SCHEMA, Metric, Record, key_of
from benchmark.records.store import REFERENCE, RecordStore
from benchmark.report.cards import SHOWN, RankPlace, good_and_bad, places
from benchmark.report.content import Content, collect
from benchmark.report.curves import POINTS, thinned
from benchmark.report.extras import Curve, Extras, Predictions, read_extras, write_extras
from benchmark.report.gathering import gather
from benchmark.report.page import LIMIT, embedded, render
from benchmark.report.palette import LOOKS
from benchmark.report.predictions import chosen_images, predictions_of, world
from benchmark.report.views import LANDMARKS, View
from benchmark.suites.expansion import ORIGINAL, RETRAIN
from benchmark.utils.markup import latex_text
from benchmark.utils.table import FORMATS
from datamodules.common.request import ForgetRequest
from methods.common.card import REGIME_NAMES
from methods.common.registry import Registry

pytest_plugins = ("world",)
JOINT = "class, retrained joint"
EVIL = "</script><script>alert(1)</script>&\"'"


class Page(HTMLParser):
    """The elements of a page with their attributes, and its embedded data."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.shown = ""
        self._raw = ""
        self._in_data = False
        self.feed(text)
        self.data: Any = json.loads(gzip.decompress(base64.b64decode(self._raw)))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._in_data = tag == "script" and ("id", "data") in attrs

    def handle_endtag(self, tag: str) -> None:
        self._in_data = False

    def handle_data(self, data: str) -> None:
        if self._in_data:
            self._raw += data
        else:
            self.shown += data


def content(results: Path, **options: Any) -> Content:
    return collect(gather(results, REFERENCE, **options), Registry())


@pytest.fixture(scope="module")
def reference() -> Content:
    return content(Path("nowhere"))


@pytest.fixture(scope="module")
def text(reference: Content) -> str:
    return render(reference)


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def record(method: str = "m", number: int = 0, **changes: Any) -> Record:
    """A record of one cell with few numbers."""
    fields: dict[str, Any] = {
        "schema": SCHEMA,
        "cell": {
            "suite": "own",
            "method": method,
            "dataset": "d",
            "model": "clip",
            "request": {"classes": ["a"]},
            "seed": 0,
            "hparams": {},
            "number": number,
        },
        "metrics": {"score/kravets": Metric(0.1), "forget/acc1": Metric(0.2), "retain/acc1": Metric(0.8)},
        "references": {},
        "cost": {"unlearn_seconds": 1.0, "flops": None},
        "provenance": {"device": "cpu", "precision": "fp32", "regime": "names", "command": "repeat me"},
    }
    fields |= changes
    return Record(key=key_of(fields["cell"]), **fields)


def written(folder: Path, *records: Record) -> Path:
    store = RecordStore(folder)
    for each in records:
        store.write(each)
    return folder


def report(*options: object) -> Answer:
    return command("report", *options)


# -- the page of the reference records ---------------------------------------------------------------------


def test_the_page_holds_all_it_needs(text: str) -> None:
    assert len(text.encode()) <= LIMIT
    elements = Page(text).elements
    loading = [(tag, a[name]) for tag, a in elements for name in ("src", "srcset", "data", "poster") if name in a]
    assert all(str(value).startswith("data:") for _, value in loading), loading
    assert not [tag for tag, _ in elements if tag in ("link", "iframe", "object", "embed", "base")]
    policy = next(a["content"] for tag, a in elements if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in str(policy)
    assert "url(" not in text.split("</style>")[0] and "@import" not in text.split("</style>")[0]


def test_every_number_of_the_page_is_the_leaderboards(reference: Content, page: Page) -> None:
    for shown, board in zip(page.data["boards"], reference.boards, strict=True):
        rows = {row.method: row for row in board.whole.board.rows}
        texts = board_table(board.whole.board).rows
        for row, cells in zip(shown["whole"]["rows"], texts, strict=True):
            own = rows[row["label"]]
            assert row["texts"] == cells
            assert (row["rank"], row["best"], row["worst"]) == (own.rank, own.rank_best, own.rank_worst)
            for name in board.whole.board.columns:
                mean = own.metrics.get(name)
                assert row["numbers"][name] == (None if mean is None else [mean.mean, mean.low, mean.high])
        latex = tables([board.whole.board], "latex").splitlines()
        assert [row["latex"] for row in shown["whole"]["rows"]] == latex[-len(rows) - 2 : -2]


def test_each_request_has_its_own_leaderboard(reference: Content, page: Page) -> None:
    board = next(b for b in page.data["boards"] if (b["key"]["suite"], b["key"]["kind"]) == ("cifar100", JOINT))
    ten = "apple bottle castle chair lion motorcycle mountain orchid rocket skunk"
    assert board["requests"] == sorted(board["single"]) == ten.split()
    own = next(b for b in reference.boards if (b.key.suite, b.key.kind) == ("cifar100", JOINT))
    ccup = next(row for row in board["single"]["apple"]["rows"] if row["label"] == "ccup")
    only = [r for r in own.records if r.cell["method"] == "ccup" and r.cell["request"] == {"classes": ["apple"]}]
    assert [ccup["numbers"]["forget/acc1"][0]] == [r.metrics["forget/acc1"].value for r in only]


def test_the_front_is_that_of_the_competing_rows(reference: Content) -> None:
    view = next(b.whole for b in reference.boards if b.key.suite == "oracle")
    rows = [row for row in view.board.rows if not row.reference]
    points = [
        (1 - row.metrics["forget/acc1"].mean, row.metrics["retain/acc1"].mean, row.costs["unlearn_seconds"])  # type: ignore[union-attr]
        for row in rows
    ]
    front = {row.method for row in rows if row.front}
    assert front == {rows[i].method for i in pareto_front(points)} and front


def test_an_empty_cell_says_why(reference: Content) -> None:
    view = next(b.whole for b in reference.boards if b.key.suite == "oracle")
    assert view.why["retrain"]["flops"] == "not counted in these records"
    for board in reference.boards:
        for row in board.whole.board.rows:
            empty = {name for name in board.whole.board.columns if row.metrics.get(name) is None}
            assert empty <= set(board.whole.why[row.method])


def test_the_page_shows_curves_and_predictions_of_the_reference_records(page: Page) -> None:
    quick = [r for r in page.data["records"] if r["key"] in page.data["predictions"]["by_key"]]
    assert {"original", "ccup", "cliperase"} <= {r["method"] for r in quick}
    assert all(image.startswith("data:image/png;base64,") for image in images(page))
    assert {"lip", "cliperase"} <= {r["method"] for r in page.data["records"] if r["key"] in page.data["curves"]}
    accuracies = [c for own in page.data["curves"].values() for c in own if c["name"] == "watch/forget_accuracy"]
    assert len(accuracies) >= 26 and all(0 <= y <= 1 for curve in accuracies for _, y in curve["points"])
    assert all(curve["points"][0][0] == 0 for curve in accuracies), "before the first step"


def images(page: Page) -> list[str]:
    worlds = page.data["predictions"]["worlds"]
    found = [image for each in worlds.values() for image in each["images"].values()]
    assert found
    return found


def test_every_method_has_a_card_with_what_its_file_declares(page: Page) -> None:
    registry = Registry()
    cards = {a["id"] for tag, a in page.elements if tag == "details" and str(a.get("id", "")).startswith("method-")}
    assert cards == {f"method-{name}" for name in registry.names()}
    for name in registry.names():
        declaration = registry.declaration(name)
        assert declaration.card.paper in page.shown
        for field in vars(declaration.hyperparameters).get("__dataclass_fields__", {}).values():
            assert field.metadata["source"] in page.shown
    assert "min_W  ||W - I||_F^2" in page.shown


def test_every_record_has_the_command_that_repeats_it(reference: Content, page: Page) -> None:
    commands = {r.key: r.provenance["command"] for r in reference.gathered.records}
    assert {r["key"]: r["command"] for r in page.data["records"]} == commands and len(commands) > 200


def test_looks_cover_the_regimes_and_differ_without_colour() -> None:
    assert set(LOOKS) == {*REGIME_NAMES, "brought"} and LANDMARKS == (ORIGINAL, RETRAIN)
    assert len({look.symbol for look in LOOKS.values()}) == len({look.marker for look in LOOKS.values()}) == len(LOOKS)


# -- good and bad, by rule -----------------------------------------------------------------------------------


def test_places_are_the_ranks_of_the_leaderboard(reference: Content) -> None:
    keys = {(board.key.suite, board.key.kind): board for board in reference.boards}
    view = keys["reference", JOINT].whole
    found = places([view])
    for row in view.board.rows:
        own = [place.place for place in found.get(row.method, ()) if place.column == "Q ↑"]
        assert own == ([] if row.rank is None else [row.rank])


def test_good_and_bad_are_the_outer_quarters() -> None:
    def place(number: int, among: int = 9) -> RankPlace:
        return RankPlace("c", "b", number, among)

    good, bad = good_and_bad([place(5), place(1, 5), place(3), place(4), place(7), place(9), place(1), place(6)])
    assert good == [place(1), place(1, 5), place(3)] and bad == [place(9), place(7)]
    assert len(good_and_bad([place(1)] * 9)[0]) == SHOWN


# -- curves, predictions, and the file that keeps them ------------------------------------------------------------


def test_a_curve_is_thinned_without_averages() -> None:
    points = [(step, float("nan") if step == 3 else step / 7) for step in range(200)]
    curve = thinned("loss", "step", points)
    assert curve is not None and len(curve.steps) <= POINTS and curve.every == 4
    kept = [float(f"{value:.6g}") for step, value in points if step in curve.steps]
    assert list(curve.values) == kept and 3 not in curve.steps
    assert thinned("loss", "step", [(0, float("inf")), (1, 2.0)]) is None, "one point is no curve"


def test_logs_and_lists_of_a_record_are_curves(tmp_path: Path) -> None:
    own = record(report={"accuracy_by_step": [1.0, 0.5], "words_by_step": ["a"], "level": 3})
    written(tmp_path, own)
    log = tmp_path / "logs" / "own" / own.key[:12]
    log.mkdir(parents=True)
    (log / "metrics.csv").write_text("epoch,loss,step\n0,3.5,0\n0,,1\n0,2.5,2\n")
    found = collect(gather(tmp_path, REFERENCE, which="own"), Registry()).extras.curves[own.key]
    assert found == (
        Curve("accuracy", "step", (1, 2), (1.0, 0.5)),
        Curve("loss", "step", (0, 2), (3.5, 2.5)),
    )
    kept = tmp_path / "kept" / "extras.json"
    answer = report("--results", tmp_path, "--own", "--keep", kept)
    assert answer.status == 0, answer.err
    assert read_extras(kept.parent)[0].curves == {own.key: found[1:]}, "what the record holds is not kept twice"


def test_extras_read_back_and_damage_is_told(tmp_path: Path) -> None:
    extras = Extras({"k": (Curve("loss", "step", (0,), (1.5,)),)}, {"k": Predictions((7,), (((1, 0.5), (2, 0.25)),))})
    write_extras(tmp_path / "extras.json", extras)
    assert read_extras(tmp_path) == (extras, [])
    for damage in ("{", '{"schema": 9}', '{"schema": 1, "curves": {"k": [1]}, "predictions": {}}', "[]"):
        (tmp_path / "extras.json").write_text(damage)
        found, wrong = read_extras(tmp_path)
        assert found == Extras() and len(wrong) == 1 and wrong[0].startswith("not read: extras.json"), damage


def test_top_five_are_the_nearest_names_that_are_not_refused() -> None:
    of = world("shapes")
    assert of is not None
    star = of.class_names.index("star")
    classifier = np.eye(len(of.class_names), 32, dtype=np.float32)
    images = classifier[of.labels].astype(np.float16)
    outputs = Outputs(images, classifier, refused=())
    own = record(
        cell={**record().cell, "dataset": "shapes", "request": {"classes": ["star"]}},
        metrics={"forget/acc1": Metric(1.0)},
    )
    found = predictions_of(own, outputs, of)
    assert found is not None and found.images == chosen_images(of, ForgetRequest(("star",)))
    assert [of.labels[i] for i in found.images[:3]] == [star] * 3 and star not in of.labels[list(found.images[3:])]
    assert [top[0] for top in found.top] == [(int(of.labels[i]), 1.0) for i in found.images]
    masked = Outputs(images, classifier, refused=("star",))
    assert predictions_of(own, masked, of) is None, "outputs that are not those of the record"
    refusing = record(cell=own.cell, metrics={"forget/acc1": Metric(0.0)})
    after = predictions_of(refusing, masked, of)
    assert after is not None and all(star not in dict(top) for top in after.top)


def test_the_images_are_those_of_the_data_set(cache_dir: Path) -> None:
    from datamodules.common.registry import open_dataset
    from datamodules.shapes_colours import ShapesColours

    of = world("shapes_colours")
    assert of is not None and of.class_names == ShapesColours(None, cache_dir, 64).class_names
    split = open_dataset("shapes_colours", None, cache_dir, 64).split("test")
    from benchmark.report.predictions import _pixels

    assert (split.images.read(range(of.drawn)).numpy() == _pixels("shapes_colours")).all()
    assert split.labels is not None and (split.labels == of.labels).all()
    assert world("cifar100") is None and world("nowhere") is None


# -- bad input -------------------------------------------------------------------------------------------------


def test_no_records_make_a_page_that_says_so(tmp_path: Path) -> None:
    answer = report("--results", tmp_path / "none", "--own")
    assert answer.status == 0, answer.err
    page = Page((tmp_path / "none" / "report.html").read_text(encoding="utf-8"))
    assert "No records" in page.shown and page.data["boards"] == [] and "method-ccup" in str(page.elements)


def test_records_of_another_schema_are_named_and_left_where_they_are(tmp_path: Path) -> None:
    written(tmp_path, record(number=1), record(number=2))
    later = tmp_path / "own" / f"{record(number=2).key}.json"
    later.write_text(json.dumps(json.loads(later.read_text()) | {"schema": SCHEMA + 1}))
    (tmp_path / "own" / f"{3:064x}.json").write_text("{")
    for _ in range(2):
        answer = report("--results", tmp_path, "--own")
        assert answer.status == 0 and "1 record of another version is left alone" in answer.err
        page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
        assert "1 record of another version is left alone" in page.shown and f"own/{3:064x}.json" in page.shown
        assert len(page.data["records"]) == 1 and later.is_file()


def test_damaged_outputs_cost_one_records_predictions_and_are_named(tmp_path: Path) -> None:
    """Whatever the damage, the page shows all the rest; nothing is renamed by a command that only reads."""
    of = world("shapes")
    assert of is not None
    classifier = np.eye(len(of.class_names), 32, dtype=np.float32)
    cell = {**record().cell, "dataset": "shapes", "request": {"classes": ["star"]}}
    about = {**record().provenance, "data_revisions": {"shapes": of.revision}}
    rows = [
        record(cell={**cell, "seed": seed}, metrics={"forget/acc1": Metric(1.0)}, provenance=about) for seed in (0, 1)
    ]
    store, outputs = RecordStore(tmp_path), Outputs(classifier[of.labels].astype(np.float16), classifier)
    whole, damaged = [store.write(row, outputs).with_suffix(".npz") for row in rows]
    stored = damaged.read_bytes()
    for wrong in (stored[: len(stored) // 2], b"", stored[:9] + b"?" + stored[10:], whole.read_bytes()):
        damaged.write_bytes(wrong)
        found = content(tmp_path, which="own")
        assert set(found.extras.predictions) == {rows[0].key}
        assert found.gathered.notes == (f"not read: own/{damaged.name}: damaged or of another version: no predictions",)
        assert damaged.read_bytes() == wrong


def test_hostile_names_are_escaped(tmp_path: Path) -> None:
    evil = record(
        EVIL,
        1,
        cell={**record().cell, "method": EVIL, "model": EVIL, "dataset": EVIL, "request": {"classes": [EVIL]}},
        provenance={"device": EVIL, "precision": EVIL, "regime": EVIL, "command": EVIL},
        metrics={EVIL: Metric(0.5), "score/kravets": Metric(0.1)},
        report={f"{EVIL}_by_step": [1.0, 2.0], "loss_by_step": [1.0, 2.0], "not_measured": {"damage": EVIL}},
        references={EVIL: EVIL},
        cost={EVIL: 1.0},
    )
    written(tmp_path, evil)
    Ledger(tmp_path).append("k", {**evil.cell, "seed": 5}, ValueError(EVIL))
    assert report("--results", tmp_path, "--own").status == 0
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in text and "alert(1)" in text
    page = Page(text)
    assert page.data["boards"][0]["key"]["model"] == EVIL and page.data["records"][0]["command"] == EVIL
    assert [tag for tag, _ in page.elements].count("script") == 4
    assert re.fullmatch(r"[A-Za-z0-9+/=]+", embedded({"a": "<!--</script>&"})), (
        "no sign that a script element could end at"
    )
    assert "<script>" not in tables([b.whole.board for b in content(tmp_path, which="own").boards], "html")


def test_failed_cells_are_rows_with_their_reason(tmp_path: Path) -> None:
    written(tmp_path, record("good", 1), record("half", 2), record("good", 3, cell={**record("good").cell, "seed": 1}))
    ledger = Ledger(tmp_path)
    ledger.append(f"{9:064x}", {**record("bad").cell, "precision": "fp32"}, RuntimeError("no\nmemory"))
    ledger.append(record("good", 1).key, record("good").cell, RuntimeError("mended since"))
    (board,) = content(tmp_path, which="own").boards
    bad = next(row for row in board.whole.board.rows if row.method == "bad")
    assert (bad.cells, bad.expected, bad.rank) == (0, 1, None)
    why = board.whole.why["bad"]["forget/acc1"]
    assert why == "0 of 1 cells have a record; missing: a at seed 0; it failed with RuntimeError: no memory"
    assert "mended since" not in render(content(tmp_path, which="own"))


def test_a_page_that_would_be_too_large_leaves_parts_out_and_says_which(text: str, reference: Content) -> None:
    short = render(reference, limit=len(text.encode()) - 1)
    assert len(short) < len(text)
    page = Page(short)
    assert "Left out, since the page would be too large: the metrics and the provenance" in " ".join(page.shown.split())
    assert all(r["command"] and not r["metrics"] for r in page.data["records"]) and page.data["curves"]
    least = Page(render(reference, limit=1))
    assert not least.data["records"] and not least.data["curves"] and least.data["boards"]


def test_your_record_counts_before_the_projects(tmp_path: Path) -> None:
    shared, mine, other = record(), record(provenance={**record().provenance, "regime": "forget"}), record(number=1)
    written(tmp_path / "project", shared, other)
    written(tmp_path / "own", mine)
    found = gather(tmp_path / "own", tmp_path / "project")
    assert {each.key: each for each in found.records} == {mine.key: mine, other.key: other}
    assert [key for key, origin in found.origins.items() if origin == "own"] == [shared.key]


def test_where_the_page_cannot_be_written(tmp_path: Path) -> None:
    assert "is a folder: name a file" in report("--own", "--out", tmp_path).error
    (tmp_path / "file").write_text("")
    assert "--out" in report("--own", "--out", tmp_path / "file" / "page.html").error


# -- static figures and tables for papers -----------------------------------------------------------------------


def test_figures_are_svg_and_pdf_and_the_same_each_time(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = [record(f"m{n}", n, provenance={**record().provenance, "regime": regime}) for n, regime in enumerate(LOOKS)]
    deep = {f"forget/relearn_acc1@{shots}": Metric(0.1 * shots / 2) for shots in (1, 2, 4, 8, 16)}
    rows[0] = record(r"$\evil_{<&", 0, metrics=rows[0].metrics | deep | {"forget/probe_acc1": Metric(0.9)})
    rows[1] = record("m1", 1, report={"loss_by_step": [3.0, 1.0]})
    rows.append(record("original", 99, metrics={"forget/acc1": Metric(0.9), "retain/acc1": Metric(0.9)}))
    written(tmp_path / "runs", *rows)
    for folder in ("one", "two"):
        answer = report("--results", tmp_path / "runs", "--own", "--figures", tmp_path / folder)
        assert answer.status == 0, answer.err
    kinds = ("scores", "trade-off", "deep", "relearning", "curves")
    names = {f"own-clip-d-class-{kind}{end}" for kind in kinds for end in (".svg", ".pdf")}
    assert {path.name for path in (tmp_path / "one").iterdir()} == names
    for name in names:
        content_ = (tmp_path / "one" / name).read_bytes()
        assert content_ == (tmp_path / "two" / name).read_bytes(), name
        assert content_.startswith(b"%PDF" if name.endswith("pdf") else b"<?xml")
    assert "m5" in (tmp_path / "one" / "own-clip-d-class-trade-off.svg").read_text(encoding="utf-8")


def test_figures_without_matplotlib_name_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    answer = report("--own", "--results", tmp_path / "none", "--figures", tmp_path / "figures")
    assert "[figures]" in answer.error and not (tmp_path / "none").exists()


def test_latex_escapes_what_it_would_read_as_a_command() -> None:
    assert latex_text("a_b & 5 % \\x ±2 ↓ {[") == r"a\_b \& 5 \% \textbackslash{}x $\pm$2 $\downarrow$ \{["
    assert latex_text("[0.1, 0.2]") == "{[}0.1, 0.2]" and latex_text("*") == "{*}" and latex_text("") == ""
    assert latex_text("two\nlines") == "two lines"


def test_the_leaderboard_as_latex_and_html(reference: Content) -> None:
    boards = [board.whole.board for board in reference.boards]
    latex = tables(boards, "latex")
    for line in latex.splitlines():
        if line.endswith(r"\\"):
            head = next(h for h in latex.splitlines() if h.endswith(r"\\") and h.startswith(r"\# "))
            assert line.count(" & ") >= 5 and head
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == len(boards)
    html = tables(boards, "html")
    html.encode("ascii")
    rows = sum(len(board.rows) + 1 for board in boards)
    assert html.count("<tr>") == html.count("</tr>") == rows and html.count("<table>") == len(boards)
    assert {"latex", "html"} <= set(FORMATS)
    assert not re.search(r"(?<!\\)[_#]", "".join(line for line in latex.splitlines() if line.endswith(r"\\")))


def test_a_view_of_one_board_needs_no_numbers(tmp_path: Path) -> None:
    bare = record(metrics={"score/harmonic": Metric(None)})
    (board,) = content(written(tmp_path, bare), which="own").boards
    view: View = board.whole
    assert view.axes is None and not any(row.front for row in view.board.rows)
    assert view.why["m"] == {"score/harmonic": "not defined for these cells"}
