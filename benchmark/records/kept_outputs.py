"""What a model gave for each test image, kept beside its record, so that a later measure needs no second run.

`KEY.npz` beside `KEY.json`: unit-norm image embeddings (half precision), the zero-shot classifier where there are
classes, and the names that the model refuses. Labels and forget flags belong to the data set, which has a revision.
They are not compressed: embeddings look random, so it saves a twentieth of the size and takes most of the time.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodules.common.kept_files import read_sealed


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

    def to_bytes(self) -> bytes:
        """As the file holds it, before it is sealed."""
        stream = io.BytesIO()
        np.savez(stream, images=self.images, classifier=self.classifier, refused=np.array(self.refused, dtype=np.str_))
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
