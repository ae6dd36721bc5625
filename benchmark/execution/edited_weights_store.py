"""What `run --save-weights` does: unlearned weights beside each record, written as records are."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from benchmark.execution.verification import TOLERANCE, gaps, largest
from benchmark.records.kept_outputs import Outputs
from benchmark.records.record import Record
from benchmark.records.store import RecordStore
from benchmark.unlearning.edited_weights import KeptWeights
from benchmark.unlearning.unlearn import Unlearned
from datamodules.common.errors import BenchmarkError
from datamodules.common.kept_files import is_there, move_aside, replace_file, replace_sealed


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
