"""Which image files cannot be read: all of them at once, before any work, and each file looked at once.

A file is decoded to see whether it is whole. What was seen is remembered in the cache folder with what shows that a
file has changed, as the digests of `datamodules.common.content` are.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from datamodules.common.cache import keep_if_possible
from datamodules.common.content import RECENT_SECONDS, file_of, remembered
from datamodules.common.documents import DocumentError, regular_file
from datamodules.common.errors import UnreadableImageError
from datamodules.common.images import pixel_problem
from datamodules.common.text import one_line, printable

_FOLDER = "readable"
SHOWN = 6
"""Files that a message names; the others are counted."""


def unreadable_images(folder: Path, names: Sequence[str], cache_dir: Path) -> dict[str, str]:
    """Why image files cannot be read, by name; empty where all can.

    Args:
        folder: Where the names begin.
        names: Paths below it.
        cache_dir: Where what was seen is remembered.
    """
    memory = file_of(cache_dir, folder, _FOLDER)
    before = remembered(memory)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        seen = list(pool.map(lambda name: _seen(folder / name, before.get(name)), names))
    settled = (time.time() - RECENT_SECONDS) * 1e9
    certain = {
        name: entry
        for name, entry in zip(names, seen, strict=True)
        if len(entry) > 1 and max(int(entry[1]), int(entry[2])) < settled
    }
    if any(before.get(name) != entry for name, entry in certain.items()):
        keep_if_possible(memory, json.dumps({**before, **certain}).encode())
    return {name: str(entry[-1]) for name, entry in zip(names, seen, strict=True) if entry[-1]}


def require_readable(dataset: str, folder: Path, problems: dict[str, str], *, advice: str) -> None:
    """Raise one error that names all unreadable files of a data set, the first few of them with the reason.

    Args:
        dataset: Its name.
        folder: Where the names begin.
        problems: What `unreadable_images` gave.
        advice: What to do, as the end of the message.

    Raises:
        UnreadableImageError: If there is one.
    """
    if not problems:
        return
    named = [f"{printable(name)} ({reason})" for name, reason in list(problems.items())[:SHOWN]]
    more = f" and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    files = "image cannot" if len(problems) == 1 else "images cannot"
    raise UnreadableImageError(
        f"data set {dataset!r}: {len(problems)} {files} be read below {folder}: {', '.join(named)}{more}; {advice}"
    )


def _seen(path: Path, before: list[int | str] | None) -> list[int | str]:
    """Size, times and inode of a file and what is wrong with it; what is wrong alone where it is no file."""
    try:
        regular_file(path)  # a pipe would never end
        status = path.stat()
    except (DocumentError, OSError) as error:
        return [one_line(str(error)).removeprefix(f"{path} ")]
    now: list[int | str] = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
    if before is not None and before[:4] == now:
        return before
    return [*now, image_problem(path)]


def image_problem(path: Path) -> str:
    """Why a file is no whole image that can be shown with 8 bits a channel; empty where it is one."""
    try:
        with Image.open(path) as picture:
            picture.draft(None, (picture.width // 8, picture.height // 8))  # a JPEG is read to its end all the same
            picture.load()
            return pixel_problem(picture)
    except UnidentifiedImageError:
        return "not an image that Pillow knows" if path.stat().st_size else "empty"
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return one_line(str(error)) or type(error).__name__
