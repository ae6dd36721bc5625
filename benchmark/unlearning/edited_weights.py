"""Unlearned weights kept beside a record: `KEY.safetensors`, the edited tensors alone.

What a method did not touch is in the original, whose hash stands in the file; so an edit of the last layer keeps some
hundred kilobytes, not a whole model. `export` puts the two together again. The file also says which outputs
(`KEY.npz`) the same run gave: weights of another run than the record's are never taken for its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmark.unlearning.unlearn import Unlearned
from benchmark.utils.kept_tensors import DamagedError, read_metadata, read_tensors, tensors_to_bytes
from datamodules.common.kept_files import checked_once, read_sealed
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

    @torch.no_grad()
    def put_into(self, clip: Clip) -> None:
        """Edit a copy of the original.

        Raises:
            KeyError: If it has no tensor of one of the names.
            RuntimeError: If one has another shape.
        """
        state = clip.model.state_dict()
        for name, value in self.tensors.items():
            state[name].copy_(value)
        clip.refused = self.refused
