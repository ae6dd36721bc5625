"""The project itself: whether it runs from a checkout or from an installed package, its version, commit and results.

In a checkout `results/` lies beside the packages. A wheel holds the same files as `benchmark/_results/`, because a
folder `results` at the top of site-packages would belong to nobody; see `[tool.hatch.build]` in pyproject.toml.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from benchmark import __version__

DISTRIBUTION = "clip-unlearning-benchmark"
"""The name under which the project is installed; also that of its command."""
VERSION: str = __version__
"""The version, written in `benchmark/__init__.py` and nowhere else."""

_PACKAGE = Path(__file__).resolve().parents[1]
PACKAGES_ROOT = _PACKAGE.parent
"""The folder that holds the packages `benchmark`, `methods` and `datamodules`: the checkout, or site-packages."""
_CODE = ("benchmark", "methods", "datamodules", ":(exclude)benchmark/suites/tuned/tuned.*")
"""What of a checkout can change a number. Tuned values are in each record's hyperparameters, so a search that writes
some does not change the code."""


def checkout(package: Path = _PACKAGE) -> Path | None:
    """The root folder of the project's repository; None where the project is installed as a package.

    Args:
        package: The folder of the package `benchmark`.
    """
    return None if (package / "_results").is_dir() else package.parent


def project_results(package: Path = _PACKAGE) -> Path:
    """The folder of the results that come with the project: `published.yaml` and `reference/`.

    Args:
        package: The folder of the package `benchmark`.
    """
    root = checkout(package)
    return package / "_results" if root is None else root / "results"


def program() -> str:
    """The command line as it was called: `python -m benchmark`, or the name of the installed command."""
    return DISTRIBUTION if Path(sys.argv[0]).stem == DISTRIBUTION else "python -m benchmark"


@cache
def git_commit(package: Path = _PACKAGE) -> str | None:
    """The project's commit, never that of a repository into which the project was installed or copied.

    Args:
        package: The folder of the package `benchmark`.

    Returns:
        In a checkout, the commit, with "+changes" if files of the code differ from it. Of a package that pip installed
        from a repository, the commit that pip noted. None where neither is known: the version and the digests of the
        code then say what ran.
    """
    root = checkout(package)
    if root is None:
        return _installed_commit(package)
    try:
        if Path(_git(root, "rev-parse", "--show-toplevel")).resolve() != root.resolve():
            return None
        commit = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--", *_CODE)
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+changes" if changed else "")


def _installed_commit(package: Path) -> str | None:
    """The commit in `direct_url.json`, which pip writes for `pip install git+https://...` (PEP 610)."""
    try:
        installed = distribution(DISTRIBUTION)
        if Path(str(installed.locate_file(package.name))).resolve() != package:
            return None  # another installation of the project than the one that runs
        origin = json.loads(installed.read_text("direct_url.json") or "{}")
        return str(origin["vcs_info"]["commit_id"])
    except (PackageNotFoundError, OSError, ValueError, KeyError, TypeError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()
