"""The page in a browser: it sorts, filters and switches, complains of nothing, asks nobody, and can be used by all."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chromium import Browser, browser, executable
from world import command

from benchmark.records.record import key_of
from benchmark.records.store import REFERENCE, RecordStore

pytestmark = pytest.mark.skipif(executable() is None, reason="no Chromium on the PATH (Debian: apt install chromium)")
pytest_plugins = ("world",)
AXE = "CLIP_UNLEARNING_AXE"
"""Names the file axe.min.js of the npm package axe-core; else it is looked for in node_modules."""
EVIL = "<img src=x onerror=window.hurt=1>"
HEADS = "[...document.querySelectorAll('#board thead th')]"
NAMES = "[...document.querySelectorAll('#board tbody th')].map(t => t.title)"


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "page.html"
    answer = command("report", "--reference", "--out", path)
    assert answer.status == 0, answer.err
    return path


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as made:
        yield made


def opened(chromium: Browser, path: Path) -> None:
    """Open a page and wait until its data are unpacked and drawn."""
    chromium.open(path)
    ready = "document.documentElement.dataset.ready"
    chromium.run(f"new Promise(done => {{ const look = () => {ready} ? done() : setTimeout(look, 10); look(); }})")


@pytest.fixture
def first(chromium: Browser, page_file: Path) -> Browser:
    """The page as it opens."""
    chromium.size(1280, 900)
    chromium.console.clear()
    chromium.requests.clear()
    opened(chromium, page_file)
    return chromium


SHOWN = {"quick": "shapes-small", "oracle": "shapes-resnet", "reference": "shapes-resnet"}
"""Suites that are looked at, and their model."""


def show(page: Browser, suite: str) -> None:
    """Choose a suite's board."""
    choose(page, "model", SHOWN[suite])
    choose(page, "suite", suite)


@pytest.fixture
def page(first: Browser) -> Browser:
    """The page with the boards of suite quick."""
    show(first, "quick")
    choose(first, "kind", "class")
    return first


def choose(page: Browser, select: str, value: str) -> None:
    page.run(
        f"(s => {{ s.value = {value!r}; s.dispatchEvent(new Event('change')) }})(document.getElementById({select!r}))"
    )


def column(page: Browser, name: str) -> list[str]:
    place = f"{HEADS}.findIndex(h => h.dataset.column === {name!r})"
    cells = f"[...document.querySelectorAll('#board tbody tr')].map(r => r.children[{place}].textContent)"
    found: list[str] = page.run(cells)
    return found


def press(page: Browser, name: str) -> Any:
    return page.run(
        f"(h => {{ h.querySelector('button').click(); return h.getAttribute('aria-sort') }})"
        f"({HEADS}.find(h => h.dataset.column === {name!r}))"
    )


def sort_state(page: Browser, name: str) -> Any:
    return page.run(f"{HEADS}.find(h => h.dataset.column === {name!r}).getAttribute('aria-sort')")


def quiet(page: Browser) -> bool:
    """Whether the page asked for nothing but itself and wrote nothing to the console."""
    foreign = [url for url in page.requests if not url.startswith(("file:", "data:"))]
    assert not page.console and not foreign, (page.console, foreign)
    return sum(url.startswith("file:") for url in page.requests) == 1


def shown_parts(page: Browser) -> Any:
    return page.run("[...document.querySelectorAll('.part')].filter(p => p.offsetHeight > 0).map(p => p.dataset.part)")


def text_of(page: Browser, name: str) -> str:
    text: str = page.run(f"document.getElementById({name!r}).textContent")
    return text


