"""Folders of images as people have them: which files are images, which parts there are, what is left out and said."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from PIL import Image

from datamodules.common.files import share_apart
from datamodules.common.text import printable

PART_FOLDERS = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "val": ("val", "valid", "validation"),
}
"""By part the folders that are taken for it, the first of them that is there."""
TEST_SHARE = 0.2
"""Of each class, where nobody said which images are measured; our choice."""
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "JPEG2000", "PPM", "MPO")
"""Formats of single pictures; Pillow opens others too, such as MPEG, PDF or EPS."""

Kinds = dict[str, list[str]]
"""By class folder the paths of its images below the folder of the data set, by the alphabet."""


@cache
def image_suffixes() -> frozenset[str]:
    """The suffixes of files that this Pillow can read, in lower case: `.avif` only where it was built with it."""
    suffixes = Image.registered_extensions()
    return frozenset(suffix for suffix, form in suffixes.items() if form in _FORMATS and form in Image.OPEN)


@dataclass
class ClassFolders:
    """The images of a folder by part and class.

    Attributes:
        parts: "train", "test" and "val".
        notes: What was decided or left out, a line each.
    """

    parts: dict[str, Kinds]
    notes: list[str] = field(default_factory=list)


def class_folders(folder: Path) -> ClassFolders:
    """List a folder of class folders, in parts or without.

    Names that begin with a dot are no part of it. Without a test folder the val folder is measured; where one folder of
    classes is all there is, a fifth of each class is.

    Args:
        folder: It holds train, test and val, or the class folders themselves.
    """
    left_out: Counter[str] = Counter()
    roots = {
        part: next((root for name in names if (root := folder / name).is_dir()), None)
        for part, names in PART_FOLDERS.items()
    }
    flat = not any(roots.values())
    parts = {part: _kinds(folder, root, left_out) if root else {} for part, root in roots.items()}
    notes: list[str] = []
    if flat:
        parts["train"] = _kinds(folder, folder, left_out)
    elif not parts["train"] and parts["val"] and roots["test"] is None:
        parts["train"], parts["val"] = parts["val"], {}
    if parts["train"] and roots["test"] is None:
        if parts["val"]:
            parts["test"], parts["val"] = parts["val"], {}
            notes.append("there is no folder test: the images of val are measured")
        else:
            parts["train"], parts["test"] = _parted(parts["train"])
            notes.append(
                f"there is no folder test: {TEST_SHARE:.0%} of the images of each class, chosen by a hash of their "
                f"names, are measured ({_count(parts['test'])} of {_count(parts['train']) + _count(parts['test'])})"
            )
    if left_out:
        suffixes = ", ".join(f"{count} {printable(suffix)}" for suffix, count in sorted(left_out.items()))
        files = "file is" if left_out.total() == 1 else "files are"
        notes.append(f"{left_out.total()} {files} left out, not read as images here: {suffixes}")
    return ClassFolders(parts, notes)


def without(parts: Mapping[str, Kinds], names: Iterable[str]) -> dict[str, Kinds]:
    """The same folders without some files."""
    gone = set(names)
    return {
        part: {kind: [name for name in files if name not in gone] for kind, files in kinds.items()}
        for part, kinds in parts.items()
    }


def _kinds(folder: Path, root: Path, left_out: Counter[str]) -> Kinds:
    """The images of each class folder below a root; what is no image is counted by suffix."""
    kinds: Kinds = {}
    for place in sorted(root.iterdir()):
        if place.name.startswith("."):
            continue
        if place.is_dir():
            kinds[place.name] = [path.relative_to(folder).as_posix() for path in _images(place, left_out)]
        elif place.suffix.lower() in image_suffixes():
            left_out[f"{place.suffix.lower()} in no class folder"] += 1
    return kinds


def _images(kind: Path, left_out: Counter[str]) -> Sequence[Path]:
    """The image files of a class folder and of the folders in it, sorted."""
    images: list[Path] = []
    for where, folders, files in os.walk(kind):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(where, name)
            if name.startswith("."):
                continue
            if path.suffix.lower() in image_suffixes():
                images.append(path)
            else:
                left_out[path.suffix.lower() or "without a suffix"] += 1
    return sorted(images)


def _parted(kinds: Kinds) -> tuple[Kinds, Kinds]:
    """The images to train on and those to measure."""
    tested = {kind: share_apart(files, TEST_SHARE) for kind, files in kinds.items()}
    train = {kind: [name for name in files if name not in tested[kind]] for kind, files in kinds.items()}
    return train, {kind: [name for name in files if name in tested[kind]] for kind, files in kinds.items()}


def _count(kinds: Kinds) -> int:
    return sum(map(len, kinds.values()))
