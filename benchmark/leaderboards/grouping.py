"""Which records may be compared: the boards, and the rows of a board.

A board holds one suite, model, data set, kind of request, precision, kind of device (cpu, cuda) and tuning budget
(none, of the defaults as declared). Chips of one kind share a board: their numbers agree but for rounding, so machines
of a mixed cluster, and a stranger's records and ours, stand side by side. What does depend on the chip, seconds and
memory, the leaderboard shows of one chip at a time. A row holds one method with one setting and one source.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from benchmark.evaluation.measures.quality import DAMAGE, QUALITY, RESIDUAL
from benchmark.records.record import Record
from datamodules.common.image_request import read_request
from datamodules.common.request import ForgetRequest


class BoardKey(NamedTuple):
    """What the rows of a board share.

    `kind` is "class", "3 classes" or "concept" and how the requests stand together, see `kind_of`; `device` the kind of
    device, `tuned` a tuned run's budget.
    """

    suite: str
    model: str
    dataset: str
    kind: str
    precision: str
    device: str
    tuned: str = ""

    def __str__(self) -> str:
        return self.title()

    def title(self, middle: str = "") -> str:
        """The key in words; `middle` stands before the device."""
        what = (f"forget {self.kind}", self.tuned and f"tuned: {self.tuned}")
        parts = (self.suite, self.model, self.dataset, *what, middle, self.device, self.precision)
        return " · ".join(part for part in parts if part)


Pair = tuple[str, int]
"""A cell within a row: the request as a string, and the seed."""


def by_board(records: Iterable[Record], *, by_chip: bool = False) -> dict[BoardKey, list[Record]]:
    """The records of each board, in the order of the keys; of two with one key on one board the later counts.

    Args:
        records: In any order.
        by_chip: Keep one of each chip of a key that several measured.
    """
    groups: dict[BoardKey, dict[tuple[str, str], Record]] = defaultdict(dict)
    for record in records:
        groups[board_key(record)][record.key, chip_of(record) if by_chip else ""] = record
    return {key: [*groups[key].values()] for key in sorted(groups)}


def board_key(record: Record) -> BoardKey:
    """The board of a record."""
    cell, provenance = record.cell, record.provenance
    kind = kind_of(cell)
    precision = str(provenance.get("precision") or "unknown")
    device = str(cell.get("device") or provenance.get("device") or "unknown")
    tuned = str(cell.get("tuned") or "")
    return BoardKey(cell["suite"], cell["model"], cell["dataset"], kind, precision, device, tuned)


def kind_of(cell: Mapping[str, Any]) -> str:
    """The kind of a cell's request: what may be averaged together.

    Args:
        cell: The identity of a cell, as a record holds it.

    Returns:
        "class", "3 classes" or "concept"; of a sequence with the step and which request of it is measured, such as
        "class, step 3 of 5: the first request"; of a group with how its retrained models are trained.

    Raises:
        RequestError: If it has no request.
    """
    request = request_of(cell)
    if sequence := cell.get("sequence"):
        which = "first" if read_request(sequence[0]) == request else "last"
        place = f"step {cell['step']} of {len(sequence)}"
        return f"{request.kind}, {place}" + (f": the {which} request" if cell["step"] > 1 else "")
    return f"{request.kind}, retrained {cell['retrained']}" if cell.get("retrained") else request.kind


def chip_of(record: Record) -> str:
    """What a record was made on, such as "NVIDIA H100" or, over several devices, "4 × NVIDIA H100"."""
    device, count = str(record.provenance.get("device") or "unknown"), record.provenance.get("devices", 1)
    return device if count == 1 else f"{count} × {device}"


def pair(record: Record) -> Pair:
    """The (request, seed) of a record."""
    return str(request_of(record.cell)), record.cell["seed"]


def request_of(cell: Mapping[str, Any]) -> ForgetRequest:
    """The request of a cell as a record holds it; thousands of cells share a few, so each is read once."""
    return _read_once(json.dumps(cell["request"]))


@lru_cache(maxsize=4096)
def _read_once(request: str) -> ForgetRequest:
    return read_request(json.loads(request))


def by_request(records: Iterable[Record]) -> dict[str, list[Record]]:
    """The records of each request, in the order in which requests first come."""
    requests: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        requests[pair(record)[0]].append(record)
    return requests


def by_row(records: Iterable[Record]) -> dict[str, list[Record]]:
    """The records of each row by its label; two settings or sources of a method are never mixed."""
    methods: dict[str, dict[tuple[str, str], list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        varying = record.cell.get("by_request", ())
        fixed = {name: value for name, value in record.cell["hparams"].items() if name not in varying}
        settings = json.dumps(fixed, sort_keys=True)
        source = str(record.provenance.get("code") or record.provenance.get("method_source", ""))
        methods[record.cell["method"]][settings, source].append(record)
    labelled: dict[str, list[Record]] = {}
    for method, by_setting in sorted(methods.items()):
        several_settings = len({settings for settings, _ in by_setting}) > 1
        several_sources = len({source for _, source in by_setting}) > 1
        for (settings, source), row_records in sorted(by_setting.items()):
            label = f"{method} {_differing(settings, by_setting)}" if several_settings else method
            labelled[f"{label} @{source.removeprefix('sha256:')[:8]}" if several_sources else label] = row_records
    return labelled


def _differing(settings: str, keys: Iterable[tuple[str, str]]) -> str:
    values, others = json.loads(settings), [json.loads(other) for other, _ in keys]
    names = [name for name in sorted({n for o in others for n in o}) if len({repr(o.get(name)) for o in others}) > 1]
    return " ".join(f"{name}={values.get(name)}" for name in names)


PUBLISHED = "score/kravets"
"""S, which the papers rank by: boards do where their records have no Q."""
QUALITY_COLUMNS = (QUALITY, RESIDUAL, DAMAGE)
MEMBERSHIP = ("forget/membership_auc", "forget/membership_tpr")
CLASS_COLUMNS = (
    *QUALITY_COLUMNS,
    PUBLISHED,
    "score/harmonic",
    "forget/acc1",
    "retain/acc1",
    "other/acc1",
    "forget/mean_recall",
    "retain/mean_recall",
    *MEMBERSHIP,
)
DEEP_COLUMNS = (
    *QUALITY_COLUMNS,
    PUBLISHED,
    "score/harmonic",
    "score/retrain_gap",
    "score/forget_quality",
    "forget/acc1",
    "forget/image_map",
    "forget/trunk_map",
    "forget/true_name_margin",
    "forget/worst_prompt_acc1",
    "forget/relearn_acc1@0",
    "retain/relearn_acc1@0",
    "forget/probe_acc1",
    "forget/relearn_acc1@16",
    "retain/relearn_acc1@16",
    "forget/quantised_acc1@4",
    "retain/quantised_acc1@4",
    "forget/pruned_acc1",
    "forget/noised_acc1",
    "retain/acc1",
    "retain/worst10_drop",
    "retain/near_drop",
    "other/acc1",
    *MEMBERSHIP,
)
"""For requests by class where the measures of E were made: those first, then what users of this field look for. The
soft prompt and S with the worst attack are left to CSV and JSON: they hardly tell a retrained model from one that kept
the class (`leaderboard --informative`)."""
DEEP = (
    *("forget/image_map", "score/robust", "forget/relearn_acc1@0", "forget/quantised_acc1@4"),
    *("forget/pruned_acc1", "forget/noised_acc1", "retain/near_drop"),
)
"""A board with one of these shows `DEEP_COLUMNS`."""
CONCEPT_COLUMNS = (
    *QUALITY_COLUMNS,
    PUBLISHED,
    "score/harmonic",
    "forget/mean_recall",
    "forget/synonym_mean_recall",
    "retain/mean_recall",
    "forget/image_retrieval_recall@5",
    "retain/image_retrieval_recall@5",
    "forget/text_retrieval_recall@5",
    "retain/text_retrieval_recall@5",
    "other/acc1",
)


def columns_of(kind: str, names: Collection[str]) -> tuple[str, ...]:
    """The columns of a board.

    Args:
        kind: Of its requests: "class" or "concept".
        names: Of the metrics of which its records have a value.
    """
    by_class = DEEP_COLUMNS if any(name in names for name in DEEP) else CLASS_COLUMNS
    shown = CONCEPT_COLUMNS if kind == "concept" else by_class
    return tuple(name for name in shown if name in names)
