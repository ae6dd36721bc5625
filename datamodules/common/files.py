"""What every data set on disk needs: its folder, checksums of files, and a check of its list of images."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Sequence
from functools import cache
from pathlib import Path
from typing import Literal

from datamodules.common.card import DatasetCard
from datamodules.common.errors import DatasetCorruptError, DatasetNotFoundError
from datamodules.common.text import printable

Algorithm = Literal["md5", "sha256"]


def dataset_folder(card: DatasetCard, data_dir: Path | None) -> Path:
    """The folder that the card names below `data_dir`.

    Raises:
        DatasetNotFoundError: If no data folder was given, or the folder is not in it.
    """
    if data_dir is None or not (data_dir / card.folder).is_dir():
        raise DatasetNotFoundError(card.name, data_dir, f"folder {card.folder}/")
    return data_dir / card.folder


def checksum(path: Path, algorithm: Algorithm) -> str:
    """The hexadecimal digest of a file; kept in memory until its size, times or inode change."""
    status = path.stat()
    return _checksum(path, algorithm, (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino))


@cache
def _checksum(path: Path, algorithm: Algorithm, shown: tuple[int, ...]) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


def file_sizes(folder: Path, names: Sequence[str]) -> dict[str, int]:
    """The size in bytes of each named file below `folder`; a file that is not there is absent."""
    sizes: dict[str, int] = {}
    for name in names:
        try:
            sizes[name] = (folder / name).stat().st_size
        except (OSError, ValueError):  # not there, below a file, or no name that a file can have
            continue
    return sizes


def require_images(card: DatasetCard, folder: Path, names: Sequence[str], sizes: dict[str, int]) -> None:
    """Check that every listed image is among the files found.

    Raises:
        DatasetCorruptError: Naming how many are missing, and the first with its index in `names`.
    """
    outside = [name for name in names if name.startswith("/") or ".." in name.split("/")]
    if outside:
        raise DatasetCorruptError(
            f"data set {card.name!r}: the listed image {printable(outside[0])!r} is not below {folder}: "
            "the list must name files of the data set alone"
        )
    missing = [index for index, name in enumerate(names) if name not in sizes]
    if missing:
        raise DatasetCorruptError(
            f"data set {card.name!r}: {len(missing)} of {len(names)} listed images are missing, first image "
            f"{missing[0]}: {printable(str(folder / names[missing[0]]))}; restore them or fetch the data set again"
        )


def name_share(name: str) -> float:
    """A number in [0, 1) from the SHA-256 of a file name: splits by it stay as they are when images come or go."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32


def share_apart(names: Sequence[str], share: float) -> frozenset[str]:
    """A share of some names, those with the lowest `name_share`: at least one and never all, where there are two."""
    count = min(max(1, round(share * len(names))), len(names) - 1)
    return frozenset(sorted(names, key=lambda name: (name_share(name), name))[: max(0, count)])


def share_of_each(names: Sequence[str], labels: Sequence[Hashable], share: float) -> frozenset[str]:
    """`share_apart` of the names of each label; no name stands under two labels."""
    of_label: dict[Hashable, list[str]] = defaultdict(list)
    for name, label in zip(names, labels, strict=True):
        of_label[label].append(name)
    return frozenset().union(*(share_apart(group, share) for group in of_label.values()))
