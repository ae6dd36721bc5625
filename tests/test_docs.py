"""The pages of docs/: their links, commands, generated blocks and code, and the site that is built of them."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from examined import context_of
from pages import DOCS, ROOT, code_blocks, command_lines, headings, links, pages, parse
from tiny import APPLE, tiny_clip
from world import World, command, one_request

from benchmark.cli.parser import COMMANDS
from benchmark.evaluation.catalogue import MEASURES, Measure, find
from benchmark.evaluation.families import DERIVED, FAMILIES, Family
from benchmark.suites.suite_file import parse_suite, suite_names
from docs.generation.blocks import MARKER, fill
from docs.generation.boards import suites_with_records
from docs.generation.commands import command_parser
from docs.generation.formulas import put_back, set_aside
from docs.generation.hook import ROOT_PAGES

pytest_plugins = ("world",)
ADDING = DOCS / "adding"


@cache
def filled(page: Path) -> str:
    """A page with its generated blocks."""
    return fill(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_between_pages_and_files_resolves(page: Path) -> None:
    for link in links(filled(page)):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if target.name in ROOT_PAGES.values():  # on the site these lie in the folder of the pages
            assert target.parent == DOCS, link
            target = next(ROOT / name for name, there in ROOT_PAGES.items() if there == target.name)
        assert target.exists(), link
        if anchor:
            assert anchor in headings(filled(target)), link


def test_the_navigation_has_every_page_once() -> None:
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))

    def leaves(item: Any) -> Iterator[str]:
        if isinstance(item, str):
            yield item
        for inner in item.values() if isinstance(item, dict) else item if isinstance(item, list) else ():
            yield from leaves(inner)

    named = list(leaves(settings["nav"]))
    there = [str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")]
    assert sorted(named) == sorted([*there, "contributing.md", "changelog.md"])


def test_every_command_on_every_page_parses() -> None:
    lines = [line for page in pages() for line in command_lines(filled(page))]
    assert {line[0] for line in lines} == set(COMMANDS)
    for line in sorted(map(list, set(map(tuple, lines)))):
        parse(line)
    suites = {line[line.index("--suite") + 1] for line in lines if "--suite" in line}
    assert {name for name in suites if not name.endswith(".yaml")} <= set(suite_names())


def test_every_extra_that_a_page_installs_exists() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = {name for page in pages() for name in re.findall(r"'\.\[(\w+)\]'", page.read_text(encoding="utf-8"))}
    assert {"dev", "docs", "ray"} <= named <= set(declared)
    table = (DOCS / "quick-start.md").read_text(encoding="utf-8")
    assert [name for name in declared if f"\n| `{name}` | " not in table] == []


def test_the_page_of_commands_has_every_command_with_every_option() -> None:
    page = filled(DOCS / "command-line.md")
    for name in COMMANDS:
        section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        for action in command_parser(name)._actions:
            word = action.option_strings[-1] if action.option_strings else action.dest.upper()
            assert word == "--help" or f"`{word}" in section, (name, word)
            assert word == "--help" or " ".join((action.help or "").split()) in section, (name, word)
    assert "`--search-seed N` | `0`" in page


def test_every_measure_and_every_family_has_its_place_and_a_formula() -> None:
    text = (DOCS / "measures.md").read_text(encoding="utf-8")
    assert re.findall(r"^<!-- generated: family (\w+) -->$", text, re.MULTILINE) == list(FAMILIES)
    for name in FAMILIES:
        section = text.partition(f"\n### {name}\n")[2].partition("\n###")[0]
        assert "\n$$\n" in section and f"generated: family {name}" in section, name
    assert re.findall(r"^<!-- generated: derived (\w+) -->$", text, re.MULTILINE) == list(DERIVED)
    page = filled(DOCS / "measures.md")
    assert [measure.name for measure in MEASURES if page.count(f"| `{measure.name}` |") != 1] == []


def test_every_suite_with_reference_records_has_its_page() -> None:
    assert {path.stem for path in (DOCS / "leaderboards").glob("*.md")} == {"index", *suites_with_records()}
    for suite in suites_with_records():
        assert f"## {suite} · " in filled(DOCS / "leaderboards" / f"{suite}.md")


def test_no_marker_is_left_and_a_wrong_one_is_an_error() -> None:
    assert not any(MARKER.search(filled(page)) for page in pages())
    with pytest.raises(LookupError, match="no block is called 'nothing'"):
        fill("<!-- generated: nothing -->")
    with pytest.raises(LookupError, match="no measure 'acc7'"):
        fill("<!-- generated: measures acc7 -->")


def test_every_formula_becomes_mathml() -> None:
    seen = 0
    for page in pages():
        text, formulas = set_aside(filled(page))
        seen += len(formulas)
        assert all(formula.startswith("<math") and "\\" not in formula for formula in formulas), page
        assert "\n$$" not in text and put_back(text, formulas).count("<math") == len(formulas)
    assert seen > 30
    code = "```bash\necho $`date`$\n```\n"
    assert set_aside(code) == (code, [])


def test_the_drawing_of_the_architecture_names_every_package() -> None:
    drawing = (DOCS / "assets" / "architecture.svg").read_text(encoding="utf-8")
    packages = [path.parent.name for path in (ROOT / "benchmark").glob("*/__init__.py")]
    assert len(packages) > 10 and [name for name in packages if f">{name}<" not in drawing] == []


def test_the_paths_of_this_project_on_the_pages_exist() -> None:
    """Paths in inline code, apart from the reader's own files and from the page that invents a measure."""
    roots = ("benchmark", "methods", "datamodules", "results/reference", "tests", "docs", "examples")
    wrong = []
    for page in pages():
        for path in re.findall(rf"`((?:{'|'.join(roots)})/[\w./-]+)`", page.read_text(encoding="utf-8")):
            invented = "confidence" in path or "NAME" in path or page.name == "CHANGELOG.md"
            if not invented and not (ROOT / path).exists():
                wrong.append((page.name, path))
    assert wrong == []


