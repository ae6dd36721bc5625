"""Which numbers of a record were measured by code that has changed since: family by family of measures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from benchmark.evaluation.families import BASE, FAMILIES, SCORES
from benchmark.records.record import Record
from benchmark.suites.digests import Digests


def families_in(record: Record) -> tuple[str, ...]:
    """The families of measures that a record holds, those added later among them."""
    measured = (name for name, family in FAMILIES.items() if all(metric in record.metrics for metric in family.metrics))
    return (BASE, SCORES, *measured)


def metrics_of(record: Record, family: str) -> dict[str, object]:
    """The metrics of a family in a record, by full name."""
    return {name: value for name, value in record.metrics.items() if family_of(name) == family}


def family_of(metric: str) -> str:
    """The family that gives a metric."""
    for name, family in FAMILIES.items():
        if metric in family.metrics:
            return name
    return SCORES if metric.startswith("score/") else BASE


def stale_families(record: Record, digests: Digests) -> tuple[str, ...]:
    """The families of a record that today's code might measure otherwise, in the order in which they are measured.

    Args:
        record: What is there.
        digests: Of today's code. Where a family compares with models whose training data are not at hand, only the code
            that measures is compared.
    """
    present = families_in(record)
    return _changed(record, present, digests.families(present, record.cell["dataset"], record.cell["model"]))


def _changed(record: Record, present: Iterable[str], today: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(name for name in present if not _same(record.measures.get(name, ""), today[name]))


def _same(recorded: str, today: str) -> bool:
    code, _, training = today.partition("+")
    return recorded == today or (not training and recorded.partition("+")[0] == code)


def stale_records(records: Collection[Record], digests: Digests) -> dict[str, tuple[str, ...]]:
    """The stale families of each record that has some, by key: all records beside the code of one moment."""
    asked = {record.key: (families_in(record), record.cell["dataset"], record.cell["model"]) for record in records}
    today = {about: digests.families(*about) for about in dict.fromkeys(asked.values())}
    stale = {record.key: _changed(record, asked[record.key][0], today[asked[record.key]]) for record in records}
    return {key: families for key, families in stale.items() if families}


def told(stale: Mapping[str, tuple[str, ...]]) -> list[str]:
    """One line for each family: how many cells have it from older code."""
    counts = Counter(family for families in stale.values() for family in families)
    return [
        f"{count} cell{'s' if count > 1 else ''}: {family} measured by older code" for family, count in counts.items()
    ]
