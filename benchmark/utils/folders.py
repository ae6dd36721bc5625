"""Where files that can be made again are kept."""

from __future__ import annotations

import os
from pathlib import Path

from datamodules.common.errors import BenchmarkError

CACHE_VARIABLE = "CLIP_UNLEARNING_CACHE"


def cache_folder(named: str | Path | None) -> Path:
    """Where decoded images, features and synthetic sets are kept: named, from the environment, or the user's cache."""
    if named:
        return Path(named).expanduser()
    if os.environ.get(CACHE_VARIABLE):
        return Path(os.environ[CACHE_VARIABLE]).expanduser()
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "clip-unlearning-benchmark"


def check_cache(folder: Path) -> None:
    """Check that the cache folder can be written.

    Raises:
        BenchmarkError: If it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise BenchmarkError(f"the cache folder {folder} cannot be written: name another with --cache-dir")
