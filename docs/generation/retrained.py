"""The retrained models of a suite as a table: one row a training, and how far two seeds of one request are apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean, variance

from benchmark.evaluation.catalogue import describe, find
from benchmark.evaluation.measures.quality import INFORMATIVE
from benchmark.leaderboards.tables import unit_of
from benchmark.records.record import Record
from benchmark.records.store import REFERENCE, RecordStore
from benchmark.utils.table import Table, number_text
from datamodules.common.image_request import read_request

COLUMNS = (
    ("forget/acc1", "of the class"),
    ("retain/acc1", "of the others"),
    ("other/caltech101/acc1", "Caltech-101"),
    ("other/flickr30k/mean_recall", "Flickr30K, mean recall"),
)
"""Metrics of a record and the titles of their columns."""
IMAGE_MAP = "forget/image_map"


def retrained_records(suite: str, model: str, method: str = "retrain") -> list[Record]:
    """The reference records of one method on one model, by request and seed.

    Raises:
        LookupError: If there are none.
    """
    records = [
        record
        for record in RecordStore(REFERENCE, older=True).all(suite)
        if record.cell["model"] == model and record.cell["method"] == method
    ]
    if not records:
        raise LookupError(f"no reference record of suite {suite!r} is of {method} on {model}")
    return sorted(records, key=lambda record: (_forgotten(record), record.cell["seed"]))


def retrained_table(argument: str) -> str:
    """A row for each retrained model, one for the original, and the distance of two seeds in every measure.

    Args:
        argument: The suite and the model, apart by a space.
    """
    suite, model = argument.split()
    retrained = retrained_records(suite, model)
    original = retrained_records(suite, model, "original")[0]
    head = ["left out", "seed", *(title for _, title in COLUMNS), "seconds of training"]
    rows = [["nothing", "", "", *(_percent(original, name) for name, _ in COLUMNS[1:]), ""]]
    rows += [
        [
            _forgotten(record),
            str(record.cell["seed"]),
            *(_percent(record, name) for name, _ in COLUMNS),
            f"{float(record.report['training_seconds']):,.0f}",
        ]
        for record in retrained
    ]
    parts = [Table.of_texts(head, rows, words=(0,)).markdown()]
    by_request = defaultdict(list)
    for record in retrained:
        by_request[_forgotten(record)].append(record)
    parts += [_apart(name, records) for name, records in by_request.items() if len(records) > 1]
    return "\n\n".join(parts)


def _apart(name: str, records: list[Record]) -> str:
    """How far the trainings of one request are apart in every measure."""
    first, *others = records
    rows = []
    for metric, value in first.metrics.items():
        values = [value.value, *(record.metrics[metric].value for record in others if metric in record.metrics)]
        numbers = [number for number in values if number is not None]
        if len(numbers) == len(records) and find(metric) is not None:
            column = describe(metric)
            *shown, apart = (number_text(n, *unit_of(column)) for n in (*numbers, max(numbers) - min(numbers)))
            rows.append([f"`{metric}`", ", ".join(shown), apart + (" points" if column.percent else "")])
    seeds = ", ".join(str(record.cell["seed"]) for record in records)
    table = Table.of_texts(["measure", f"seeds {seeds}", "apart"], rows, words=(0,)).markdown()
    return f"Two trainings without *{name}* in every measure:\n\n{table}"


def _forgotten(record: Record) -> str:
    return str(read_request(record.cell["request"]))


def _percent(record: Record, metric: str) -> str:
    found = record.metrics.get(metric)
    return "" if found is None or found.value is None else f"{100 * found.value:.1f} %"


def joint_table(argument: str) -> str:
    """What E is made of, on models that were trained without a class alone and on those of a group, side by side.

    Args:
        argument: The suite of the single models, that of the joint ones, and the model, apart by spaces.

    Raises:
        LookupError: If no class has both.
    """
    alone, together, model = argument.split()
    single, joint = (by_class(retrained_records(suite, model)) for suite in (alone, together))
    shared = sorted(single.keys() & joint.keys())
    if not shared:
        raise LookupError(f"suites {alone} and {together} have no retrained class of {model} in common")
    names = [measure.metric for measure in INFORMATIVE]
    if len({record.cell.get("test_images", 0) for of in (single, joint) for each in shared for record in of[each]}) > 1:
        names = [name for name in names if name != IMAGE_MAP]  # images of a smaller gallery find each other more easily
    head = ["measure", "single", "joint", "difference", "spread of seeds"]
    rows = []
    for name in names:
        scale, digits = unit_of(describe(name))
        means = [fmean(fmean(_values(of[each], name)) for each in shared) for of in (single, joint)]
        of_class = [_values(of[each], name) for of in (single, joint) for each in shared]
        within = [variance(values) for values in of_class if len(values) > 1]
        numbers = [*means, means[1] - means[0], fmean(within) ** 0.5]
        rows.append([name, *(number_text(value, scale, digits) for value in numbers)])
    singles, joints = (sum(len(of[each]) for each in shared) for of in (single, joint))
    classes = f"{', '.join(shared)}: {singles} records of single models, {joints} of joint ones"
    return f"{Table.of_texts(head, rows, words=(0,)).markdown()}\n\n{classes}."


def by_class(records: Sequence[Record]) -> dict[str, list[Record]]:
    """The records of requests of one class, by the class."""
    found: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        request = read_request(record.cell["request"])
        if len(request.classes) == 1:
            found[request.classes[0]].append(record)
    return found


def _values(records: Sequence[Record], name: str) -> list[float]:
    return [value for record in records if (value := record.metrics[name].value) is not None]
