"""WebDataset shards: the data set `shards:NAME` is a folder of `.tar` files below `--data-dir`.

    NAME/train/*.tar and NAME/test/*.tar               CLIP_benchmark's layout
    NAME/*.tar                                         parted by the word train, val or test in their names, if any
    NAME/classnames.txt                                with `.cls` files: a class a line, in the order of the numbers
    NAME/zeroshot_classification_templates.txt         or templates.txt; not needed
    NAME/concepts.txt                                  with captions: the concepts to tell apart; not needed

A sample is the files of one name: an image, and `.cls` (its class by number), `.txt` (a caption a line) or `.json`
(with the key `caption`). Where no split is named a fifth of the samples are measured, chosen by a hash of their names.
Compressed tars are to be unpacked first: they cannot be read in parts.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from datamodules.common.caption_files import SPLITS, one_caption
from datamodules.common.card import SHARDS_SCHEME, DatasetCard
from datamodules.common.class_folders import TEST_SHARE, image_suffixes
from datamodules.common.content import content_digest
from datamodules.common.dataset import Dataset, Split, SplitName
from datamodules.common.documents import parse_json, read_text
from datamodules.common.errors import DatasetCorruptError, MissingFilesError
from datamodules.common.files import share_of_each
from datamodules.common.images import Framing, frame_once
from datamodules.common.request import mentioned
from datamodules.common.templates import from_clip_benchmark, template_problem
from datamodules.flickr30k import CONCEPT_NAMES

DEFAULT_TEMPLATES = ("a photo of a {}.",)
TEMPLATES = ("zeroshot_classification_templates.txt", "templates.txt")
_TEXT, _CLASS, _JSON = (".txt", ".caption", ".text"), ".cls", ".json"


@dataclass
class _Sample:
    """One image: where its bytes are, and what stands beside it."""

    key: str
    split: str
    shard: Path
    at: tuple[int, int] | None = None
    label: int | None = None
    captions: list[str] = field(default_factory=list)


class Shards(Dataset):
    """A folder of WebDataset shards; see the module for the layout.

    Args:
        folder: The name of the folder below `data_dir`.

    Raises:
        MissingFilesError: If the folder is not there.
        DatasetCorruptError: If it holds other files than the layout says.
    """

    def __init__(self, data_dir: Path | None, cache_dir: Path, framing: int | Framing, folder: str) -> None:
        super().__init__(data_dir, cache_dir, framing)
        self._name = folder
        place = None if data_dir is None or not folder or ".." in Path(folder).parts else data_dir / folder
        if place is None or not place.is_dir():
            where = "no --data-dir was given" if data_dir is None else f"it is not a folder in {data_dir}"
            raise MissingFilesError(
                f"data set {SHARDS_SCHEME}{folder}: {where}; it is a folder below --data-dir that holds .tar files"
            )
        self.folder = place
        self._shards = sorted(p for p in place.rglob("*.tar") if not p.name.startswith("."))
        if not self._shards:
            packed = next((p.name for p in place.rglob("*.tar.*")), "")
            advice = f"{packed} is compressed: unpack it with gunzip" if packed else "it holds no .tar file"
            raise DatasetCorruptError(f"data set {SHARDS_SCHEME}{folder}: {place}: {advice}")
        samples = [sample for shard in self._shards for sample in self._samples_of(shard)]
        self._stated = all(sample.split for sample in samples)
        self._samples = samples if self._stated else _parted(samples)
        labelled = sum(sample.label is not None for sample in samples)
        if labelled not in (0, len(samples)) or (not labelled and not all(sample.captions for sample in samples)):
            odd = next(s for s in samples if (s.label is None if labelled else not s.captions))
            raise DatasetCorruptError(
                f"data set {SHARDS_SCHEME}{folder}: sample {odd.key} has neither class nor caption"
            )
        self.card = DatasetCard(  # type: ignore[misc]
            name="shards",
            title="your own images in WebDataset shards",
            tasks=("classification",) if labelled else ("retrieval",),
            source="yours",
            folder="NAME",
        )

    @property
    def name(self) -> str:
        """`shards:NAME`."""
        return SHARDS_SCHEME + self._name

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The lines of `classnames.txt`; empty where the samples have captions."""
        if "classification" not in self.card.tasks:
            return ()
        path = self.folder / "classnames.txt"
        if not path.is_file():
            raise DatasetCorruptError(f"data set {self.name}: its samples have numbers of classes: write {path}")
        names = tuple(line.strip() for line in read_text(path).split("\n") if line.strip())
        most = max(sample.label or 0 for sample in self._samples)
        if most >= len(names) or len(set(names)) < len(names):
            raise DatasetCorruptError(
                f"data set {self.name}: {path} has {len(set(names))} names, the classes {most + 1}"
            )
        return names

    @cached_property
    def templates(self) -> tuple[str, ...]:
        """The lines of the template file, {c} read as {}, or one of our choice."""
        path = next((self.folder / name for name in TEMPLATES if (self.folder / name).is_file()), None)
        lines = [] if path is None else [from_clip_benchmark(line.strip()) for line in read_text(path).split("\n")]
        for number, line in enumerate(lines, start=1):
            if problem := line and template_problem(line):
                raise DatasetCorruptError(f"data set {self.name}: {path}, line {number}: {line!r} {problem}")
        return tuple(filter(None, lines)) or DEFAULT_TEMPLATES

    @cached_property
    def concept_names(self) -> tuple[str, ...]:
        """The lines of `concepts.txt`, or the frequent nouns that the captions mention."""
        path = self.folder / "concepts.txt"
        if path.is_file():
            return tuple(dict.fromkeys(line.strip() for line in read_text(path).split("\n") if line.strip()))
        texts = [caption for sample in self._samples for caption in sample.captions]
        return mentioned(texts, CONCEPT_NAMES)

    @property
    def notes(self) -> tuple[str, ...]:
        """How the samples were parted where no name says so."""
        parted = f"no split is named: {TEST_SHARE:.0%} of the samples, chosen by a hash of their names, are measured"
        return () if self._stated else (f"data set {self.name}: {parted}",)

    @cached_property
    def revision(self) -> str:
        """A digest of the shards, names, templates and concepts, and of the code that reads them."""
        names = [shard.relative_to(self.folder).as_posix() for shard in self._shards]
        content = content_digest(self.folder, names, self.cache_dir)
        return self.revision_of(content, self.class_names, self.templates, self.concept_names, self._stated)

    def _load(self, name: SplitName) -> Split:
        samples = [sample for sample in self._samples if sample.split == name]
        if not samples:
            raise DatasetCorruptError(f"data set {self.name} has no {name} split: no shard has it in its name")
        images = frame_once(
            lambda: _pictures(samples),
            len(samples),
            self.framing,
            self.cache_dir,
            name=f"{self.name}/{name}",
            revision=self.revision,
        )
        if self.class_names:
            return Split(name, images, labels=np.array([sample.label for sample in samples], dtype=np.int64))
        return Split(name, images, captions=tuple(tuple(sample.captions) for sample in samples))

    def _samples_of(self, shard: Path) -> list[_Sample]:
        """What one shard holds, in its order; image bytes are only located."""
        words = [*shard.relative_to(self.folder).parts[:-1], *shard.stem.replace("_", "-").replace(".", "-").split("-")]
        split = next((SPLITS[word.lower()] for word in words if word.lower() in SPLITS), "")
        samples: dict[str, _Sample] = {}
        try:
            with tarfile.open(shard, "r:") as tar:
                for member in tar:
                    path = PurePosixPath(member.name)
                    if not member.isfile() or path.name.startswith("."):
                        continue
                    stem, _, kind = path.name.partition(".")
                    kind = f".{kind.lower()}"
                    key = f"{shard.relative_to(self.folder).as_posix()}/{path.parent / stem}"
                    sample = samples.setdefault(key, _Sample(key, split, shard))
                    if kind in image_suffixes():
                        sample.at = member.offset_data, member.size
                    elif kind in (_CLASS, _JSON, *_TEXT):
                        stream = tar.extractfile(member)
                        _annotate(sample, kind, b"" if stream is None else stream.read())
        except (tarfile.TarError, OSError, ValueError) as error:
            raise DatasetCorruptError(
                f"data set {self.name}: {shard} cannot be read: {error}; fetch it again"
            ) from error
        return [sample for sample in samples.values() if sample.at is not None]


