"""A data set of the Hugging Face hub by its name: `hf:ORG/NAME` reads its parquet files.

They are looked for in `--data-dir/ORG/NAME` (any depth), then in the hub's cache; what is nowhere is fetched into
`--data-dir/ORG/NAME`. A part is the first word of a file's name: train-00000-of-00004.parquet. The image is the column
of bytes; its class the column of a ClassLabel, whose names stand in the file; its captions the column `caption` or the
like. Where no test part is there val is measured, or else a fifth of the rows, chosen by a hash of their numbers.

Needs pyarrow: the extra `hub`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from datamodules.common.caption_files import CAPTION_KEYS, SPLITS, one_caption
from datamodules.common.card import HUB_SCHEME, DatasetCard
from datamodules.common.class_folders import TEST_SHARE
from datamodules.common.content import content_digest
from datamodules.common.dataset import Dataset, Split, SplitName
from datamodules.common.errors import BenchmarkError, DatasetCorruptError, MissingFilesError
from datamodules.common.files import share_of_each
from datamodules.common.images import Framing, frame_once
from datamodules.common.request import mentioned
from datamodules.common.text import one_line
from datamodules.flickr30k import CONCEPT_NAMES

ROWS_AT_ONCE = 256


class HubSet(Dataset):
    """A data set of the hub; see the module for what of it is read.

    Args:
        repository: ORG/NAME.

    Raises:
        BenchmarkError: If it is nowhere, and cannot be fetched.
        DatasetCorruptError: If its files have no images, or neither classes nor captions.
    """

    def __init__(self, data_dir: Path | None, cache_dir: Path, framing: int | Framing, repository: str) -> None:
        super().__init__(data_dir, cache_dir, framing)
        self._repository = repository
        if repository.count("/") != 1 or ".." in repository or not all(repository.split("/")):
            raise BenchmarkError(f"data set {self.name}: write hf:ORG/NAME, as in hf:uoft-cs/cifar10")
        self.folder = hub_folder(repository, data_dir)
        self._files = _by_part(self.folder)
        schema = _parquet(next(iter(self._files.values()))[0]).schema_arrow
        self._image = _image_column(schema)
        self._features: Mapping[str, Any] = _features(schema)
        labelled = [name for name, about in self._features.items() if about.get("_type") == "ClassLabel"]
        self._label = next(iter(labelled), "")
        self._caption = next((name for name in CAPTION_KEYS if name in schema.names), "")
        if not self._image or not (self._label or self._caption):
            raise DatasetCorruptError(
                f"data set {self.name}: it needs a column of images and one of classes (a ClassLabel) or captions; its "
                f"columns are {', '.join(schema.names)}"
            )
        self.card = DatasetCard(  # type: ignore[misc]
            name="hf",
            title=f"{repository} of the Hugging Face hub",
            tasks=("classification",) if self._label else ("retrieval",),
            source=f"https://huggingface.co/datasets/{repository}",
            folder=repository,
        )

    @property
    def name(self) -> str:
        """`hf:ORG/NAME`."""
        return HUB_SCHEME + self._repository

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The names of the ClassLabel, underscores turned to spaces."""
        names = self._features[self._label]["names"] if self._label else []
        return tuple(str(name).replace("_", " ") for name in names)

    @property
    def templates(self) -> tuple[str, ...]:
        """One of our choice."""
        return ("a photo of a {}.",)

    @cached_property
    def concept_names(self) -> tuple[str, ...]:
        """The frequent nouns of Flickr30K that the captions mention."""
        if self._label:
            return ()
        texts = [text for name in self._files for row in self._column(name, self._caption) for text in _texts(row)]
        return mentioned(texts, CONCEPT_NAMES)

    @property
    def notes(self) -> tuple[str, ...]:
        """How the rows were parted where the files do not say."""
        if "test" in self._files:
            return ()
        what = (
            "the rows of val" if self._part_of else f"{TEST_SHARE:.0%} of the rows, chosen by a hash of their numbers,"
        )
        return (f"data set {self.name}: there is no part test: {what} are measured",)

    @cached_property
    def revision(self) -> str:
        """A digest of the files, and of the code that reads them."""
        names = [path.relative_to(self.folder).as_posix() for paths in self._files.values() for path in paths]
        return self.revision_of(
            content_digest(self.folder, names, self.cache_dir), self.class_names, self.concept_names
        )

    def _load(self, name: SplitName) -> Split:
        part, rows = self._rows(name)
        images = frame_once(
            lambda: self._pictures(part, frozenset(rows)),
            len(rows),
            self.framing,
            self.cache_dir,
            name=f"{self.name}/{name}",
            revision=self.revision,
        )
        values = self._column(part, self._label or self._caption)
        if self._label:
            labels = np.array([values[row] for row in rows], dtype=np.int64)
            if len(labels) and not 0 <= labels.min() <= labels.max() < len(self.class_names):
                raise DatasetCorruptError(
                    f"data set {self.name}: the {part} part has hidden labels ({labels.min()}): remove its files, and "
                    "the rest is parted"
                )
            return Split(name, images, labels=labels)
        return Split(name, images, captions=tuple(tuple(_texts(values[row])) for row in rows))

    @property
    def _part_of(self) -> dict[str, str]:
        """In which part each split stands whole; empty where the rows of one part are parted."""
        if {"train", "test"} <= set(self._files):
            return {part: part for part in self._files}
        return {"train": "train", "test": "val"} if {"train", "val"} <= set(self._files) else {}

    def _rows(self, name: SplitName) -> tuple[str, list[int]]:
        """In which part the rows of a split stand, and which they are."""
        if part := self._part_of.get(name):
            return part, list(range(self._count(part)))
        if name == "val":
            raise BenchmarkError(f"data set {self.name} has no validation part: use train or test")
        part = next(iter(self._files))
        values = self._column(part, self._label) if self._label else [0] * self._count(part)
        tested = share_of_each([str(row) for row in range(len(values))], values, TEST_SHARE)
        return part, [row for row in range(len(values)) if (str(row) in tested) == (name == "test")]

    def _count(self, part: str) -> int:
        return sum(_parquet(path).metadata.num_rows for path in self._files[part])

    def _column(self, part: str, column: str) -> list[Any]:
        return [value for path in self._files[part] for value in _parquet(path).read([column])[column].to_pylist()]

    def _pictures(self, part: str, rows: frozenset[int]) -> Iterator[Image.Image]:
        row = 0
        for path in self._files[part]:
            for batch in _parquet(path).iter_batches(ROWS_AT_ONCE, columns=[self._image]):
                for value in batch.column(0).to_pylist():
                    if row in rows:
                        yield _picture(value, row, self.name)
                    row += 1


