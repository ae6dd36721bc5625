"""What a model gave for each test image, taken to be kept, and measured again without the model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmark.evaluation.embeddings import EmbeddingStore
from benchmark.evaluation.families import NotMeasurableError
from benchmark.records.kept_outputs import Outputs
from datamodules.common.dataset import Dataset, SplitName
from datamodules.common.images import Preprocessing
from methods.common.clip import Clip


def outputs_of(clip: Clip, dataset: Dataset, store: EmbeddingStore, *, keep: bool) -> Outputs:
    """The outputs of a model whose features are at hand."""
    images = store.images(clip, dataset, "test", keep=keep).cpu().numpy()
    names = dataset.class_names
    weights = store.classifier(clip, names, dataset.templates).cpu().numpy() if names else images[:0]
    return Outputs(images.astype(np.float16), weights.astype(np.float32), clip.refused)


def stand_in(outputs: Outputs, preprocessing: Preprocessing, name: str) -> Clip:
    """A stand-in for the model of some outputs: it says what that refuses, and has no weights."""
    return Clip(nn.Identity(), no_tokens, preprocessing, name, refused=outputs.refused)


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
        self._outputs = {id(clip): output for clip, output in outputs}

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
        embeddings = torch.from_numpy(self._outputs[id(clip)].images.astype(np.float32))
        return nn.functional.normalize(embeddings, dim=-1)

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
