"""In which order a training reads its items: every one once before any comes again, in batches of one size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import Sampler


class Ticks(TorchDataset[int]):
    """The data of a method that reads none: the step's number."""

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, index: int) -> int:
        return index


class CyclingBatches(Sampler[list[int]]):
    """Exactly `steps` batches; every item once before any comes again, each pass newly shuffled.

    A part smaller than a batch gives batches of the whole part.
    """

    def __init__(self, items: int, batch_size: int, steps: int, *, seed: int) -> None:
        self._items, self._batch, self._steps = items, min(batch_size, items), steps
        self._seed = seed

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[list[int]]:
        random = np.random.default_rng(self._seed)
        queue: list[int] = []
        for _ in range(self._steps):
            while len(queue) < self._batch:
                queue.extend(random.permutation(self._items).tolist())
            yield queue[: self._batch]
            queue = queue[self._batch :]


class Listed(TorchDataset[Any]):
    """Batches that are there already."""

    def __init__(self, batches: Sequence[Any]) -> None:
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> Any:
        return self._batches[index]
