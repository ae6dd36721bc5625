"""The README's method, taken from the page as it stands, pasted into an empty folder and run."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from world import World, command

from benchmark.__main__ import main
from benchmark.execution.contract import check_method
from methods.common.registry import Registry

pytest_plugins = ("world",)
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def readme_method(tmp_path: Path) -> Path:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    file = tmp_path / "my_method.py"
    file.write_text(blocks[0], encoding="utf-8")
    return file


def test_the_readme_method_keeps_the_contract(readme_method: Path, cache_dir: Path) -> None:
    findings = list(check_method(readme_method, ["shapes-resnet"], cache_dir))
    assert findings and all(finding.kept for finding in findings), [f for f in findings if not f.kept]


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
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^python -m benchmark (run --plugin my_method\.py[^#\n]*)", text, re.MULTILINE)
    where = ("--suite", world.suite, "--cache-dir", world.cache, "--device", "cpu")
    assert command(*shlex.split(line), *where).status == 0
    assert {path.name for path in folder.iterdir()} >= {"my_method.py", "results"}
    boards = json.loads(command("leaderboard", "--format", "json").out)
    found = {row["method"]: row for board in boards for row in board["rows"] if board["key"]["kind"] == "class"}
    assert set(found) == {"my_method", "original"} and found["my_method"]["rank"] == 1
    assert found["my_method"]["costs"]["edited_bytes"] > 0 == found["original"]["costs"]["edited_bytes"]
    assert "my_method" in command("leaderboard").out


def test_the_readme_names_only_commands_and_suites_that_exist() -> None:
    from benchmark.cli.parser import COMMANDS
    from benchmark.suites.parsing import suite_names

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = set(re.findall(r"python -m benchmark ([a-z]+)", text))
    assert commands and commands <= set(COMMANDS)
    suites = set(re.findall(r"--suite ([a-z0-9-]+)(?:\s|`|$)", text))
    assert suites and suites <= set(suite_names())


def test_the_committed_boards_are_those_of_the_committed_records(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leaderboard", "--reference", "--format", "markdown"]) == 0
    shown = capsys.readouterr().out
    assert shown == (ROOT / "results" / "reference" / "LEADERBOARD.md").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = [line for line in readme.splitlines() if re.match(r"\| (\d+|–) \|", line)]
    assert rows and all(row in shown for row in rows)
