"""What lies on the disk, by content: a digest of the bytes of a data set's files.

Reading 31,783 photographs takes a minute, so each file's digest is remembered in the cache folder with what shows that
a file has changed: its size, its times and its inode. A file that was changed within the last seconds before it was
read is read again next time: a clock's tick may hide a second change.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from datamodules.common.cache import keep_if_possible
from datamodules.common.kept_files import read_sealed, remove_damaged

RECENT_SECONDS = 2.0
"""The coarsest clock of common file systems; our choice."""
_FOLDER = "digests"
Shown = list[int | str]
"""Size in bytes, time of the last change of the content and of the file, inode, and the digest of the content."""


def content_digest(folder: Path, names: Sequence[str], cache_dir: Path) -> str:
    """A digest of the names and the bytes of files; a file that is not there counts as such.

    Args:
        folder: Where the names begin.
        names: Paths below it.
        cache_dir: Where digests are remembered.
    """
    digest_file = file_of(cache_dir, folder, _FOLDER)
    before = remembered(digest_file)
    with ThreadPoolExecutor(min(32, 2 * (os.cpu_count() or 1))) as pool:
        shown = list(pool.map(lambda name: _shown(folder / name, before.get(name)), names))
    digest = hashlib.sha256()
    for name, entry in sorted(zip(names, shown, strict=True)):
        digest.update(f"{name}\0{entry[-1] if entry else 'missing'}\n".encode(errors="surrogateescape"))
    settled = (time.time() - RECENT_SECONDS) * 1e9
    certain = {n: s for n, s in zip(names, shown, strict=True) if s and max(int(s[1]), int(s[2])) < settled}
    if any(before.get(name) != entry for name, entry in certain.items()):
        keep_if_possible(digest_file, json.dumps({**before, **certain}).encode())
    return digest.hexdigest()


def forget_digests(cache_dir: Path) -> None:
    """Have all files read again at their next use."""
    for folder in (cache_dir / _FOLDER, cache_dir / "readable"):
        for digest_file in folder.glob("*.json") if folder.is_dir() else ():
            remove_damaged(digest_file)


def _shown(path: Path, before: Shown | None) -> Shown | None:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return None  # a pipe or a device would never end
        now: Shown = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        if before is not None and before[:4] == now:
            return before
        with path.open("rb") as stream:
            return [*now, hashlib.file_digest(stream, "sha256").hexdigest()]
    except FileNotFoundError:
        return None


def file_of(cache_dir: Path, folder: Path, kind: str) -> Path:
    """The file of the cache that remembers what was seen of the files of a folder; `kind` is what was seen."""
    name = hashlib.sha256(str(folder.resolve()).encode(errors="surrogateescape")).hexdigest()[:24]
    return cache_dir / kind / f"{name}.json"


def remembered(file: Path) -> dict[str, Shown]:
    """What was seen of each file, by its name below the folder."""
    content = read_sealed(file)
    entries: dict[str, Shown] = {} if content is None else json.loads(content)
    return entries
