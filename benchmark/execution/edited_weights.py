"""Unlearned weights kept beside a record: `KEY.safetensors`, the edited tensors alone.

What a method did not touch is in the original, whose hash stands in the file; so an edit of the last layer keeps some
hundred kilobytes, not a whole model. `export` puts the two together again. The file also says which outputs
(`KEY.npz`) the same run gave: weights of another run than the record's are never taken for its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from benchmark.execution.verification import TOLERANCE, gaps, largest
from benchmark.records.kept_outputs import Outputs
from benchmark.records.record import Record
from benchmark.records.store import RecordStore
from benchmark.unlearning.unlearn import Unlearned
from benchmark.utils.kept_tensors import DamagedError, read_metadata, read_tensors, tensors_to_bytes
from datamodules.common.errors import BenchmarkError
from datamodules.common.kept_files import checked_once, is_there, move_aside, read_sealed, replace_file, replace_sealed
from methods.common.added import put_tensors
from methods.common.clip import Clip


@dataclass(frozen=True)
class KeptWeights:
    """The edit of one cell.

    Attributes:
        key: Of the cell.
        original: sha256 of all weights of the model before.
        outputs: sha256 of the outputs' file that the same run wrote.
        tensors: The edited tensors by their state-dict names, on the CPU.
        refused: Names that the method refuses at inference: no weights hold them.
    """

    key: str
    original: str
    outputs: str
    tensors: Mapping[str, Tensor]
    refused: tuple[str, ...] = ()

    @classmethod
    def of(cls, result: Unlearned, *, key: str, original: str, outputs: bytes) -> KeptWeights:
        """The edit of an unlearning.

        Args:
            result: What the method left.
            key: Of the cell.
            original: Hash of the model's weights before.
            outputs: The outputs' file, as bytes.
        """
        state = result.clip.model.state_dict()
        tensors = {name: state[name].detach().cpu().contiguous() for name in result.edited}
        return cls(key, original, hashlib.sha256(outputs).hexdigest(), tensors, result.clip.refused)

    def to_bytes(self) -> bytes:
        """As the file holds it."""
        about = {"key": self.key, "original": self.original, "outputs": self.outputs}
        return tensors_to_bytes(self.tensors, {**about, "refused": json.dumps(self.refused)})

    @classmethod
    def read(cls, path: Path) -> KeptWeights | None:
        """The edit of a file; None if there is none or it is not what was kept."""
        try:
            tensors, about = read_tensors(path)
            refused = tuple(str(name) for name in json.loads(about["refused"]))
            return cls(about["key"], about["original"], about["outputs"], tensors, refused)
        except (OSError, DamagedError, KeyError, ValueError):
            return None

    @classmethod
    def belongs(cls, path: Path, key: str, outputs: Path) -> bool:
        """Whether a file is whole and is the edit of the run that left a record.

        Args:
            path: The file.
            key: Of the record.
            outputs: The file of the outputs beside it.
        """
        if not checked_once(path, lambda file: cls.read(file) is not None):
            return False
        stored = read_sealed(outputs)
        try:
            about = read_metadata(path)
        except (OSError, DamagedError):
            return False
        outputs_digest = None if stored is None else hashlib.sha256(stored).hexdigest()
        return about.get("key") == key and about.get("outputs") == outputs_digest

    def put_into(self, clip: Clip) -> None:
        """Edit a copy of the original; modules that were added to it are built.

        Raises:
            AddedModuleError: If it has no tensor of one of the names, and no standard module has.
            RuntimeError: If one has another shape.
        """
        put_tensors(clip.model, self.tensors)
        clip.refused = self.refused


class DifferentNumbersError(BenchmarkError):
    """A cell run again for its weights that does not give the numbers of its record."""


@dataclass(frozen=True)
class WeightsKeeper:
    """Writes a record with its weights.

    Attributes:
        store: Where the records are.
        recorded: Keys of the cells that are done and run again for their weights: their records stay as they are.
    """

    store: RecordStore
    recorded: Collection[str] = ()

    def path(self, record: Record) -> Path:
        """Where the weights of a record lie or would lie."""
        return weights_path(self.store.path(record.cell["suite"], record.key))

    def write(self, record: Record, outputs: Outputs, result: Unlearned) -> Record:
        """Write the weights of a cell, then its record if it has none yet.

        Args:
            record: What the cell found now.
            outputs: What the model gave for each test image.
            result: What the method left.

        Returns:
            The record that now lies there.

        Raises:
            DifferentNumbersError: If the cell has a record of other numbers; nothing is written then.
            CannotWriteError: If the disk is full or refuses a file.
        """
        before = self.store.read(record.key) if record.key in self.recorded else None
        if before is not None:
            # a family that `measure` added to the record is not measured by the cell itself
            worst = largest([gap for gap in gaps(before, record) if gap.metric in record.metrics])
            if worst.size > TOLERANCE:
                raise DifferentNumbersError(
                    f"{worst.metric} is {worst.now} now and {worst.recorded} in the record: no weights are kept; "
                    "make record and weights anew with --force --save-weights"
                )
            record = before
        original = record.provenance["weights"].removeprefix("sha256:")
        edited = KeptWeights.of(result, key=record.key, original=original, outputs=outputs.to_bytes())
        path = self.path(record)
        if is_there(path) and KeptWeights.read(path) is None:
            move_aside(path)
        replace_file(path, edited.to_bytes())
        if before is not None:
            replace_sealed(outputs_path(path), outputs.to_bytes())
        if before is None:
            self.store.write(record, outputs)
        return record


def weights_path(record: Path) -> Path:
    """The file of the weights beside a record's file."""
    return record.with_suffix(".safetensors")


def outputs_path(record: Path) -> Path:
    """The file of the outputs beside a record's file."""
    return record.with_suffix(".npz")


def has_weights(store: RecordStore, key: str) -> bool:
    """Whether weights lie beside the record of a key that a store would read."""
    records = sorted(store.folder.glob(f"*/{key}.json"))
    return any(KeptWeights.belongs(weights_path(path), key, outputs_path(path)) for path in records)