def test_it_opens_on_real_images_that_tell_methods_apart_with_who_leads_and_a_podium(first: Browser) -> None:
    assert set(column(first, "tier")) > {"1"}
    board = first.run("document.getElementById('dataset').value")
    assert board not in ("shapes", "few_shapes") and f"of {board} and keep all else" in text_of(first, "asked")
    reading = text_of(first, "reading")
    assert reading.startswith("Q, higher is better") and "as in a model that was trained without it" in reading
    leader = first.run(NAMES)[[rank.split()[-1] for rank in column(first, "rank")].index("1")]
    assert text_of(first, "leads").startswith(f"{leader} leads")
    links = "[...document.querySelectorAll('.podium')].map(p => [...p.querySelectorAll('a')].map(a => a.text))"
    podiums = first.run(links)
    assert len(podiums) >= 2 and all(1 <= len(steps) <= 3 for steps in podiums)
    assert leader in [steps[0] for steps in podiums]
    bottom = "document.getElementById('podiums').getBoundingClientRect().bottom"
    assert first.run(f"{bottom} < innerHeight"), "all of it is seen without scrolling"
    assert quiet(first)


def test_baselines_stand_among_the_methods_by_their_score(page: Browser) -> None:
    show(page, "oracle")
    scores = [float(text.split()[0]) for text in column(page, "score/quality") if text[0].isdigit()]
    assert scores == sorted(scores, reverse=True) and len(scores) > 20
    names = page.run(NAMES)
    assert names[-1] in ("original", "logit_mask") and names.index("random_noise") > 3


def test_long_lists_are_parts_of_their_own(page: Browser) -> None:
    assert shown_parts(page) == ["boards"]
    for part in ("records", "measures", "methods"):
        page.run(f"document.querySelector('nav.parts a[href=\"#{part}\"]').click()")
        page.run("new Promise(done => setTimeout(done, 50))")
        assert shown_parts(page) == [part]
        assert page.run("document.querySelector('nav.parts a[aria-current]').hash") == f"#{part}"
    page.run("location.hash = 'method-ccup'")
    page.run("new Promise(done => setTimeout(done, 50))")
    assert shown_parts(page) == ["methods"] and page.run("document.getElementById('method-ccup').open")
    page.run("location.hash = 'trade-off'")
    page.run("new Promise(done => setTimeout(done, 50))")
    assert shown_parts(page) == ["boards"] and quiet(page)


def test_on_a_phone_the_score_is_the_second_column(page: Browser) -> None:
    heads = f"{HEADS}.slice(0, 2).map(h => h.dataset.column)"
    assert page.run(heads) == ["method", "rank"]
    page.size(390, 844)
    page.run("new Promise(done => setTimeout(done, 400))")
    assert page.run(heads) == ["method", "score/quality"]
    assert page.run(f"{HEADS}[1].getBoundingClientRect().right") <= 390


def test_two_methods_stand_side_by_side_with_the_verdict(page: Browser) -> None:
    show(page, "oracle")
    choose(page, "one", "original")
    choose(page, "other", "calibrated_projection")
    verdict, notes = text_of(page, "verdict"), text_of(page, "verdict-notes")
    assert "original" in verdict and "calibrated_projection" in verdict and " requests, p " in verdict
    assert "Holm" in notes
    cells = (
        "[...document.querySelectorAll('#compare-table tbody tr')].map(r => [...r.children].map(c => c.textContent))"
    )
    table = {row[0]: row[1:] for row in page.run(cells)}
    assert table["Q \u2191"][0] == "0.000" and table["Q \u2191"][1].startswith("\u2713 ")
    page.run("document.getElementById('swap').click()")
    assert {row[0]: row[1:] for row in page.run(cells)}["Q \u2191"] == table["Q \u2191"][::-1]
    requests = page.run("[...document.getElementById('request').options].map(o => o.value)")[1:]
    assert page.run("document.querySelectorAll('#by-request tbody tr').length") == len(requests) > 2
    choose(page, "request", requests[0])
    assert text_of(page, "verdict").startswith("No paired test")
    assert quiet(page)


