"""Digests of the project's code that were made before: to read the syntax of two hundred files takes a second.

They are taken from the cache where every file of the packages has the size, the time and the inode that it had, as
the digests of data files are. Those of files outside the project (plugins) are made each time.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datamodules.common.cache import keep_if_possible
from datamodules.common.code_closure import Code
from datamodules.common.kept_files import read_sealed
from datamodules.common.meaning import PACKAGES


@contextmanager
def remembered(code: Code, cache_dir: Path, *, read_again: bool = False) -> Iterator[None]:
    """Let the digests that are asked for within the block be taken from the cache, and keep those that are made.

    Args:
        code: The code of this process.
        cache_dir: The cache.
        read_again: Make all of them again.
    """
    if not code.as_on_disk:
        yield
        return
    signatures = code.signatures(path for package in PACKAGES for path in (code.root / package).rglob("*.py"))
    state = [str(code.root), sys.version, sorted((str(path), *seen) for path, seen in signatures.items())]
    file = cache_dir / "code" / f"{hashlib.sha256(json.dumps(state).encode()).hexdigest()[:32]}.json"
    before = {} if read_again else _read(file)
    code.know(signatures, before)
    yield
    if code.known != before:
        keep_if_possible(file, json.dumps(code.known, sort_keys=True).encode())


def _read(file: Path) -> dict[str, str]:
    try:
        content = json.loads(read_sealed(file) or b"{}")
    except ValueError:
        return {}
    return {str(name): str(digest) for name, digest in content.items()}