def _annotate(sample: _Sample, kind: str, content: bytes) -> None:
    text = content.decode("utf-8", errors="replace").strip()
    if kind == _CLASS:
        sample.label = int(text)
    elif kind == _JSON:
        about = parse_json(content, sample.key)
        value = about.get("caption", about.get("text")) if isinstance(about, dict) else None
        texts = value if isinstance(value, list) else [value]
        sample.captions = sample.captions or [one_caption(v) for v in texts if isinstance(v, str) and v.strip()]
    else:
        sample.captions = [caption for line in text.split("\n") if (caption := one_caption(line))]


def _parted(samples: Sequence[_Sample]) -> list[_Sample]:
    """The samples with a split each; of each class alike."""
    tested = share_of_each([sample.key for sample in samples], [sample.label for sample in samples], TEST_SHARE)
    return [replace(sample, split="test" if sample.key in tested else "train") for sample in samples]


def _pictures(samples: Sequence[_Sample]) -> Iterator[Image.Image]:
    for sample in samples:
        if sample.at is not None:
            with sample.shard.open("rb") as stream:
                stream.seek(sample.at[0])
                yield _opened(stream.read(sample.at[1]), sample.key)


def _opened(content: bytes, key: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(content))
    except (OSError, ValueError) as error:
        raise DatasetCorruptError(f"the image of sample {key} cannot be read; fetch its shard again") from error
