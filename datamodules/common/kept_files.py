"""Files that are kept: each is written whole or not at all, and those of our own formats say whether they are whole.

`replace_file` and `new_file` write any file: under a temporary name that no other process takes (containers that share
a folder share process numbers too), with its space claimed first where its size is known, flushed to the disk with its
folder, then moved into place. Nothing is ever written through a memory map: a full disk is an error, never a signal.

`replace_sealed` and `sealed_file` write a *sealed* file: the content, then a seal of 96 bytes with its digest. The
digest holds the file's name too, so that a file under another's name is not whole either. Readers of `.npy` and `.npz`
pass over the bytes at the end, so that ordinary tools still read such files. A seal is checked at the first use in a
process; after that the file's size, time and inode stand for it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

from datamodules.common.errors import BenchmarkError

BLOCK_BYTES = 4 << 20
"""Digests are taken block by block, in threads: 1 GB/s and more on each processor core that knows SHA-256."""
OLD_SECONDS = 24 * 3600.0
"""After this time without a change a temporary file is what a killed writer left; our choice."""

_MAGIC = b"\nkept-sha256-1 "
_SEAL_BYTES = 96
_TEMPORARY = re.compile(r"\..*\.[0-9a-f]{32}\.tmp")
_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_RECENT_NS = 2_000_000_000  # a clock's tick or two: a file changed twice within it may show one time

_whole: dict[str, tuple[int, int, int]] = {}
_swept: set[Path] = set()


class CannotWriteError(BenchmarkError):
    """A file that the system does not let be written; what was there is left as it was."""


class DiskFullError(CannotWriteError):
    """A file that the disk, a quota or a limit on the size of files has no room for."""


def replace_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, in place of one of that name; its folder is made.

    Raises:
        DiskFullError: If there is no room for it.
        CannotWriteError: If it cannot be written for another reason.
    """
    with new_file(path, size_bytes=len(content)) as stream:
        stream.write(content)


def replace_sealed(path: Path, content: bytes) -> None:
    """Write a sealed file whole or not at all, in place of one of that name; see `replace_file`."""
    with sealed_file(path, size_bytes=len(content)) as stream:
        stream.write(content)


@contextmanager
def new_file(path: Path, *, size_bytes: int | None = None) -> Iterator[BinaryIO]:
    """A stream to a temporary file that takes the place of `path` when the block ends, or vanishes if it raises.

    Args:
        path: The file; its folder is made.
        size_bytes: How much will be written, where that is known: the room is claimed before anything is written.

    Raises:
        DiskFullError: If there is no room for it.
        CannotWriteError: If it cannot be written for another reason.
    """
    temporary = temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep_once(path.parent)
        with temporary.open("x+b") as stream:
            if size_bytes:
                _claim(stream, size_bytes, path.parent)
            yield stream
            stream.truncate()  # what was claimed and not written
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        if not _is_about(error, temporary, path):
            raise
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def sealed_file(path: Path, *, size_bytes: int) -> Iterator[BinaryIO]:
    """Like `new_file`, and sealed when the block ends; exactly `size_bytes` bytes must be written.

    Raises:
        DiskFullError: If there is no room for it.
        CannotWriteError: If it cannot be written for another reason.
    """
    with new_file(path, size_bytes=size_bytes + _SEAL_BYTES) as stream:
        yield stream
        if stream.tell() != size_bytes:
            raise ValueError(f"{stream.tell()} bytes were written to {path.name} instead of {size_bytes}")
        stream.flush()
        stream.write(_seal(Path(stream.name), size_bytes, path.name))


def is_whole(path: Path) -> bool:
    """Whether a sealed file is there and is, under this name, what was written.

    It is read as a whole at its first use in this process, and again only when its size, time or inode has changed.
    """
    return checked_once(path, _has_seal)


def checked_once(path: Path, check: Callable[[Path], bool]) -> bool:
    """Whether a regular file passes a check, which is made at its first use in this process and after a change.

    Args:
        path: The file.
        check: Reads it; one check a file.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return False
        shown = (status.st_size, status.st_mtime_ns, status.st_ino)
        if _whole.get(str(path)) == shown:
            return True
        passes = check(path)
    except OSError:
        return False
    if passes and time.time_ns() - status.st_mtime_ns > _RECENT_NS:
        _whole[str(path)] = shown
    return passes


def _has_seal(path: Path) -> bool:
    with path.open("rb") as stream:
        size_bytes = stream.seek(0, os.SEEK_END) - _SEAL_BYTES
        if size_bytes < 0:
            return False
        stream.seek(size_bytes)
        return stream.read() == _seal(path, size_bytes, path.name)


def read_sealed(path: Path) -> bytes | None:
    """The content of a sealed file without its seal; None if it is not there or not whole."""
    if not is_whole(path):
        return None
    try:
        return path.read_bytes()[:-_SEAL_BYTES]
    except OSError:
        return None


def read_file(path: Path) -> bytes:
    """The content of a regular file: a pipe or a device in its place would never end.

    Raises:
        OSError: If it cannot be read or is something else.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is not a file")
    return path.read_bytes()


