"""One case of an area: what is done, and what must be true afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """A promise put to the test.

    Attributes:
        name: Unique within its area, in words: "a bit flipped in a record".
        run: Does it in an empty folder, and returns what went wrong in one line; empty where the promise was kept.
    """

    name: str
    run: Callable[[Path], str]
