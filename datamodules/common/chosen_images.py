"""Data sets as they serve requests by images: which images of the train part are meant, and on what they are measured.

Only the train part has the images to forget, so a model is measured on these themselves; the images to retain are the
test images.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from datamodules.common.changed import ChangedDataset
from datamodules.common.dataset import Dataset, Split, SplitName
from datamodules.common.errors import RequestError
from datamodules.common.guard import check_read
from datamodules.common.image_request import ImagesRequest
from datamodules.common.images import ImageArray
from datamodules.common.narrowed import whole
from datamodules.common.request import ForgetRequest

if TYPE_CHECKING:
    from torch import Tensor


def train_files(dataset: Dataset) -> tuple[str, ...]:
    """The path of each image of the train part, in the order of its rows; empty where the images are no files.

    A data set of another kind says them itself, as a property `train_files`, if it keeps images in files.
    """
    from datamodules.common.captioned import CaptionedDataset  # here: no process that unlearns may have read these
    from datamodules.common.split_file import SplitFileDataset

    dataset = whole(dataset)
    match dataset:
        case SplitFileDataset():
            return tuple(path for path, _, _ in dataset._items["train"])
        case CaptionedDataset():
            return tuple(file for file, _, _ in dataset._entries_of("train"))
        case _:
            return tuple(getattr(dataset, "train_files", ()))


def train_rows(dataset: Dataset, images: Sequence[str | int]) -> tuple[int, ...]:
    """The rows of the train part that a request names, ascending, each once.

    Raises:
        RequestError: If an image is not there, or a path fits several.
    """
    files = train_files(dataset)
    count = len(files) or len(dataset.split("train").images)
    rows = {_row(dataset, image, files, count) for image in images}
    if len(rows) == count:
        raise RequestError(f"the request forgets every train image of {dataset.name!r}: nothing would be retained")
    return tuple(sorted(rows))


def _row(dataset: Dataset, image: str | int, files: Sequence[str], count: int) -> int:
    if isinstance(image, int):
        if image >= count:
            raise RequestError(f"data set {dataset.name!r} has {count} train images, 0 to {count - 1}: no row {image}")
        return image
    if not files:
        raise RequestError(
            f"the images of data set {dataset.name!r} are no files: name them by their rows in the train part, "
            f"0 to {count - 1}, not {image!r}"
        )
    wanted = image.replace("\\", "/").removeprefix("./")
    fitting = [row for row, file in enumerate(files) if file == wanted or file.endswith(f"/{wanted}")]
    if len(fitting) > 1:
        raise RequestError(f"{image!r} is several train images of {dataset.name!r}, such as {files[fitting[1]]}")
    if not fitting:
        near = difflib.get_close_matches(wanted, files, n=1, cutoff=0.5) or [files[0]]
        raise RequestError(f"{image!r} is no train image of {dataset.name!r}; one is {near[0]!r}")
    return fitting[0]


class ServesImages(Dataset):
    """A data set that understands requests by images: whatever asks it for names need not know of them."""

    def resolved(self, request: ForgetRequest) -> ForgetRequest:
        """The request in the words of this data set; the names beside chosen images are resolved as any others."""
        if not isinstance(request, ImagesRequest) or not request.names:
            return super().resolved(request)
        names = super().resolved(ForgetRequest(request.classes, request.concept, request.words))
        return ImagesRequest.of(request.images, names)

    def names_for(self, request: ForgetRequest) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The names to forget, perhaps none, and the names to retain."""
        if not isinstance(request, ImagesRequest):
            return super().names_for(request)
        if request.names:
            return super().names_for(ForgetRequest(request.classes, request.concept, request.words))
        return (), self.class_names or self.concept_names


class ChosenImagesDataset(ServesImages, ChangedDataset):
    """A data set as it serves one request by images.

    Its train part is the data set's. Its test part begins with the images to forget, as the train part has them, which
    the test images follow: these are to be retained.

    Args:
        base: The data set.
        request: Chooses of its train images.

    Raises:
        RequestError: If an image is not there, or a path fits several.
    """

    def __init__(self, base: Dataset, request: ImagesRequest) -> None:
        super().__init__(base)
        self.rows = train_rows(base, request.images)
        files = train_files(base)
        self._images = tuple(files[row] if files else row for row in self.rows)

    @cached_property
    def revision(self) -> str:
        """The data set's, and which images are chosen."""
        return f"{self.base.revision}-images-{','.join(map(str, self.rows))}"

    @property
    def gallery_size(self) -> int | None:
        """The data set's, and the chosen images."""
        size = self.base.gallery_size
        return None if size is None else size + len(self.rows)

    def resolved(self, request: ForgetRequest) -> ForgetRequest:
        """The request with each image by its path, or by its row where images are no files, in the order of rows."""
        request = super().resolved(request) if request.names else request
        return replace(request, images=self._images) if isinstance(request, ImagesRequest) else request

    def forget_mask(self, split: Split, request: ForgetRequest) -> NDArray[np.bool_]:
        """Which images of a split are the chosen ones. Shape (N,)."""
        mask = np.zeros(len(split.images), dtype=bool)
        if split.name == "train":
            mask[list(self.rows)] = True
        elif split.name == "test":
            mask[: len(self.rows)] = True
        return mask

    def _load(self, name: SplitName) -> Split:
        split = self.base.split(name)
        if name != "test":
            return split
        train, rows = self.base.split("train"), np.asarray(self.rows, dtype=np.int64)
        images = _Joined(train.images, rows, split.images, name=f"{split.images.name}-{_digest(self.revision)}")
        labels = captions = None
        if train.labels is not None and split.labels is not None:
            labels = np.concatenate([train.labels[rows], split.labels])
        if train.captions is not None and split.captions is not None:
            captions = (*(train.captions[row] for row in self.rows), *split.captions)
        return Split(name, images, labels, captions)


def serving(dataset: Dataset, request: ForgetRequest) -> Dataset:
    """A data set as it serves a request: itself, but for a request by images.

    Raises:
        RequestError: If the data set does not have these images.
    """
    return ChosenImagesDataset(dataset, request) if isinstance(request, ImagesRequest) else dataset


class _Joined(ImageArray):
    """Some images of one array, then all of another."""

    def __init__(self, first: ImageArray, rows: NDArray[np.int64], second: ImageArray, *, name: str) -> None:
        super().__init__(np.empty((0, 3, first.size, first.size), dtype=np.uint8), name=name)
        self._first, self._rows, self._second = first, rows, second

    def __len__(self) -> int:
        return len(self._rows) + len(self._second)

    def read(self, indices: Sequence[int] | NDArray[np.int64]) -> Tensor:
        """The images at these places, as `ImageArray.read` gives them."""
        import torch

        places = np.asarray(indices, dtype=np.int64)
        check_read(self.name, places)
        chosen = places < len(self._rows)
        pixels = torch.empty((len(places), 3, self.size, self.size), dtype=torch.uint8)
        if chosen.any():
            pixels[torch.from_numpy(chosen)] = self._first.read(self._rows[places[chosen]])
        if not chosen.all():
            pixels[torch.from_numpy(~chosen)] = self._second.read(places[~chosen] - len(self._rows))
        return pixels


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