def is_there(path: Path) -> bool:
    """Whether there is anything of that name, readable or not."""
    return os.path.lexists(path)


def move_aside(path: Path, mark: str = ".corrupt") -> Path:
    """Rename what lies at `path`, file or folder, to a free name beside it: `NAME.corrupt`, `NAME.corrupt1` and so on.

    Raises:
        OSError: If the system refuses it.
    """
    number = 0
    while True:
        target = path.with_name(f"{path.name}{mark}{number or ''}")
        try:
            # Claim the name first, so that two processes never take the same one.
            target.mkdir() if path.is_dir() and not path.is_symlink() else target.touch(exist_ok=False)
        except FileExistsError:
            number += 1
            continue
        try:
            return path.replace(target)
        except OSError:
            target.rmdir() if target.is_dir() else target.unlink()
            raise


def remove_damaged(path: Path) -> str:
    """Remove what can be made again; a folder in its place, which we did not make, is set aside.

    Returns:
        What was done, in words.
    """
    _whole.pop(str(path), None)
    try:
        if path.is_dir() and not path.is_symlink():
            return f"set aside as {move_aside(path).name}"
        path.unlink(missing_ok=True)
    except OSError as error:
        return f"it cannot be removed: {error.strerror or error}"
    return "removed"


def temporary_name(path: Path) -> Path:
    """A name beside `path` that no other process takes; what is left under such a name is swept after a day."""
    return path.with_name(f".{shortened(path.name)}.{uuid.uuid4().hex}.tmp")


def shortened(name: str) -> str:
    """A name of at most 160 bytes, so that something may be added to it; file systems allow 255."""
    return os.fsencode(name)[:160].decode(errors="ignore")


def sweep(folder: Path, *, older_than_seconds: float = OLD_SECONDS) -> int:
    """Remove what killed writers left in a folder: files and folders under our temporary names.

    Args:
        folder: Is not searched below.
        older_than_seconds: Since their last change.

    Returns:
        How many were removed.
    """
    removed = 0
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not _TEMPORARY.fullmatch(entry.name):
                continue
            with suppress(OSError):
                if time.time() - entry.stat(follow_symlinks=False).st_mtime < older_than_seconds:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    Path(entry.path).unlink()
                removed += 1
    return removed


def cannot_write(path: Path, error: OSError) -> CannotWriteError:
    """What the system said, as one line that says what to do."""
    if error.errno in _FULL:
        return DiskFullError(
            f"the disk of {path.parent} is full ({error.strerror}): {path.name} was not written; "
            "make room or name another folder"
        )
    return CannotWriteError(f"cannot write {path} ({error.strerror or error}); name another place")


def _is_about(error: OSError, *written: Path) -> bool:
    """Whether an error is of the writing itself, not of what else a caller does while the stream is open."""
    named = {name for name in (error.filename, error.filename2) if name is not None}
    related = {str(part) for path in written for part in (path, *path.parents)}
    return not named or bool({os.fsdecode(name) for name in named if isinstance(name, str | bytes)} & related)


def _claim(stream: BinaryIO, size_bytes: int, folder: Path) -> None:
    """Claim room on the disk, or find that there is none, before anything is written."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(stream.fileno(), 0, size_bytes)
        except OSError as error:
            if error.errno not in {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}:
                raise
        else:
            return
    if shutil.disk_usage(folder).free < size_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _flush_folder(folder: Path) -> None:
    """Make a renaming last; where a folder cannot be flushed (Windows, some network disks) there is nothing to do."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _sweep_once(folder: Path) -> None:
    if folder not in _swept:
        _swept.add(folder)
        sweep(folder)


def _seal(file: Path, size_bytes: int, name: str) -> bytes:
    """The seal of a file's first bytes under a name."""
    digest = hashlib.sha256(f"{name}\n{size_bytes}\n".encode(errors="surrogateescape"))
    starts = range(0, size_bytes, BLOCK_BYTES)
    if len(starts) > 1:
        with ThreadPoolExecutor(min(len(starts), os.cpu_count() or 1, 8)) as pool:
            blocks = list(pool.map(partial(_block_digest, file, size_bytes), starts))
    else:
        blocks = [_block_digest(file, size_bytes, start) for start in starts]
    for block in blocks:
        digest.update(block)
    return (_MAGIC + digest.hexdigest().encode()).ljust(_SEAL_BYTES - 1) + b"\n"


def _block_digest(file: Path, size_bytes: int, start: int) -> bytes:
    wanted = min(BLOCK_BYTES, size_bytes - start)
    with file.open("rb") as stream:
        stream.seek(start)
        content = stream.read(wanted)
    if len(content) != wanted:
        raise OSError(errno.EIO, "the file ends too early")
    return hashlib.sha256(content).digest()
