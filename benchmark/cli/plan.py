"""`plan`: the cells of a suite, what is done, missing or failed, and what the rest will take."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmark.cli.common import plan_of
from benchmark.cli.listing import Listed
from benchmark.records.lookup import expected_seconds, known_records


def plan_command(
    suite: str = "quick",
    methods: Listed = None,
    seeds: Listed = None,
    model: Listed = None,
    results: str = "results/runs",
    data_dir: str | None = None,
    cache_dir: str | None = None,
    device: str = "auto",
    precision: str | None = None,
    shard: str | None = None,
    plugin: Listed = None,
    set: Listed = None,
    tuned: bool = False,
    tuned_values: str | None = None,
) -> int:
    """Show a suite's cells: done, missing or failed, with the time that they are expected to take.

    Args:
        suite: A suite of the package, or a YAML file.
        methods: Names, separated by commas.
        seeds: Seeds, separated by commas.
        model: Models, separated by commas.
        results: The folder of the records.
        data_dir: The folder of the real data sets.
        cache_dir: The folder of decoded images and features.
        device: auto, cpu, cuda or cuda:N.
        precision: fp32, bf16 or auto.
        shard: i/n: only the i-th of n parts of the cells.
        plugin: Files of further methods, separated by commas; may be repeated.
        set: A hyperparameter as METHOD.NAME=VALUE; may be repeated.
        tuned: With the values that `tune` found, on boards of their own; small CLIPs only.
        tuned_values: The same with the values of a file that `tune --out` wrote.
    """
    from benchmark.execution.staleness import stale_records, told
    from benchmark.records.failures import Ledger
    from benchmark.utils.durations import clock
    from benchmark.utils.table import Table, render

    plan = plan_of(
        suite=suite,
        methods=methods,
        seeds=seeds,
        model=model,
        results=results,
        data_dir=data_dir,
        cache_dir=cache_dir,
        device=device,
        precision=precision,
        shard=shard,
        plugin=plugin,
        settings=set,
        tuned=tuned,
        tuned_values=tuned_values,
    )
    failures = Ledger(Path(results)).failures()
    expected = expected_seconds(known_records(plan.store), plan.suite.every_model)
    tuned_by = f" (tuned: {plan.suite.tuned})" if plan.suite.tuned else ""
    heads = ("key", "state", "method", "forget", "data set", "model", "seed", "expected")
    rows = []
    found = {cell.key: record for cell in plan.cells if (record := plan.store.read(cell.key)) is not None}
    stale = stale_records(found.values(), plan.where.digests)
    counts = {"done": 0, "missing": 0, "failed": 0}
    seconds, unknown = 0.0, 0
    for cell in plan.cells:
        state = "done" if cell.key in found else "failed" if cell.key in failures else "missing"
        counts[state] += 1
        guess = expected.get(cell.method)
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
    for message in (*plan.notes, *plan.store.notes):
        print(message, file=sys.stderr)
    title = f"{plan.suite.name}: {plan.suite.title}{tuned_by}"
    print(render([Table.of_texts(heads, rows, words=range(6), title=title)], "table"))
    for line in told(stale):
        print(f"{line}: `run` measures it again")
    rest = f"about {clock(seconds)} to go" + (f", and {unknown} cells of unknown length" if unknown else "")
    print(f"{counts['done']} done, {counts['missing']} missing, {counts['failed']} failed; {rest}")
    return 0
