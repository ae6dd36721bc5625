"""What the server of processes reads once, so that no process that is forked from it reads it again."""

from __future__ import annotations

from functools import cache

import torchvision.transforms.v2.functional  # noqa: F401 - what prepares images imports it when it first does so
from lightning.fabric.utilities import registry

from benchmark.models.compact import ClipTokenizer
from benchmark.models.open_clip_import import import_open_clip

CALLBACKS = "lightning.pytorch.callbacks_factory"


def _read_callbacks_once() -> None:
    """Which packages bring callbacks: each Trainer asks all that are installed, hundreds of files.

    In a process that unlearns the audit hook looks at each of these files as well: a fifth of a short unlearning. The
    callbacks themselves are made by each Trainer, as before.
    """
    if read := getattr(registry, "entry_points", None):
        registry.entry_points = cache(read)  # type: ignore[assignment, attr-defined]
        registry.entry_points(group=CALLBACKS)  # type: ignore[attr-defined]


import_open_clip()
ClipTokenizer(1)(["a"])
_read_callbacks_once()
