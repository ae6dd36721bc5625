"""What a wheel holds, and that an installed one does what a checkout does.

The first tests build a wheel of this checkout and look into it. The last installs it into a new environment and walks a
newcomer's way from a folder that holds files named like our packages; it takes a minute, so it waits for TESTS_WHEEL=1.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import site
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark.utils.project import VERSION

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("benchmark", "datamodules", "methods")
COMMAND = "clip-unlearning-benchmark"


def call(*words: object, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program as a user would: without the paths that the tests themselves need."""
    ours = {"PYTHONPATH", "PYTHONSAFEPATH"}
    inherited = {name: value for name, value in os.environ.items() if name not in ours}
    return subprocess.run(
        [str(word) for word in words], cwd=cwd, env={**inherited, **environment}, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this checkout; in the long test by way of the source archive, as `python -m build` makes one."""
    folder = tmp_path_factory.mktemp("wheel")
    if os.environ.get("TESTS_WHEEL"):
        done = call(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    else:
        done = call(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


def committed(*folders: str) -> set[str]:
    """The files of some folders that git keeps and that are there."""
    listed = call("git", "-C", ROOT, "ls-files", "--", *folders)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return {name for name in listed.stdout.splitlines() if (ROOT / name).is_file()}


def test_a_wheel_holds_every_file_of_the_packages_and_the_results(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if not name.endswith("/")}
    expected = committed(*PACKAGES)
    expected |= {f"benchmark/_{name}" for name in committed("results/reference", "results/published.yaml")}
    assert {Path(name).suffix for name in expected} >= {".py", ".typed", ".yaml", ".safetensors", ".jinja", ".gz"}
    assert expected <= held
    assert {name.split("/")[0] for name in held} == {*PACKAGES, f"clip_unlearning_benchmark-{VERSION}.dist-info"}
    assert not [name for name in held if "__pycache__" in name or name.startswith("benchmark/_results/runs")]


def test_an_installed_package_below_a_foreign_repository_names_no_commit_of_it(wheel: Path, tmp_path: Path) -> None:
    """The package lies in the root of the user's own repository, next to its pyproject.toml and its results."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'mine'\n", encoding="utf-8")
    (tmp_path / "results").mkdir()
    identity = ("-c", "user.name=n", "-c", "user.email=e@example.org")
    assert call("git", "init", "-q", tmp_path).returncode == 0
    assert call("git", "-C", tmp_path, *identity, "commit", "-q", "--allow-empty", "-m", "mine").returncode == 0
    code = (
        "import json; from benchmark.utils.project import VERSION, checkout, git_commit, project_results\n"
        "from benchmark.records.store import REFERENCE, RecordStore\n"
        "from benchmark.leaderboards.papers.published import published\n"
        "print(json.dumps([VERSION, str(checkout()), str(git_commit()), str(project_results()),"
        " len(RecordStore(REFERENCE, older=True).all()), sorted(published('lip'))]))"
    )
    done = call(sys.executable, "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    version, root, commit, results, records, sections = json.loads(done.stdout)
    assert (version, root, commit) == (VERSION, "None", "None")
    assert Path(results).resolve() == (tmp_path / "benchmark" / "_results").resolve()
    assert records > 100 and "source" in sections


@pytest.fixture
def installed(wheel: Path, tmp_path: Path) -> Iterator[Path]:
    """The installed command, in a new environment that sees the packages of this one, but not the project."""
    folder = tmp_path / "environment"
    venv.create(folder, with_pip=False)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    own = Path(call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip())
    # Plain folders on the path: a .pth file of an editable installation there is not read.
    (own / "heavy.pth").write_text("\n".join(site.getsitepackages()), encoding="utf-8")
    # Nothing here asks for Weights & Biases, so that a broken one does not matter.
    (own / "wandb").mkdir()
    (own / "wandb" / "__init__.py").write_text("raise TypeError('descriptors cannot be created')", encoding="utf-8")
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    done = call(*pip)
    assert done.returncode == 0, done.stderr
    yield python.with_name(COMMAND)
    shutil.rmtree(folder)


def cells_of(plan: str) -> dict[tuple[str, str], str]:
    """By method and forgotten class, the key of each cell of a plan as it is shown."""
    rows = [re.split(r" {2,}", line.strip()) for line in plan.splitlines() if "   missing   " in line]
    return {(row[2], row[3]): row[0] for row in rows}


@pytest.mark.skipif("TESTS_WHEEL" not in os.environ, reason="a minute: TESTS_WHEEL=1 runs it, as .ci/run does")
def test_a_newcomers_way_from_a_folder_with_files_named_like_ours(installed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    (folder / "methods").mkdir(parents=True)
    read = folder / "read.txt"
    for name in ("benchmark.py", "datamodules.py", "methods/__init__.py", "methods/nullspace.py"):
        text = f"open({str(read)!r}, 'a').write({name!r})\nraise RuntimeError({name!r})\n"
        (folder / name).write_text(text, encoding="utf-8")

    def run(*words: str) -> str:
        done = call(installed, *words, cwd=folder, CLIP_UNLEARNING_CACHE=str(tmp_path / "cache"), COLUMNS="200")
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    assert run("--version") == f"{COMMAND} {VERSION}\n", "no commit: that of this folder or of a checkout is not its"
    assert f"{COMMAND} run --all" in run("--help")
    assert "nullspace" in run("list", "methods")
    assert "quick · shapes-small" in run("leaderboard", "--reference")
    assert "published / measured" in run("tables", "lip")
    plan = ("plan", "--suite", "quick", "--methods", "original,nullspace", "--seeds", "0")
    cells = cells_of(run(*plan))
    assert len(cells) == 6 and ("nullspace", "star") in cells
    here = call(sys.executable, "-m", "benchmark", *plan, "--results", folder, cwd=ROOT, COLUMNS="200")
    assert cells_of(here.stdout) == cells, f"a checkout gives other keys: {here.stdout}{here.stderr}"

    key = cells["nullspace", "star"]
    ran = run("run", "--suite", "quick", "--methods", "original,nullspace", "--seeds", "0", "--keys", key)
    assert "0 failed" in ran and "nullspace" in ran
    (file,) = (folder / "results" / "runs" / "quick").glob(f"{key}*.json")
    provenance = json.loads(file.read_text(encoding="utf-8"))["provenance"]
    assert provenance["git"] is None and provenance["packages"][COMMAND] == VERSION
    assert "equal: all" in run("verify", key)
    assert "open_clip reads it back" in run("export", key, "my-clip")
    assert (folder / "my-clip" / "README.md").is_file()
    assert "records on" in run("report") and (folder / "results" / "runs" / "report.html").is_file()
    assert "quick.jsonl.gz: " in run("pack", "quick", "--out", ".")
    assert not read.exists(), f"imported from the user's folder: {read.read_text(encoding='utf-8')}"
