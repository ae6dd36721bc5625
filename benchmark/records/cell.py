"""Cells: one method on one request, data set, model and seed; and the key that names its record."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from benchmark.records.record import key_of, without_folder
from datamodules.common.request import ForgetRequest

BROUGHT = "brought"
"""In the place of a data regime and of a paper, where a model was unlearned elsewhere: what it read is not known."""

JOINT, SINGLE = "joint", "single"
"""How the retrained models of a group are trained; see `Cell`."""


@dataclass(frozen=True)
class Cell:
    """Everything that can change the numbers of a record, and nothing else.

    Attributes:
        suite: The suite's name.
        method: Registry name.
        dataset: Registry name of the data set that the request concerns.
        request: What to forget.
        model: The model as it was named.
        seed: Of everything random.
        hparams: All hyperparameters, defaults included.
        others: The other data sets that are evaluated.
        precision: "fp32" or "bf16".
        device: The kind of device ("cpu", "cuda"): their random streams differ.
        code: Digest of the code that unlearns, by its meaning; see `benchmark.suites.digests`.
        data_revisions: Revision of each data set, by name.
        weights: What identifies the model's weights.
        scale: Which defaults the model takes: "small" or "published".
        by_request: Hyperparameters that the suite sets by model or class: they differ within one row.
        measures: The families of further measures, beside the accuracies and recalls that every cell has.
        tuned: Of a run with tuned values, the budget that found them; empty where the defaults are those declared.
        brought: Of a model that was unlearned elsewhere and brought as a checkpoint, the sha256 of its weights; empty
            where a method of the registry unlearns. A cell with it can be measured, but not run.
        sequence: The requests by class that one model is asked to forget one after another; empty for a request that
            stands alone.
        step: How many of them have been unlearned when the model is measured, from 1; 0 for one that stands alone.
        group: The classes of several requests that are measured with each other's images left out, this one's among
            them; empty where they are not.
        retrained: How the retrained model of a group is trained: "joint", without all its classes at once, or "single",
            without those of the request.
        test_images: How many test images of each retained class are measured at most; 0 for all.
    """

    suite: str
    method: str
    dataset: str
    request: ForgetRequest
    model: str
    seed: int
    hparams: Mapping[str, Any]
    others: tuple[str, ...]
    precision: str
    device: str
    code: str
    data_revisions: Mapping[str, str]
    weights: str
    scale: str = field(default="published")
    by_request: tuple[str, ...] = ()
    measures: tuple[str, ...] = ()
    tuned: str = ""
    brought: str = ""
    sequence: tuple[ForgetRequest, ...] = ()
    step: int = 0
    group: tuple[str, ...] = ()
    retrained: str = ""
    test_images: int = 0

    def identity(self) -> dict[str, Any]:
        """What the key is made from: every field; those that most cells leave empty only where they are not."""
        optional = {
            "by_request": list(self.by_request),
            "measures": list(self.measures),
            "tuned": self.tuned,
            "brought": self.brought,
            "sequence": [request.to_dict() for request in self.sequence],
            "step": self.step,
            "group": list(self.group),
            "retrained": self.retrained,
            "test_images": self.test_images,
        }
        return {
            "suite": self.suite,
            "method": self.method,
            "dataset": self.dataset,
            "request": self.request.to_dict(),
            "model": self.model,
            "seed": self.seed,
            "hparams": dict(self.hparams),
            "others": list(self.others),
            "precision": self.precision,
            "device": self.device,
            "code": self.code,
            "data_revisions": dict(self.data_revisions),
            "weights": self.weights,
            "scale": self.scale,
            **{name: value for name, value in optional.items() if value},
        }

    @property
    def key(self) -> str:
        """sha256 of the identity; see `benchmark.records.record.key_of`."""
        return key_of(self.identity())

    def __str__(self) -> str:
        place = f", step {self.step} of {len(self.sequence)}" if self.sequence else ""
        return f"{self.method} forgets {self.request} ({self.dataset}, {self.model}, seed {self.seed}{place})"

    @property
    def stands_alone(self) -> bool:
        """Whether the request is of no sequence and no group."""
        return not (self.sequence or self.group)

    @property
    def of_a_part(self) -> bool:
        """Whether it is of a sequence or measured on a part of the test images: code counts that others do not run."""
        return bool(self.test_images) or not self.stands_alone

    @property
    def left_out(self) -> tuple[str, ...]:
        """Classes that are neither forgotten by this request nor retained: their images take no part in measuring."""
        forgotten_too = (*self.group, *(name for request in self.sequence for name in request.classes))
        return tuple(dict.fromkeys(name for name in forgotten_too if name not in self.request.classes))

    @property
    def never_seen(self) -> ForgetRequest:
        """What the retrained model of this cell was trained without."""
        if self.sequence:
            so_far = self.sequence[: self.step]
            return ForgetRequest(classes=tuple(name for request in so_far for name in request.classes))
        return ForgetRequest(classes=self.group) if self.retrained == JOINT else self.request

    def steps(self) -> tuple[Cell, ...]:
        """Of a cell in a sequence what was unlearned so far, one cell a request, in order; itself, if it stands alone.

        The last of them may be another request than the one that is measured.
        """
        so_far = enumerate(self.sequence[: self.step], start=1)
        return tuple(replace(self, request=request, step=step) for step, request in so_far) or (self,)

    def random_seed(self) -> int:
        """The seed of the cell's random numbers: the same for all methods, so that they meet the same chance."""
        return random_seed(self.dataset, self.request, self.model, self.seed)


def random_seed(dataset: str, request: ForgetRequest, model: str, seed: int) -> int:
    """The seed of a cell's random numbers, from what is asked for, not from what answers."""
    digest = hashlib.sha256(
        json.dumps([dataset, request.to_dict(), without_folder(model), seed], sort_keys=True).encode()
    ).digest()
    return int.from_bytes(digest[:4], "big")


def shard(cells: Sequence[Cell], part: str) -> list[Cell]:
    """The cells of shard "i/n", i from 1 to n: every n-th, by key, so that shards stay the same as cells are added.

    Raises:
        ValueError: If it is not of that form.
    """
    index, _, total = part.partition("/")
    well_formed = all(text.isascii() and text.isdecimal() and len(text) < 10 for text in (index, total))
    if well_formed and int(index) == 0 < int(total):
        raise ValueError(
            f"shard {part!r}: shards count from 1; with an array that counts from 0 write $((i + 1))/{total}"
        )
    if not (well_formed and 1 <= int(index) <= int(total)):
        raise ValueError(f"shard {part!r} is not of the form i/n with 1 <= i <= n, such as 1/4")
    return [cell for cell in cells if int(cell.key, 16) % int(total) == int(index) - 1]
