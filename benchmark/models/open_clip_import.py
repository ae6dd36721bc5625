"""open_clip without Weights & Biases: its import brings in timm, which imports wandb wherever that is installed.

That costs half a second in each process, and a wandb that is broken would stop commands that never asked for it. timm
does without where wandb cannot be imported, so for the time of timm's import it cannot. `--wandb` imports it before.
"""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from types import ModuleType
from typing import cast

_LOCK = threading.Lock()


def import_open_clip() -> ModuleType:
    """The package open_clip; wandb is imported with it by nobody."""
    with _LOCK:
        modules = cast(dict[str, ModuleType | None], sys.modules)
        if "open_clip" not in modules and "wandb" not in modules:
            modules["wandb"] = None  # import statements then raise ModuleNotFoundError
            try:
                with suppress(ImportError):  # without timm open_clip does without it, too
                    import timm.utils  # noqa: F401
            finally:
                del modules["wandb"]
        import open_clip

    return cast(ModuleType, open_clip)
