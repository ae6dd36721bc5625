"""The way of a cell through the modules, told from the calls of a run; a process that unlearns imports this too."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

CARRIERS = frozenset(
    {"Suite", "Plan", "Cell", "Work", "Job", "Answer", "Unlearned", "Made", "Evaluation", "Context", "Record"}
)
"""What a cell is made from, and what it becomes on its way: classes of `benchmark`."""


class Way:
    """Watches the calls of this thread, as `sys.setprofile` wants it.

    Attributes:
        given: The modules of `benchmark` in which a function was given the cell or what stands for it, in order.
        calls: From which module into a function of which other one.
    """

    def __init__(self) -> None:
        self.given: dict[str, None] = {}
        self.calls: set[tuple[str, str, str]] = set()

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        module = _module(frame)
        if event != "call" or not module:
            return
        code = frame.f_code
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        if any(_carries(frame.f_locals.get(name)) for name in names):
            self.given.setdefault(module)
        caller = frame.f_back
        while caller is not None and not _module(caller):  # through libraries: the Trainer, context managers
            caller = caller.f_back
        if caller is not None and _module(caller) != module:
            self.calls.add((_module(caller), module, code.co_qualname))


def _module(frame: FrameType) -> str:
    name = str(frame.f_globals.get("__name__"))
    return name if name.startswith("benchmark.") else ""


def _carries(value: Any) -> bool:
    if isinstance(value, (list, tuple)) and value:
        value = value[0]
    return type(value).__name__ in CARRIERS and type(value).__module__.startswith("benchmark.")


def unlearn_watched(rank: Any) -> None:
    """`unlearn_here` that also tells the parent of its calls."""
    from benchmark.execution.process.unlearning_child import unlearn_here

    way = Way()
    sys.setprofile(way)
    try:
        unlearn_here(rank)
    finally:
        sys.setprofile(None)
    rank.tell("way", list(way.given), [list(call) for call in sorted(way.calls)])