def test_the_tables_of_what_loads_are_made_from_tests() -> None:
    from docs.generation.loads import loads_table, rows

    kinds = {row.kind for row in rows()}
    assert kinds == {"model", "images", "captions", "name", "request"} and len(rows()) > 40
    assert len({row.test for row in rows()}) == len(rows())
    for page in ("models.md", "data.md"):
        named = re.findall(r"generated: loads (\w+)", (DOCS / page).read_text(encoding="utf-8"))
        kinds -= set(named)
        for kind in named:
            table = loads_table(kind)
            assert table.count("\n") + 1 == 2 + sum(row.kind == kind for row in rows())
    assert not kinds, "shown on no page"


# -- the code of "add your own" ---------------------------------------------------------------------------------------


def module_of(code: str, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A code block as a module of its own, for as long as the test runs: `inspect` looks for it by its name."""
    path = folder / f"{name}.py"
    path.write_text(code, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def test_the_method_without_steps_is_the_readme_s() -> None:
    first, *_ = code_blocks(ADDING / "method.md", "python")
    assert first in code_blocks(ROOT / "README.md", "python")


def test_the_method_with_steps_is_on_the_leaderboard(tmp_path: Path, world: World) -> None:
    _, second, _ = code_blocks(ADDING / "method.md", "python")
    (tmp_path / "my_steps.py").write_text(second, encoding="utf-8")
    suite = one_request(world)
    few = ("--set", "my_steps.max_steps=2,my_steps.batch_size=4", "--seeds", "0", "--suite", suite)
    answer = world.run("--plugin", tmp_path / "my_steps.py", "--methods", "my_steps", *few)
    assert answer.status == 0, answer.err
    records = {record.cell["method"]: record for record in world.records().values()}
    assert records["my_steps"].cost["edited_bytes"] > 0


def test_the_method_that_adds_modules_is_measured_kept_and_exported_without_its_code(
    tmp_path: Path, short_world: World
) -> None:
    *_, third = code_blocks(ADDING / "method.md", "python")
    # the tiny model is a ResNet: its attention pool is what has a module with tokens
    code = third.replace("visual.transformer.resblocks.*.mlp", "visual")
    (tmp_path / "my_adapter.py").write_text(code, encoding="utf-8")
    few = ("--set", "my_adapter.max_steps=4,my_adapter.batch_size=4,my_adapter.learning_rate=0.03", "--seeds", "0")
    plugin = ("--plugin", tmp_path / "my_adapter.py")
    answer = short_world.run(*plugin, "--methods", "my_adapter", *few, "--save-weights")
    assert answer.status == 0, answer.err
    (record,) = [r for r in short_world.records().values() if r.cell["method"] == "my_adapter"]
    assert record.cost["edited_bytes"] > 0
    where = ("--results", short_world.results, "--cache-dir", short_world.cache)
    answer = command("export", record.key, tmp_path / "model", *where, *plugin)
    assert answer.status == 0 and "taken: the weights kept beside the record (4 tensors" in answer.out, answer.err
    page = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert (tmp_path / "model" / "added_modules.py").is_file() and 'added_modules.load(".")' in page

    from benchmark.models.loading import load_clip

    clip = load_clip(f"local-dir:{tmp_path / 'model'}")
    added = {name for name in clip.model.state_dict() if "added_" in name}
    assert added == {f"visual.added_bottleneck_{part}" for part in ("down", "down_bias", "up", "up_bias")}
    again = short_world.with_results(tmp_path / "again")
    answer = again.run("--methods", "original", "--model", f"local-dir:{tmp_path / 'model'}")
    assert answer.status == 0, answer.err
    (measured,) = again.records().values()
    for name in ("forget/acc1", "retain/acc1"):
        assert measured.metrics[name].value == pytest.approx(record.metrics[name].value)


def test_the_data_set_reads_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = code_blocks(ADDING / "dataset.md", "python")
    module = module_of(code, "my_digits", tmp_path, monkeypatch)
    folder = tmp_path / "data" / "my_digits"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for part, count in (("train", 40), ("test", 20)):
        grey = random.integers(0, 256, (count, 8, 8), dtype=np.uint8)
        np.savez(folder / f"{part}.npz", images=grey, labels=np.arange(count) % 10)
    dataset = module.MyDigits(tmp_path / "data", tmp_path / "cache", 32)
    assert [len(dataset.split(name).images) for name in ("train", "val", "test")] == [36, 4, 20]
    assert dataset.split("test").images.read([3]).shape == (1, 3, 8, 8)
    assert dataset.split("val").labels.tolist() == [6, 7, 8, 9]
    before = dataset.revision
    np.savez(folder / "test.npz", images=np.zeros((20, 8, 8), np.uint8), labels=np.arange(20) % 10)
    assert len(before) == 16 and dataset.revision != before
    assert module.CARD.name == "my_digits" and len(dataset.class_names) == 10


def test_the_measure_gives_what_its_formula_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, *entries = code_blocks(ADDING / "measure.md", "python")
    module = module_of(code, "confidence", tmp_path, monkeypatch)
    context = context_of(tiny_clip("vit"), APPLE)
    metric = module.measure(context)["forget/confidence"]
    labels, weights = context.labels()[context.forget], context.classifier().double()
    shares = [
        float(torch.exp((row @ weights.T) / 0.01)[label] / torch.exp((row @ weights.T) / 0.01).sum())
        for row, label in zip(context.images()[context.forget].double(), labels, strict=True)
    ]
    assert metric.n == len(labels) > 0 and metric.value == pytest.approx(np.mean(shares), abs=1e-4)
    family = eval(entries[0], {"Family": Family})
    measure = eval(entries[1], {"Measure": Measure})
    assert family.name == measure.name == "confidence" and family.metrics == ("forget/confidence",)
    assert find("forget/confidence") is None  # an example only: it must not take the name of a real one


@pytest.mark.parametrize(("page", "count"), [("real-weights.md", 1), ("protocol.md", 1)])
def test_the_suite_files_on_the_pages_are_suites(page: str, count: int) -> None:
    blocks = code_blocks(DOCS / page, "yaml")
    assert len(blocks) == count
    for block in blocks:
        suite = parse_suite(block, Path("page.yaml"))
        assert suite.tasks and suite.models


# -- the site ---------------------------------------------------------------------------------------------------------


def test_the_site_is_built_without_a_warning_and_fetches_nothing(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="the site needs: pip install '.[docs]'")
    pytest.importorskip("mkdocstrings", reason="the site needs: pip install '.[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    built = sorted((tmp_path / "site").rglob("*.html"))
    assert len(built) > 25
    for page in built:
        html = page.read_text(encoding="utf-8")
        fetched = re.findall(r"<(?:script|img|iframe)[^>]* src=\"?(https?:[^\"\s>]*)", html)
        fetched += [tag for tag in re.findall(r"<link[^>]*>", html) if "http" in tag and "canonical" not in tag]
        assert fetched == [], page.name
        assert "<!-- generated:" not in html and "MATHFORMULA" not in html, page.name
