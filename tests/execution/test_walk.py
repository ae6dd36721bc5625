"""The way of a cell from suite to record, as docs/architecture.md tells it, is the way that a run takes."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest
from rich.console import Console
from test_architecture import imports
from walk import Way, unlearn_watched
from world import ROOT, SHORT, World, write_suite

from benchmark.execution.process import unlearner
from benchmark.execution.run import RunOptions, run_plan
from benchmark.suites.expansion import make_plan
from benchmark.suites.where import Where

pytest_plugins = ("world",)
MOST_STATIONS = 15
FAMILY = "image_retrieval_map"
"""A cheap family of measures: a cell that asks for none does not come to `evaluation/context.py`."""
TELLS_THE_PARENT = {
    "unlearn_here.<locals>.<lambda>",  # the clock begins and ends
    "Reports.step",
    "RemoteLooks.due",
    "RemoteLooks.look",
}
"""What the training loop calls while it runs, in the module that started it: a return value would come too late."""


def listed(marker: str) -> list[str]:
    """The modules of a list in the section on the way of a cell."""
    section = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("\n## The way of a cell\n")[2]
    paths = re.findall(rf"^{marker} `(benchmark/[\w/]+)\.py`", section.partition("\n## ")[0], re.MULTILINE)
    return [path.replace("/", ".") for path in paths]


STATIONS, TOLD = listed(r"\d+\."), listed("-")


def reached(module: str) -> set[str]:
    """What a module imports, through any number of others; not through the names of the package itself."""
    seen, waiting = set[str](), [module]
    while waiting:
        further = imports()[waiting.pop()] - seen - {"benchmark"}
        seen |= further
        waiting += further
    return seen


def test_the_way_is_short_and_goes_down() -> None:
    assert 10 < len(STATIONS) <= MOST_STATIONS and len(TOLD) > 3
    assert set(STATIONS) <= imports().keys() and set(TOLD) <= imports().keys()
    assert [(told, reached(told) & {"benchmark.execution.run", "benchmark.execution.local"}) for told in TOLD] == [
        (told, set()) for told in TOLD
    ]


def test_a_run_takes_the_way_that_is_told(tiny_world: Any, short_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    way, in_process = Way(), list[tuple[list[str], list[list[str]]]]()
    hear = unlearner.Unlearning.__call__

    def heard(self: Any, what: str, *message: Any) -> Any:
        return in_process.append(message) if what == "way" else hear(self, what, *message)  # type: ignore[arg-type]

    monkeypatch.setattr(unlearner.Unlearning, "__call__", heard)
    monkeypatch.setattr(unlearner, "unlearn_here", unlearn_watched)
    suite = write_suite(short_world.results.parent, tiny_world.model, f"{SHORT}measures: [{FAMILY}]\n", "way.yaml")
    sys.setprofile(way)
    try:
        where = Where(None, short_world.cache, "cpu")
        plan = make_plan(str(suite), where, short_world.results, methods=["original", "nullspace"], seeds=[0])
        done = run_plan(plan, RunOptions(), Console(quiet=True))
    finally:
        sys.setprofile(None)
    assert not done.missing and len(in_process) == 2
    given, calls = set(way.given), set(way.calls)
    for modules, further in in_process:
        given |= set(modules)
        calls |= {(caller, module, name) for caller, module, name in further}
    assert given == {*STATIONS, *TOLD, f"benchmark.evaluation.measures.{FAMILY}"}
    on_the_way = {call for call in calls if {call[0], call[1]} <= set(STATIONS)}
    upwards = {(a, b, name) for a, b, name in on_the_way if b not in reached(a)}
    assert len(on_the_way) > 20 and {name for _, _, name in upwards} <= TELLS_THE_PARENT, upwards
    from_told = {(a, b, name) for a, b, name in calls if a in TOLD and b in STATIONS and b not in reached(a)}
    assert from_told == set()
