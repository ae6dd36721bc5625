"""What `unlearn` and `audit` print of a model that was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.execution.single import EvaluationResult


def before_and_after(measured: EvaluationResult) -> str:
    """What was measured, as tables: the original, the unlearned model, what probes bring back; and what was not."""
    from benchmark.evaluation.families import FAMILIES
    from benchmark.exporting.card import PROBES

    probes = {metric for family in PROBES for metric in FAMILIES[family].metrics}
    rows = measured.rows()
    tables = [_table("measured on test images", [row for row in rows if row["metric"] not in probes])]
    if any(row["metric"] in probes for row in rows):
        tables.append(_table("what a probe brings back", [row for row in rows if row["metric"] in probes]))
    missing = [f"{family} could not be measured: {reason}" for family, reason in measured.not_measured.items()]
    return "\n".join([*tables, *missing])


def _table(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """One line a metric: the original's value, the model's, its 95 % interval over the test items, their number."""
    from benchmark.evaluation.catalogue import ARROWS, describe
    from benchmark.leaderboards.tables import unit_of
    from benchmark.utils.table import Table, ends_text, number_text

    lines = []
    for row in rows:
        scale, digits = unit_of(describe(row["metric"]))
        unit = " %" if scale == 100 else ""
        texts = [number_text(row[name], scale, digits) for name in ("original", "value")]
        interval = ends_text(row["low"], row["high"], scale, digits)
        count = "" if row["n"] is None else str(row["n"])
        arrow = ARROWS[row["direction"] or "none"]
        lines.append([row["metric"], arrow, *(text and text + unit for text in texts), interval, count])
    return Table.of_texts([title, "", "before", "after", "95 % interval", "n"], lines, words=(0,)).text()