def test_averages_and_devices_stand_beside_the_boards(page: Browser) -> None:
    assert "no interval" in text_of(page, "average")
    assert page.run("document.querySelectorAll('#average tbody tr').length") > 20
    opened = page.run("document.querySelector('#average details[open] summary').textContent")
    assert "tuned" in opened and page.run("document.querySelectorAll('#average details[open]').length") == 1
    assert page.run("[...document.querySelectorAll('#average td')].every(cell => cell.textContent)")
    assert page.run("document.querySelectorAll('#devices-plot svg').length") == 1
    chips = page.run("[...document.querySelectorAll('#devices-legend span')].map(s => s.textContent)")
    assert chips and all(chip.endswith(" cells") for chip in chips)
    assert page.run("document.querySelectorAll('#devices-numbers tbody tr').length") == len(page.run(NAMES))


def test_it_sorts_both_ways_with_the_empty_last(page: Browser) -> None:
    press(page, "retain/acc1")
    assert sort_state(page, "retain/acc1") == "descending", "the better end first"
    numbers = [float(text.split()[0]) for text in column(page, "retain/acc1")]
    assert numbers == sorted(numbers, reverse=True) and len(numbers) > 20
    press(page, "retain/acc1")
    numbers = [float(text.split()[0]) for text in column(page, "retain/acc1")]
    assert sort_state(page, "retain/acc1") == "ascending" and numbers == sorted(numbers)
    press(page, "rank")
    ranks = column(page, "rank")
    assert ranks[0] == "1" and ranks[-1] == "\u2013"
    assert quiet(page)


def test_it_sorts_by_keyboard_and_keeps_the_focus(page: Browser) -> None:
    page.run(f"{HEADS}.find(h => h.dataset.column === 'score/harmonic').querySelector('button').focus()")
    page.press("Enter")
    assert sort_state(page, "score/harmonic") == "descending"
    assert page.run("document.activeElement.closest('th').dataset.column") == "score/harmonic"
    page.press("Tab")
    assert page.run("document.activeElement.closest('th').dataset.column") == "forget/acc1"
    assert page.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_it_filters_by_regime_reference_and_name(page: Browser) -> None:
    everyone = page.run(NAMES)
    page.run("document.querySelector('#regimes input[value=names]').click()")
    left = page.run(NAMES)
    assert "uce" in everyone and "uce" not in left and "cliperase" in left
    labels = page.run("[...document.querySelectorAll('#pareto .labels text')].map(t => t.textContent)")
    assert "uce" not in labels and "cliperase" in labels
    page.run("document.getElementById('references').click()")
    assert "original" not in page.run(NAMES)
    page.run("(s => { s.value = 'ERASE'; s.dispatchEvent(new Event('input')) })(document.getElementById('search'))")
    assert page.run(NAMES) == ["cliperase"]
    page.run("(s => { s.value = 'zzz'; s.dispatchEvent(new Event('input')) })(document.getElementById('search'))")
    assert page.run(NAMES) == [] and page.run("!document.getElementById('nothing').hidden")
    assert quiet(page)


def test_it_switches_model_suite_and_request(page: Browser) -> None:
    assert "shapes-small" in page.run("document.getElementById('board-title').textContent")
    choose(page, "model", "micro")
    title = page.run("document.getElementById('board-title').textContent")
    assert "micro" in title and "shapes-small" not in title
    choose(page, "dataset", "cifar100")
    choose(page, "suite", "cifar100")
    whole = column(page, "forget/acc1")
    choose(page, "request", "apple")
    assert "apple" in page.run("document.getElementById('board-title').textContent")
    assert column(page, "forget/acc1") != whole
    records = page.run("[...document.querySelectorAll('#record-list summary')].map(s => s.textContent)")
    assert records and all("apple" in text for text in records)
    assert page.run("document.getElementById('tuned-label').hidden"), "there is one board of these"
    show(page, "oracle")
    assert page.run("document.querySelectorAll('#deep svg').length") == 2
    assert page.run("document.querySelectorAll('#relearn svg').length") == 1
    assert page.run("document.querySelectorAll('#prediction-list img').length") >= 6
    assert quiet(page)


