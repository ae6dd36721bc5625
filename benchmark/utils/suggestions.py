"""What was probably meant: the nearest known names, as the end of an error line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

from datamodules.common.errors import nearest

SHOWN, TELLING = 12, 6
"""Digits of a key that are enough to name it, and how many must be given to look for a slip among them; our choice."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`: did you mean 'x' or 'y'?`, or nothing where nothing is near."""
    near = nearest(name, known)
    return f": did you mean {' or '.join(map(repr, near))}?" if near else ""


def near_keys(prefix: str, keys: Iterable[str]) -> str:
    """The same for the beginning of a key: keys are compared as far as it goes."""
    beginning = prefix.lower()
    if len(beginning) < TELLING:
        return ""
    beginnings = {key[: len(beginning)]: key[:SHOWN] for key in keys}
    close = difflib.get_close_matches(beginning, beginnings, n=3, cutoff=0.75)
    return f": did you mean {' or '.join(beginnings[match] for match in close)}?" if close else ""


def near_file(path: Path) -> str:
    """The same for a file that does not exist: files of its folder with its ending."""
    folder = path.parent if path.parent.is_dir() else Path()
    return did_you_mean(path.name, (file.name for file in sorted(folder.glob(f"*{path.suffix}"))))
