"""What joint retrained models do to a score: Q with them in the place of single ones as what E is measured from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from benchmark.leaderboards.findings import listed
from benchmark.leaderboards.scored import is_retrained, with_quality
from benchmark.records.cell import JOINT
from benchmark.records.record import Record
from benchmark.records.store import REFERENCE, RecordStore
from benchmark.utils.statistics import kendalls_tau
from benchmark.utils.table import Table, number_text
from docs.generation.originals import Means, leader, means_of, scores_of


def floors_table(argument: str) -> str:
    """A row for each method: Q from single models, as recorded, and from joint ones of the same classes and seeds.

    Args:
        argument: The suite of the methods, whose retrained models are single, and the suite that has joint ones of its
            requests, apart by a space.

    Raises:
        LookupError: If a retrained model of the first has no joint counterpart in the second, or other images.
    """
    suite, other = argument.split()
    store = RecordStore(REFERENCE, older=True)
    records = store.all(suite)
    exchanged = with_joint(records, store.all(other))
    found, beside = (means_of(scores_of(with_quality(each))) for each in (records, exchanged))
    golden = {record.cell["method"] for record in records if is_retrained(record)}
    methods = [method for method in found if method not in golden and max(found[method].values()) > 0]
    single, joint = ({method: of[method] for method in methods} for of in (found, beside))
    rows = []
    for method in sorted(methods, key=lambda name: -fmean(single[name].values())):
        numbers = [fmean(of[method].values()) for of in (single, joint)]
        rows.append([f"`{method}`", *(number_text(n, 1.0, 3) for n in (*numbers, numbers[1] - numbers[0]))])
    head = ["Q, E measured from", "single models", "joint models", "difference"]
    return f"{Table.of_texts(head, rows, words=(0,)).markdown()}\n\n{_alike(single, joint)}"


def with_joint(records: Sequence[Record], others: Sequence[Record]) -> list[Record]:
    """The records, in which retrained models have the metrics of joint ones of the same request and seed.

    Raises:
        LookupError: As `floors_table`.
    """
    joint = {_place(record): record for record in others if is_retrained(record) and record.cell["retrained"] == JOINT}
    changed = []
    for record in records:
        if is_retrained(record):
            beside = joint.get(_place(record))
            if beside is None:
                raise LookupError(f"no joint model of the same images beside {record.cell}")
            record = replace(record, metrics=beside.metrics)
        changed.append(record)
    return changed


def _place(record: Record) -> tuple[str, int, int]:
    return str(record.cell["request"]), record.cell["seed"], record.cell.get("test_images") or 0


def _alike(single: Means, joint: Means) -> str:
    """How far the scores are from each other, and how alike their orders are."""
    trainings = sorted(next(iter(single.values())))
    taus = [
        kendalls_tau([of[each] for of in single.values()], [of[each] for of in joint.values()]) for each in trainings
    ]
    changes = [fmean(joint[name].values()) - fmean(single[name].values()) for name in single]
    stay = sum(leader(single, each) == leader(joint, each) for each in trainings)
    return (
        f"Means over {len(trainings)} trainings of the original. Q changes by {number_text(fmean(changes), 1.0, 3)} on "
        f"average; Kendall's tau between the two orders is {listed([f'{tau:.2f}' for tau in taus])} on them; "
        f"{stay} of {len(trainings)} leaders stay."
    )