def test_it_switches_between_found_and_declared_settings(chromium: Browser, tmp_path: Path) -> None:
    for record in RecordStore(REFERENCE).all("quick"):
        if record.cell["method"] in ("original", "logit_mask", "ccup", "cliperase"):
            cell = {name: value for name, value in record.cell.items() if name != "tuned"}
            half = replace(record.metrics["retain/acc1"], value=0.5) if "retain/acc1" in record.metrics else None
            metrics = {**record.metrics, **({} if half is None else {"retain/acc1": half})}
            RecordStore(tmp_path / "runs").write(replace(record, cell=cell, key=key_of(cell), metrics=metrics))
    answer = command("report", "--results", tmp_path / "runs", "--out", tmp_path / "page.html")
    assert answer.status == 0, answer.err
    opened(chromium, tmp_path / "page.html")
    for select, value in (("model", "shapes-small"), ("suite", "quick"), ("kind", "class")):
        choose(chromium, select, value)
    assert not chromium.run("document.getElementById('tuned-label').hidden")
    choose(chromium, "tuned", "defaults")
    assert "tuned" not in chromium.run("document.getElementById('board-title').textContent")
    declared = column(chromium, "retain/acc1")
    assert {text.split()[0] for text in declared} == {"50.0"}
    choose(chromium, "tuned", chromium.run("document.getElementById('tuned').options[1].value"))
    assert "tuned: 16 trials" in chromium.run("document.getElementById('board-title').textContent")
    assert column(chromium, "retain/acc1") != declared


def test_a_record_shows_its_command_and_an_empty_cell_its_reason(page: Browser) -> None:
    show(page, "oracle")
    page.run("(d => { d.open = true; })(document.querySelector('#record-list details'))")
    page.run("new Promise(done => setTimeout(done, 50))")
    assert "python -m benchmark run" in page.run("document.querySelector('#record-list pre').textContent")
    why = "document.querySelector('#board .why')"
    assert page.run(f"{why}.title") == "not counted in these records"
    page.run(f"{why}.click()")
    assert page.run("document.getElementById('said').textContent") == "not counted in these records"


def test_the_numbers_are_copied_as_csv_and_latex(page: Browser) -> None:
    show(page, "reference")
    page.run(
        "Object.defineProperty(navigator, 'clipboard', {configurable: true,"
        " value: {writeText: text => { window.copied = text; }}})"
    )
    page.run("document.getElementById('copy-latex').click()")
    assert page.run("window.copied").count("\\\\\n") == len(page.run(NAMES)) + 1
    page.run("document.getElementById('copy-csv').click()")
    shown = command("leaderboard", "--reference", "--suite", "reference", "--format", "csv").out
    texts = page.run("window.copied"), shown
    own, printed = (next(row for row in csv.DictReader(text.splitlines()) if row["method"] == "ccup") for text in texts)
    for name in (
        "score/kravets",
        "score/kravets_low",
        "forget/acc1",
        "other/acc1_high",
        "score/quality",
        "cpu_seconds",
    ):
        assert own[name] and float(own[name]) == float(printed[name]), name
    page.run("Object.defineProperty(navigator, 'clipboard', {configurable: true, value: undefined})")
    page.run("document.getElementById('copy-csv').click()")
    assert page.run("document.getElementById('copybox').open"), "without a clipboard the text is there to be copied"
    page.run("document.getElementById('copyclose').click()")
    assert quiet(page)


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window(page: Browser, width: int) -> None:
    page.size(width, 844)
    page.run("new Promise(done => setTimeout(done, 400))")
    for suite in ("quick", "oracle"):
        show(page, suite)
        assert page.run("document.documentElement.scrollWidth") <= width


def test_labels_of_a_plot_do_not_overlap(page: Browser) -> None:
    overlapping = page.run(
        """(() => {
        const boxes = [...document.querySelectorAll('#pareto .labels text')].map(t => t.getBoundingClientRect());
        const across = (a, b) => a.left < b.right - 1 && b.left < a.right - 1;
        const hit = (a, b) => across(a, b) && a.top < b.bottom - 3 && b.top < a.bottom - 3;
        return [boxes.length, boxes.flatMap((a, i) => boxes.slice(i + 1).filter(b => hit(a, b))).length]; })()"""
    )
    assert overlapping[0] > 10 and overlapping[1] == 0


