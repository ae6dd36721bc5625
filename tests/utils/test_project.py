"""One version in one place, and the commit that a record names."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from world import command

import benchmark
from benchmark.records.provenance import package_versions
from benchmark.utils.project import DISTRIBUTION, VERSION, checkout, git_commit, program, project_results

ROOT = Path(__file__).resolve().parents[2]


def test_the_version_is_written_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["name"] == DISTRIBUTION
    assert (
        "version" not in project["project"] and project["tool"]["hatch"]["version"]["path"] == "benchmark/__init__.py"
    )
    assert (ROOT / "benchmark" / "__init__.py").read_text(encoding="utf-8").count(f'__version__ = "{VERSION}"') == 1
    assert VERSION == benchmark.__version__ == package_versions()[DISTRIBUTION]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(citation["version"]) == VERSION
    assert f"{DISTRIBUTION} {VERSION}" in _version_of(ROOT)


def _version_of(cwd: Path) -> str:
    done = subprocess.run([sys.executable, "-m", "benchmark", "--version"], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_help_names_the_command_that_was_called(monkeypatch: pytest.MonkeyPatch) -> None:
    for called, name in (
        (f"/usr/bin/{DISTRIBUTION}", DISTRIBUTION),
        ("/x/benchmark/__main__.py", "python -m benchmark"),
    ):
        monkeypatch.setattr(sys, "argv", [called])
        assert program() == name
        shown = command("--help").out
        assert f"usage: {name} " in shown and f"  {name} run --all" in shown


LIGHT = (["--help"], ["list", "methods"], ["leaderboard", "--reference"], ["tables", "lip"])
HEAVY = ("torch", "torchvision", "lightning", "torchmetrics", "open_clip", "timm", "wandb", "ray", "diffusers")


def test_commands_that_only_read_import_nothing_heavy() -> None:
    code = f"""
import contextlib, io, sys
from benchmark.__main__ import main
for words in {LIGHT}:
    with contextlib.redirect_stdout(io.StringIO()) as shown, contextlib.suppress(SystemExit):
        main(words)
    print(words[0], len(shown.getvalue()) > 500, [name for name in {HEAVY} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{words[0]} True []" for words in LIGHT]


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=n", "-c", "user.email=e@example.org")
    done = subprocess.run(["git", "-C", str(folder), *identity, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_commit_is_that_of_the_checkout_alone(tmp_path: Path) -> None:
    root = tmp_path / "project"
    package = root / "benchmark"
    package.mkdir(parents=True)
    (package / "code.py").write_text("1", encoding="utf-8")
    (root / "notes.md").write_text("1", encoding="utf-8")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "one")
    commit = git(root, "rev-parse", "HEAD")
    assert (checkout(package), project_results(package)) == (root, root / "results")

    def now() -> str | None:
        git_commit.cache_clear()
        return git_commit(package)

    assert now() == commit
    (root / "notes.md").write_text("2", encoding="utf-8")
    assert now() == commit, "what is no code does not change the numbers"
    (package / "code.py").write_text("2", encoding="utf-8")
    assert now() == f"{commit}+changes"

    # The same files as a part of another repository: its commits say nothing of this code.
    shutil.rmtree(root / ".git")
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "foreign")
    assert now() is None
    # Installed into the root of another repository.
    (tmp_path / "benchmark" / "_results").mkdir(parents=True)
    git_commit.cache_clear()
    installed = tmp_path / "benchmark"
    assert checkout(installed) is None and git_commit(installed) is None
    assert project_results(installed) == installed / "_results"


def test_the_commit_of_a_package_that_pip_installed_from_a_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As pip leaves it: a dist-info folder beside the package, with the place that it came from."""
    package, about = tmp_path / "benchmark", tmp_path / f"clip_unlearning_benchmark-{VERSION}.dist-info"
    (package / "_results").mkdir(parents=True)
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {DISTRIBUTION}\nVersion: {VERSION}\n")
    (about / "direct_url.json").write_text('{"url": "x", "vcs_info": {"vcs": "git", "commit_id": "abc123"}}')
    monkeypatch.syspath_prepend(tmp_path)
    git_commit.cache_clear()
    assert git_commit(package) == "abc123"
    elsewhere = tmp_path / "other" / "benchmark"
    (elsewhere / "_results").mkdir(parents=True)
    assert git_commit(elsewhere) is None, "another installation than the one that pip tells of"
    (about / "direct_url.json").write_text("{")
    git_commit.cache_clear()
    assert git_commit(package) is None
