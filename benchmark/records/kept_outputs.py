"""What a model gave for each test image, kept beside its record, so that a later measure needs no second run.

`KEY.npz` beside `KEY.json`: unit-norm image embeddings (half precision), the zero-shot classifier where there are
classes, and the names that the model refuses. Labels and forget flags belong to the data set, which has a revision.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmark.evaluation.embeddings import EmbeddingStore
from benchmark.evaluation.unmeasurable import NotMeasurableError
from datamodules.common.dataset import Dataset, SplitName
from datamodules.common.images import Preprocessing
from datamodules.common.kept_files import read_sealed
from methods.common.clip import Clip


@dataclass(frozen=True)
class Outputs:
    """The outputs of one model on one test split.

    Attributes:
        images: Unit-norm embeddings, shape (N, D), float16.
        classifier: Unit-norm class weights, shape (C, D), float32; (0, D) without classes.
        refused: Names that the model never answers with.
    """

    images: NDArray[np.float16]
    classifier: NDArray[np.float32]
    refused: tuple[str, ...] = ()

    @classmethod
    def of(cls, clip: Clip, dataset: Dataset, store: EmbeddingStore, *, keep: bool) -> Outputs:
        """The outputs of a model whose features are at hand."""
        images = store.images(clip, dataset, "test", keep=keep).cpu().numpy()
        names = dataset.class_names
        weights = store.classifier(clip, names, dataset.templates).cpu().numpy() if names else images[:0]
        return cls(images.astype(np.float16), weights.astype(np.float32), clip.refused)

    def to_bytes(self) -> bytes:
        """As the file holds it, before it is sealed."""
        stream = io.BytesIO()
        np.savez_compressed(
            stream, images=self.images, classifier=self.classifier, refused=np.array(self.refused, dtype=np.str_)
        )
        return stream.getvalue()

    @classmethod
    def read(cls, path: Path) -> Outputs | None:
        """The outputs of a file; None if there is none or it is not, under its name, what was kept."""
        stored = read_sealed(path)
        if stored is None:
            return None
        with np.load(io.BytesIO(stored), allow_pickle=False) as content:
            refused = tuple(str(name) for name in content["refused"])
            return cls(content["images"], content["classifier"], refused)

    def clip(self, preprocessing: Preprocessing, name: str) -> Clip:
        """A stand-in for the model: it says what it refuses, and has no weights."""
        return Clip(nn.Identity(), no_tokens, preprocessing, name, refused=self.refused)


def no_tokens(texts: list[str]) -> Tensor:
    """The tokenizer of a stand-in that has no text encoder.

    Raises:
        NotMeasurableError: Always.
    """
    raise NotMeasurableError("the kept outputs have no text encoder: this measure needs the model")


class KeptFeatures(EmbeddingStore):
    """An embedding store that answers from kept outputs, by the stand-in that asks."""

    def __init__(self, outputs: Sequence[tuple[Clip, Outputs]]) -> None:
        super().__init__(None)
        self._outputs = {id(clip): kept for clip, kept in outputs}

    def images(
        self,
        clip: Clip,
        dataset: Dataset,
        split: SplitName,
        *,
        rows: NDArray[np.int64] | None = None,
        keep: bool = False,
    ) -> Tensor:
        """The kept embeddings, normalised again: half precision moved their length by a little."""
        if split != "test" or rows is not None:
            raise NotMeasurableError("only test outputs are kept: this measure needs the model")
        kept = torch.from_numpy(self._outputs[id(clip)].images.astype(np.float32))
        return nn.functional.normalize(kept, dim=-1)

    def features(
        self,
        clip: Clip,
        dataset: Dataset,
        split: SplitName,
        *,
        rows: NDArray[np.int64] | None = None,
        keep: bool = False,
    ) -> Tensor:
        """Nothing: features before the projection are not kept."""
        raise NotMeasurableError("features before the projection are not kept: this measure needs the model")

    def classifier(self, clip: Clip, names: Sequence[str], templates: Sequence[str]) -> Tensor:
        """The kept classifier."""
        weights = self._outputs[id(clip)].classifier
        if len(weights) != len(names):
            raise NotMeasurableError("the kept classifier is of other names: this measure needs the model")
        return torch.from_numpy(weights)
