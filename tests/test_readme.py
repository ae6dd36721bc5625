"""The README: its method pasted into an empty folder and run, its commands parsed, its table those of the records."""

from __future__ import annotations

import json
import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pages import ROOT, code_blocks, command_lines, parse
from world import World, command, one_request

from benchmark.__main__ import main
from benchmark.cli.parser import COMMANDS
from benchmark.execution.contract import check_method
from benchmark.suites.suite_file import suite_names
from docs.generation.boards import HEADLINE_SUITE, ROWS, headline_table
from docs.generation.picture import picture
from docs.generation.readme import PICTURE, README, readme_text
from methods.common.registry import Registry

pytest_plugins = ("world",)


@pytest.fixture
def readme_method(tmp_path: Path) -> Path:
    (block,) = [block for block in code_blocks(README, "python") if "MethodCard" in block]
    file = tmp_path / "my_method.py"
    file.write_text(block, encoding="utf-8")
    return file


def test_the_readme_method_keeps_the_contract(readme_method: Path, cache_dir: Path) -> None:
    findings = list(check_method(readme_method, ["shapes-resnet"], cache_dir))
    assert findings and all(finding.holds for finding in findings), [f for f in findings if not f.holds]


def test_the_readme_method_is_listed(readme_method: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "my_method" in Registry([readme_method]).names()
    assert main(["list", "methods", "--plugin", str(readme_method)]) == 0
    assert "my_method" in capsys.readouterr().out


def test_the_readme_method_pasted_into_an_empty_folder_is_on_the_leaderboard(
    readme_method: Path, world: World, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page's own command, in a folder that holds nothing but the page's own file; the suite is a tiny one."""
    folder = tmp_path_factory.mktemp("empty")
    readme_method.rename(folder / readme_method.name)
    monkeypatch.chdir(folder)
    text = README.read_text(encoding="utf-8")
    (line,) = re.findall(r"^python -m benchmark (run --plugin my_method\.py[^#\n]*)", text, re.MULTILINE)
    where = ("--suite", world.suite, "--cache-dir", world.cache, "--device", "cpu")
    assert command(*shlex.split(line), *where).status == 0
    assert {path.name for path in folder.iterdir()} >= {"my_method.py", "results"}
    boards = json.loads(command("leaderboard", "--format", "json").out)
    rows = {row["method"]: row for board in boards for row in board["rows"] if board["key"]["kind"] == "class"}
    assert set(rows) == {"my_method", "original"} and rows["my_method"]["rank"] == 1
    assert rows["my_method"]["edited_bytes"] > 0 == rows["original"]["edited_bytes"]
    assert "my_method" in command("leaderboard").out


def test_the_readme_s_lines_of_python_run(
    world: World, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Line by line, in an empty folder; the suite is a tiny one, and the checkpoint is what the third line made."""
    monkeypatch.setenv("CLIP_UNLEARNING_CACHE", str(world.cache))
    monkeypatch.chdir(tmp_path_factory.mktemp("python"))
    (block,) = [block for block in code_blocks(README, "python") if "import benchmark as cub" in block]
    lines = [line for line in block.splitlines() if line.strip()]
    assert len(lines) <= 10
    names: dict[str, Any] = {}
    values = []
    for line in lines:
        if "cub.audit(" in line:
            names["checkpoint"] = names["cub"].export(names["result"], "unlearned")
        line = line.replace('suite="quick"', f"suite={str(one_request(world))!r}").partition("  #")[0]
        expression = not re.match(r"import |\w+ = ", line)
        values.append(eval(line, names) if expression else exec(line, names))
    measured, audited, done, frame = values[-4:]
    forget = measured.set_index("metric").loc["forget/acc1", "value"]
    assert forget == audited.metrics["forget/acc1"].value < 0.5
    assert done.failures == () and {record.cell["method"] for record in done.records} == {"original", "ccup"}
    assert {"original", "ccup"} == set(frame["method"])


def test_every_command_of_the_readme_parses_and_every_suite_exists() -> None:
    lines = list(command_lines(README.read_text(encoding="utf-8")))
    assert (
        {"run", "leaderboard", "check", "unlearn", "audit", "export", "verify"}
        <= {line[0] for line in lines}
        <= set(COMMANDS)
    )
    for line in lines:
        parse(line)
    suites = {line[line.index("--suite") + 1] for line in lines if "--suite" in line}
    assert {name for name in suites if not name.endswith(".yaml")} <= set(suite_names())


def test_the_readme_is_short_and_its_table_is_that_of_the_records() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 200
    assert readme_text() == text, "run: python -m docs.generation.readme"
    rows = [line for line in headline_table().splitlines() if line.startswith("| `")]
    assert len(rows) == ROWS and all(row in text for row in rows)


def test_the_picture_is_that_of_the_records() -> None:
    assert PICTURE.read_text(encoding="utf-8") == picture(), "run: python -m docs.generation.readme"
    assert f"]({PICTURE.relative_to(ROOT)})" in README.read_text(encoding="utf-8")
    rows = [line.split("|")[1].strip(" `") for line in headline_table().splitlines() if line.startswith("| `")]
    words = {"original": "nothing unlearned", "logit_mask": "output filter", "retrain": "trained without it"}
    assert all(f">{words.get(name, name)}<" in picture() for name in rows)


@cache
def headline() -> dict[str, dict[str, Any]]:
    """The rows of the README's board as the command gives them, by method."""
    boards = json.loads(command("leaderboard", "--reference", "--suite", HEADLINE_SUITE, "--format", "json").out)
    (board,) = [board for board in boards if board["key"]["kind"] == "class, retrained joint"]
    return {row["method"]: row for row in board["rows"]}


def test_the_numbers_of_the_table_are_those_of_the_leaderboard() -> None:
    rows = headline()
    for line in (line for line in headline_table().splitlines() if line.startswith("| `")):
        name, _, score, left, lost, published, forget, *_ = (cell.strip(" `") for cell in line.strip("|").split("|"))
        assert score == f"{rows[name]['score/quality']:.3f}" and published == f"{rows[name]['score/kravets']:.3f}"
        assert (left, lost) == tuple(f"{100 * rows[name][f'score/{part}']:.0f}" for part in ("residual", "damage"))
        assert forget == f"{100 * rows[name]['forget/acc1']:.0f}"


def test_the_sentences_of_the_readme_hold_on_the_leaderboard() -> None:
    """Counted here from the command's own output, not by the rules that made them."""
    text, rows = README.read_text(encoding="utf-8"), headline()
    ranked = [row for row in rows.values() if row["rank"]]
    for regime in ("names", "forget", "forget+retain"):
        best = max((row for row in ranked if row["regime"] == regime), key=lambda row: float(row["score/quality"]))
        assert f", `{best['method']}` Q {best['score/quality']:.3f} (E {100 * best['score/residual']:.0f} %" in text
    gone = [row for row in ranked if row["forget/acc1"] <= 0.1]
    back = [row for row in gone if row["forget/relearn_acc1@0"] >= 0.5]
    assert f"{len(back)} of {len(gone)} methods that leave at most 10 % of a class by name hide it" in text
    apart = sum(row["rank_best"] - 1 for row in ranked)
    assert f" tell {apart} of {len(ranked) * (len(ranked) - 1) // 2} pairs of methods apart" in text
    golden = rows["retrain"]["score/quality"]
    assert f"score `retrain` Q {golden:.3f}" in text and golden > max(row["score/quality"] for row in ranked)


def test_the_committed_boards_are_those_of_the_committed_records(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leaderboard", "--reference", "--format", "markdown"]) == 0
    shown = capsys.readouterr().out
    assert shown == (ROOT / "results" / "reference" / "LEADERBOARD.md").read_text(encoding="utf-8")
