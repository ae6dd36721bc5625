"""The fast cases of every area of the reliability campaign."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reliability.areas import AREAS, load_area
from tests.reliability.case import Case


def _fast() -> list[tuple[str, Case]]:
    return [(name, case) for name in AREAS for case in load_area(name).cases(None) if case.name in load_area(name).FAST]


@pytest.mark.parametrize(("area", "case"), [pytest.param(a, c, id=f"{a}: {c.name}") for a, c in _fast()])
def test_promise_is_kept(area: str, case: Case, tmp_path: Path) -> None:
    assert case.run(tmp_path) == ""


@pytest.mark.parametrize("area", AREAS)
def test_fast_names_are_cases(area: str) -> None:
    names = [case.name for case in load_area(area).cases(None)]
    assert len(set(names)) == len(names)
    assert set(names) >= load_area(area).FAST
