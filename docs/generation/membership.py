"""What an attacker learns of images that were trained on: some methods of a suite as a table."""

from __future__ import annotations

from benchmark.records.record import Metric, Record
from benchmark.records.store import REFERENCE, RecordStore
from benchmark.utils.table import Table

AUC, CAUGHT, RETAINED = "forget/membership_auc", "forget/membership_tpr", "retain/acc1"


def membership_table(argument: str) -> str:
    """A row for each record of the methods that has the measure, the one that gives most away first.

    Args:
        argument: The suite and the methods, apart by spaces.

    Raises:
        LookupError: If one of the methods has no such record.
    """
    suite, *methods = argument.split()
    known = [(record, auc) for record in RecordStore(REFERENCE, older=True).all(suite) if (auc := _value(record, AUC))]
    if missing := set(methods) - {record.cell["method"] for record, _ in known}:
        raise LookupError(f"suite {suite!r} has no membership of {', '.join(sorted(missing))}")
    head = ["method", "seed", "AUC (0.5: cannot be told)", "true positives at 1 % false ones", "retain accuracy"]
    chosen = [(record, auc) for record, auc in known if record.cell["method"] in methods]
    rows = [
        [f"`{record.cell['method']}`", str(record.cell["seed"]), _with_ends(record.metrics[AUC], auc)]
        + [f"{100 * (_value(record, name) or 0.0):.1f} %" for name in (CAUGHT, RETAINED)]
        for record, auc in sorted(chosen, key=lambda pair: (-pair[1], pair[0].cell["method"], pair[0].cell["seed"]))
    ]
    return Table.of_texts(head, rows, words=(0,)).markdown()


def _value(record: Record, name: str) -> float | None:
    metric = record.metrics.get(name)
    return None if metric is None else metric.value


def _with_ends(metric: Metric, auc: float) -> str:
    ends = "" if metric.ci95 is None else f" ({metric.ci95[0]:.2f} to {metric.ci95[1]:.2f})"
    return f"{auc:.2f}{ends}"