def test_the_theme_follows_the_system_and_the_button(page: Browser) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    dark = page.run(ground)
    page.run("document.getElementById('theme').click()")
    light = page.run(ground)
    assert (light, page.run("document.documentElement.dataset.theme")) == ("rgb(255, 255, 255)", "light")
    page.run("document.getElementById('theme').click()")
    assert page.run(ground) == dark != light
    page.call("Emulation.setEmulatedMedia", media="print", features=[])
    assert page.run(ground) == light and page.run("getComputedStyle(document.querySelector('nav')).display") == "none"
    page.call("Emulation.setEmulatedMedia", media="", features=[])
    page.run("document.getElementById('theme').click()")


def axe_script() -> str:
    named = os.environ.get(AXE)
    root = Path(__file__).resolve().parents[2]
    for path in (Path(named) if named else None, root / "node_modules" / "axe-core" / "axe.min.js"):
        if path is not None and path.is_file():
            return path.read_text(encoding="utf-8")
    pytest.skip(f"no axe-core: npm install axe-core, or name its axe.min.js in {AXE}")


@pytest.mark.parametrize(("theme", "suite", "width"), [("light", "quick", 1280), ("dark", "oracle", 390)])
def test_axe_finds_no_violation(page: Browser, theme: str, suite: str, width: int) -> None:
    script = axe_script()
    page.size(width, 900)
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
    show(page, suite)
    page.run("for (const d of document.querySelectorAll('.numbers, #published details, #method-ccup')) d.open = true")
    page.run("(d => { d.open = true })(document.querySelector('#record-list details'))")
    page.run(script)
    found = {}
    for part in ("boards", "methods", "published", "records", "measures"):
        page.run(f"location.hash = {part!r}")
        page.run("new Promise(done => setTimeout(done, 50))")
        found[part] = page.run(
            "axe.run(document, {resultTypes: ['violations']})"
            ".then(r => r.violations.map(v => [v.id, v.impact, v.nodes.length, v.nodes[0].html.slice(0, 200)]))"
        )
    page.call("Emulation.setEmulatedMedia", media="", features=[])
    assert not any(found.values()), found


def test_hostile_names_stay_text_and_an_empty_page_works(chromium: Browser, tmp_path: Path) -> None:
    from benchmark.records.record import SCHEMA, Metric, Record, key_of
    from benchmark.records.store import RecordStore

    cell = {"suite": "own", "method": EVIL, "dataset": EVIL, "model": EVIL, "seed": 0, "hparams": {EVIL: EVIL}}
    cell |= {"request": {"classes": [EVIL]}}
    RecordStore(tmp_path / "runs").write(
        Record(
            schema=SCHEMA,
            key=key_of(cell),
            cell=cell,
            metrics={"score/kravets": Metric(0.1), "forget/acc1": Metric(0.2), "retain/acc1": Metric(None)},
            references={"original": EVIL},
            cost={"unlearn_seconds": 1.0},
            provenance={"device": EVIL, "precision": EVIL, "regime": EVIL, "command": EVIL},
            report={"loss_by_step": [2.0, 1.0]},
        )
    )
    for folder in ("runs", "none"):
        assert command("report", "--results", tmp_path / folder, "--own").status == 0
        chromium.console.clear()
        chromium.requests.clear()
        opened(chromium, tmp_path / folder / "report.html")
        chromium.run("for (const d of document.querySelectorAll('details')) d.open = true")
        chromium.run("new Promise(done => setTimeout(done, 100))")
        assert chromium.run("window.hurt === undefined && !document.querySelector('img[src=x]')")
        assert quiet(chromium)
        assert (EVIL in chromium.run("document.body.innerText")) == (folder == "runs")
