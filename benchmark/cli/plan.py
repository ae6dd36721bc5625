"""`plan`: the cells of a suite, what is done, missing or failed, and what the rest will take."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from benchmark.cli.options import Hardware, Places, Plugins, Selection
from benchmark.records.lookup import expected_of_cells, known_records

if TYPE_CHECKING:
    from benchmark.suites.wanted import NeedsError


def plan_command(selection: Selection, plugins: Plugins, places: Places, hardware: Hardware) -> int:
    """Show a suite's cells: done, missing or failed, with the time that they are expected to take.

    Where weights or data sets are not there yet, show the cells with what each still needs, where to get it and where
    to put it.
    """
    from benchmark.execution.staleness import stale_records, told
    from benchmark.records.failures import Ledger
    from benchmark.suites.wanted import NeedsError
    from benchmark.utils.durations import clock
    from benchmark.utils.table import Table, render

    try:
        plan = selection.plan(places, hardware.device, hardware.precision, plugins=plugins.plugin)
    except NeedsError as error:
        return _without_files(error, selection.suite)
    failures = Ledger(places.results).failures()
    tuned_by = f" (tuned: {plan.suite.budgets})" if plan.suite.tuned else ""
    heads = ("key", "state", "method", "forget", "data set", "model", "seed", "expected")
    rows = []
    records = {cell.key: record for cell in plan.cells if (record := plan.store.read(cell.key)) is not None}
    stale = stale_records(records.values(), plan.where.digests)
    counts = {"done": 0, "missing": 0, "failed": 0}
    seconds, unknown = 0.0, 0
    to_do = [cell for cell in plan.cells if cell.key not in records]
    known = known_records(plan.store, plan.suite.name, to_do)
    expected = dict(zip((c.key for c in to_do), expected_of_cells(to_do, known), strict=True))
    for cell in plan.cells:
        state = "done" if cell.key in records else "failed" if cell.key in failures else "missing"
        counts[state] += 1
        guess = expected.get(cell.key)
        if state != "done":
            seconds += guess or 0.0
            unknown += guess is None
        shown = "" if state == "done" else f"{guess:.0f} s" if guess is not None else "?"
        values = (
            cell.key[:12],
            "done, stale" if cell.key in stale else state,
            cell.method,
            str(cell.request),
            cell.dataset,
            cell.model,
            str(cell.seed),
        )
        rows.append([*values, shown])
    for cell in plan.left_out:
        names = (cell.method, str(cell.request), cell.dataset, cell.model, str(cell.seed))
        rows.append([cell.key[:12], "n/a", *names, ""])
    for message in (*plan.notes, *plan.store.notes, *_to_fetch(plan.suite.every_model).values()):
        print(message, file=sys.stderr)
    title = f"{plan.suite.name}: {plan.suite.title}{tuned_by}"
    print(render([Table.of_texts(heads, rows, words=range(6), title=title)], "table"))
    for line in told(stale):
        print(f"{line}: `run` measures it again")
    side_by_side = " one after another, less side by side (--jobs)" if len(to_do) > 1 else ""
    of_unknown_length = f", and {unknown} cells of unknown length" if unknown else ""
    rest = f"about {clock(seconds)} to go{side_by_side}{of_unknown_length}"
    print(f"{counts['done']} done, {counts['missing']} missing, {counts['failed']} failed; {rest}")
    return 0


def _to_fetch(models: Iterable[str]) -> dict[str, str]:
    """What the first run of some models will fetch, by model."""
    from benchmark.models.tag_weights import to_fetch

    return {model: needed for model in dict.fromkeys(models) if (needed := to_fetch(model))}


def _without_files(error: NeedsError, suite: str) -> int:
    """Show what a suite asks for, and what is missing for it."""
    from benchmark.suites.told_before import why_left_out
    from benchmark.utils.table import Table, render

    rows = []
    ready = 0
    reasons = why_left_out(error.wanted, error.registry)
    needs = dict(error.needs)
    for model, message in _to_fetch(wanted.model for wanted in error.wanted).items():
        needs[model] = f"{needs[model]}; {message}" if model in needs else message
    for wanted, reason in zip(error.wanted, reasons, strict=True):
        named = (wanted.model, wanted.task.dataset, *wanted.task.others)
        lacking = ["n/a"] if reason else [name for name in named if name in needs]
        ready += not lacking
        rows.append(
            [
                *(wanted.method, str(wanted.request), wanted.task.dataset, wanted.model, str(wanted.seed)),
                ", ".join(lacking) or "nothing",
            ]
        )
    heads = ("method", "forget", "data set", "model", "seed", "needs")
    print(render([Table.of_texts(heads, rows, words=range(6), title=f"{suite}: not all files are there")], "table"))
    for message in dict.fromkeys(filter(None, reasons)):
        print(message)
    for message in dict.fromkeys(needs.values()):
        print(f"needed: {message}")
    left = f", {len(rows) - reasons.count('')} cannot be run" if any(reasons) else ""
    print(f"{len(rows)} cells, {ready} of them need nothing{left}; what is done is shown when all files are there")
    return 0
