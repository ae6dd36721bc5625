"""The cache: sealed files that can be made again, so a damaged one is removed and made again.

Whoever needs a file says how it is made; one process at a time makes it, others wait and find it. See
`datamodules.common.kept_files` for how it is written and when it counts as whole.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from datamodules.common.kept_files import (
    CannotWriteError,
    is_there,
    is_whole,
    read_sealed,
    remove_damaged,
    replace_sealed,
    sealed_file,
)
from datamodules.common.locks import alone

_log = logging.getLogger(__name__)

Whole = Callable[[Path], bool]


def ensure(
    path: Path, make: Callable[[], None], *, whole: Whole = is_whole, waiting: Callable[[], None] | None = None
) -> bool:
    """Have a file made unless it is there and whole; one note says when it was damaged.

    Args:
        path: The file.
        make: Writes it, whole or not at all.
        whole: Says whether it is; by default by its seal.
        waiting: Called every second while another process makes it; it may raise.

    Returns:
        Whether it was there.
    """
    if whole(path):
        return True
    with alone(path, waiting=waiting):
        if whole(path):  # another process made it meanwhile
            return True
        _remove_if_damaged(path)
        make()
    return False


def cached_array(path: Path, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """An array of the cache, memory-mapped and read-only; made first where it is not there whole."""
    ensure(path, lambda: save_array(path, make()))
    return _mapped(path)


def cached_rows(
    path: Path, shape: tuple[int, ...], dtype: DTypeLike, rows: Callable[[], Iterator[NDArray[Any]]]
) -> NDArray[Any]:
    """Like `cached_array`, for one that does not fit into memory.

    Args:
        path: The file.
        shape: Of the array.
        dtype: Of the array.
        rows: Gives its rows in order, each of the shape `shape[1:]`.
    """
    ensure(path, lambda: _write_rows(path, shape, np.dtype(dtype), rows()))
    return _mapped(path)


def cached_bytes(path: Path, make: Callable[[], bytes]) -> tuple[bytes, bool]:
    """The content of a file of the cache, made first where it is not there whole, and whether it was there.

    What is made is at hand: where it cannot be kept, one note says so and the work goes on.
    """
    content = read_sealed(path)
    if content is not None:
        return content, True
    with alone(path):
        content = read_sealed(path)
        if content is not None:
            return content, True
        _remove_if_damaged(path)
        content = make()
        keep_if_possible(path, content)
    return content, False


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array as a sealed `.npy` file.

    Raises:
        CannotWriteError: If the disk is full or refuses it.
    """
    replace_sealed(path, array_bytes(array))


def load_array(path: Path) -> NDArray[Any] | None:
    """The array of a sealed `.npy` file; None, with a note, where it is damaged, and None where there is none."""
    content = read_sealed(path)
    if content is None:
        _remove_if_damaged(path)
        return None
    array: NDArray[Any] = np.load(io.BytesIO(content), allow_pickle=False)
    return array


def array_bytes(array: NDArray[Any]) -> bytes:
    """An array as a `.npy` file holds it."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def keep_if_possible(path: Path, content: bytes) -> None:
    """Write a sealed file of what is at hand anyway; where that fails one note says so, and the work goes on."""
    try:
        replace_sealed(path, content)
    except CannotWriteError as error:
        _log.warning("note: nothing is kept for the next run: %s", error)


def _remove_if_damaged(path: Path) -> None:
    if is_there(path):
        _log.warning("note: %s is damaged or of another version: %s, it is made again", path, remove_damaged(path))


def _mapped(path: Path) -> NDArray[Any]:
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def _write_rows(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], rows: Iterator[NDArray[Any]]) -> None:
    head = io.BytesIO()
    description = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(head, description)
    size_bytes = len(head.getvalue()) + int(np.prod(shape)) * dtype.itemsize
    with sealed_file(path, size_bytes=size_bytes) as stream:
        stream.write(head.getvalue())
        for row in rows:
            stream.write(np.ascontiguousarray(row, dtype=dtype).tobytes())
