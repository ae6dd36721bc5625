"""The areas of the campaign by name: the modules of this folder that have `cases` and `FAST`."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

_NO_AREA = {"__init__", "__main__", "areas", "case"}
AREAS = tuple(
    path.stem
    for path in sorted(Path(__file__).parent.glob("*.py"))
    if path.stem not in _NO_AREA and not path.stem.startswith("test_")
)


def load_area(name: str) -> Any:
    """The module of an area."""
    return importlib.import_module(f"tests.reliability.{name}")
