"""A progress bar for one piece of work, in a terminal and in a notebook; nothing where the output is a file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Bar:
    """What a piece of work tells of itself: its phase, and how many of its steps are done."""

    def __init__(self, drawn: Any) -> None:
        self._drawn = drawn

    def phase(self, name: str) -> None:
        """A phase begins."""
        if self._drawn is not None and name:
            self._drawn.set_postfix_str(name)

    def step(self, done: int, total: int) -> None:
        """So many steps of the phase are done."""
        if self._drawn is not None:
            self._drawn.total = total
            self._drawn.n = done
            self._drawn.refresh()


def _in_notebook() -> bool:
    """Whether this process is a notebook's kernel; a program that only drives kernels has their modules too."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    return shell is not None and "IPKernelApp" in shell.config


@contextmanager
def bar(title: str, *, shown: bool) -> Iterator[Bar]:
    """A bar for the length of a block.

    Args:
        title: What is done.
        shown: False shows nothing.
    """
    if not shown:
        yield Bar(None)
        return
    if not _in_notebook() and not sys.stderr.isatty():
        yield Bar(None)
        return
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a notebook without ipywidgets has the plain bar, and is told so by tqdm
        from tqdm.auto import tqdm

        drawn = tqdm(desc=title, leave=False)
    try:
        yield Bar(drawn)
    finally:
        drawn.close()
