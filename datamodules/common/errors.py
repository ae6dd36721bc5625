"""Errors that the user can mend: each is one clear line that says what to do next.

The command line prints the line and ends with status 2; no traceback, nothing lost.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class BenchmarkError(Exception):
    """Base of every error that a user can mend by changing the input."""


class UnknownNameError(BenchmarkError):
    """A method, suite, model, data set, class or concept that does not exist.

    The message names the nearest known names, or all of them when they are few.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], *, hint: str = "") -> None:
        names = list(known)
        near = nearest(name, names)
        if near:
            advice = f"did you mean {' or '.join(repr(n) for n in near)}?"
        elif 0 < len(names) <= 20:
            advice = f"known: {', '.join(names)}"
        else:
            advice = f"{len(names)} are known"
        super().__init__(f"unknown {kind} {name!r}: {advice}{' ' + hint if hint else ''}")


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Up to three known names that are like a name, the likest first; capitals and hyphens do not count."""
    plain = {known_name: known_name.lower().replace("-", "_") for known_name in known}
    plain_name = name.lower().replace("-", "_")
    close = difflib.get_close_matches(plain_name, dict.fromkeys(plain.values()), n=3, cutoff=0.5)
    return [next(known_name for known_name, form in plain.items() if form == close_form) for close_form in close]


class MissingFilesError(BenchmarkError):
    """Files that a run needs are not there; the message says where to get them and where to put them."""


class DatasetNotFoundError(MissingFilesError):
    """The files of a data set are not where they were looked for."""

    def __init__(self, name: str, looked_in: Path | None, missing: str) -> None:
        where = f"in {looked_in}" if looked_in is not None else "and no --data-dir was given"
        super().__init__(
            f"data set {name!r}: {missing} not found {where}; "
            f"fetch it with `python -m benchmark download {name} --data-dir DIR`, "
            "or point --data-dir at the folder that holds it"
        )


class DatasetCorruptError(BenchmarkError):
    """The files of a data set are there but incomplete or not the official ones."""


class UnreadableImageError(DatasetCorruptError):
    """One image file cannot be decoded; the message names it and its index."""


class RequestError(BenchmarkError):
    """A forget request that cannot be served: an empty forget set, or one that is everything."""


class RegimeViolationError(BenchmarkError):
    """A method tried to read data that its declared regime does not give it."""