def _parquet(path: Path) -> Any:
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise BenchmarkError(
            "data sets of the hub are read with pyarrow: pip install 'clip-unlearning-benchmark[hub]'"
        ) from error
    try:
        return pq.ParquetFile(path)
    except (OSError, ValueError) as error:  # pyarrow's own errors are of these kinds
        raise DatasetCorruptError(
            f"{path} is no whole parquet file ({one_line(str(error))[:80]}); fetch it again"
        ) from error


def hub_folder(repository: str, data_dir: Path | None) -> Path:
    """Where the parquet files are; they are fetched where they are nowhere."""
    if data_dir is not None and any((data_dir / repository).rglob("*.parquet")):
        return data_dir / repository
    from huggingface_hub import snapshot_download

    wanted: dict[str, Any] = {"repo_type": "dataset", "allow_patterns": "*.parquet"}
    for local_only in (True, False):
        try:
            place = None if local_only or data_dir is None else str(data_dir / repository)
            folder = Path(snapshot_download(repository, local_dir=place, local_files_only=local_only, **wanted))
        except Exception as error:  # requests, httpx and the hub have errors of many kinds, none a subclass of one
            if not local_only:
                raise MissingFilesError(
                    f"data set {HUB_SCHEME}{repository}: it is neither in {data_dir or '--data-dir'}/{repository} nor "
                    f"in the hub's cache, and cannot be fetched ({one_line(str(error))[:80]}); by hand: put the parquet"
                    f" files of https://huggingface.co/datasets/{repository} there"
                ) from error
        else:
            if any(folder.rglob("*.parquet")):
                return folder
    raise BenchmarkError(f"data set {HUB_SCHEME}{repository} has no parquet file: only such files are read")


def _by_part(folder: Path) -> dict[str, list[Path]]:
    """The files of each part, in order."""
    parts: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*.parquet")):
        words = [*path.stem.replace("_", "-").replace(".", "-").split("-"), *path.parent.relative_to(folder).parts]
        part = next((SPLITS[word.lower()] for word in words if word.lower() in SPLITS), "train")
        parts.setdefault(part, []).append(path)
    return parts


def _image_column(schema: Any) -> str:
    """The column of images: a struct with bytes, as the hub writes it, or bytes."""
    named = [field.name for field in schema if "binary" in str(field.type)]
    return next(iter(sorted(named, key=lambda name: name not in ("image", "img"))), "")


def _features(schema: Any) -> Mapping[str, Any]:
    """What the hub's library says of the columns."""
    about = (schema.metadata or {}).get(b"huggingface")
    features: Mapping[str, Any] = json.loads(about)["info"]["features"] if about else {}
    return {name: value for name, value in features.items() if isinstance(value, dict)}


def _texts(value: Any) -> Sequence[str]:
    texts = value if isinstance(value, list) else [value]
    return [one_caption(text) for text in texts if isinstance(text, str) and text.strip()]


def _picture(value: Any, row: int, name: str) -> Image.Image:
    content = value.get("bytes") if isinstance(value, dict) else value
    try:
        return Image.open(io.BytesIO(content or b""))
    except (OSError, ValueError) as error:
        raise DatasetCorruptError(
            f"data set {name}: the image of row {row} cannot be read; fetch its file again"
        ) from error
