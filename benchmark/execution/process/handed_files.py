"""The files that processes are handed: the model as it came, and parts of train splits; each is written once."""

from __future__ import annotations

import contextlib
import pickle
import shutil
import tempfile
import weakref
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from datamodules.common.dataset import Dataset
from datamodules.common.errors import BenchmarkError
from datamodules.common.handed import write_part
from datamodules.common.kept_files import new_file
from datamodules.common.module import Part
from datamodules.common.request import ForgetRequest
from methods.common.clip import Clip
from methods.common.synthetic_images import encoder_key

KEPT_PARTS = 4
"""Parts of train splits whose files are kept for the cells that follow; our choice: those of one or two requests."""
KEPT_MODELS = 2


@dataclass(frozen=True)
class _KeptModel:
    model: Callable[[], nn.Module | None]
    folder: Path
    encoder: str


class HandedFiles:
    """Writes what processes are handed, and keeps it for the next ones; what one of them still reads is not removed.

    Args:
        folder: Where the files lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._models: OrderedDict[int, _KeptModel] = OrderedDict()
        self._parts: OrderedDict[tuple[Any, ...], Path] = OrderedDict()
        self._held: Counter[Path] = Counter()
        self._numbers = iter(range(2**62))

    def model(self, clip: Clip) -> tuple[Path, str]:
        """The file of a CLIP as it came, and the key of its image encoder; written once while the CLIP lives.

        Raises:
            BenchmarkError: If a part of it is of a kind that cannot be written.
        """
        kept = self._models.get(id(clip.model))
        if kept is None or kept.model() is not clip.model:
            folder = self.folder / f"model-{next(self._numbers)}"
            folder.mkdir()
            _write_model(clip, folder / "clip.pt")
            kept = self._models[id(clip.model)] = _KeptModel(weakref.ref(clip.model), folder, encoder_key(clip))
            self._drop([(key, model.folder) for key, model in self._models.items()], self._models, KEPT_MODELS)
        return kept.folder / "clip.pt", kept.encoder

    def part(self, dataset: Dataset, request: ForgetRequest, part: Part) -> Path:
        """The folder of a part of a train split."""
        key = (dataset.name, dataset.revision, dataset.framing, request, part)
        if key not in self._parts:
            folder = self.folder / f"part-{next(self._numbers)}"
            write_part(dataset, request, part, folder)
            self._parts[key] = folder
            self._drop([*self._parts.items()], self._parts, KEPT_PARTS)
        self._parts.move_to_end(key)
        return self._parts[key]

    @contextlib.contextmanager
    def held(self, folders: Sequence[Path]) -> Iterator[None]:
        """While the block runs, these folders stay."""
        self._held.update(folders)
        try:
            yield
        finally:
            self._held.subtract(folders)

    @contextlib.contextmanager
    def job_folder(self) -> Iterator[Path]:
        """A new folder for one process, for as long as the block runs."""
        folder = Path(tempfile.mkdtemp(prefix="job-", dir=self.folder))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _drop(self, folders: list[tuple[Any, Path]], kept: OrderedDict[Any, Any], most: int) -> None:
        """Remove the oldest beyond `most` that no process reads; the last one was written just now."""
        for key, folder in folders[:-1]:
            if len(kept) > most and not self._held[folder]:
                del kept[key]
                shutil.rmtree(folder, ignore_errors=True)


def _write_model(clip: Clip, file: Path) -> None:
    size = sum(value.numel() * value.element_size() for value in clip.model.state_dict().values())
    try:
        with new_file(file, size_bytes=size) as stream:
            torch.save(clip, stream)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise BenchmarkError(
            f"model {clip.name!r} cannot be handed to the process that unlearns ({error}): its tokenizer and modules "
            "must be of classes and functions at the top level of a module"
        ) from error
