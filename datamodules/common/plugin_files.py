"""Where a file from outside the project finds the modules that it imports: beside itself, then among the installed."""

from __future__ import annotations

import importlib.util
import site
import sys
from functools import cache
from pathlib import Path

from datamodules.common.meaning import PACKAGES


def neighbour(importer: Path, name: str) -> Path | None:
    """The module or package of a name beside a file from outside the project, without `.py` for a package.

    Names of the standard library and of this project are never looked for there: a file `random.py` beside a plugin
    does not take the place of Python's. Beside an installed module lies nothing of its own but the rest of its package.

    Args:
        importer: The file that imports.
        name: The first part of what it imports.
    """
    if name in sys.stdlib_module_names or name in PACKAGES:
        return None
    top = top_folder(importer)
    if _installed(top):
        if importer.relative_to(top).parts[0].removesuffix(".py") != name:
            return None
        folders = [top]
    else:
        folders = list(dict.fromkeys([importer.parent, top]))
    for folder in folders:
        if (folder / f"{name}.py").is_file():
            return folder / f"{name}.py"
        if (folder / name / "__init__.py").is_file():
            return folder / name
        if any((folder / name).glob("*.py")) and not _importable(name):
            return folder / name
    return None


def top_folder(file: Path) -> Path:
    """The folder of a file, or the one that holds the outermost package in which it lies."""
    folder = file.parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return folder


@cache
def _installed(folder: Path) -> bool:
    places = map(Path, (*site.getsitepackages(), site.getusersitepackages()))
    return any(place.is_dir() and folder.samefile(place) for place in places)


@cache
def _importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
