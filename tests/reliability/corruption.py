"""Damaged files of every kind that is kept: none is believed, and none stops the rest.

Each case makes two whole files of a kind, damages one, and uses both: the damaged one must count as not there (or come
back just as it was, where the damage hit nothing that is read), the other one must be read as ever.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.damages import DAMAGES, DRAWN
from tests.kept_kinds import KINDS
from tests.reliability.case import Case

FAST_KINDS = ("record", "outputs", "weights", "decoded images", "features", "training checkpoint", "ledger", "extras")
FAST = frozenset(
    [f"{kind}: {damage}" for kind in ("record", "outputs") for damage in DAMAGES]
    + [f"{kind}: {damage}" for kind in FAST_KINDS[2:] for damage in ("a bit flipped", "a zeroed tail", "unreadable")]
    + [f"{kind}: a bit flipped" for kind in KINDS]
)


def cases(count: int | None) -> list[Case]:
    """Every damage of every kind of file once; with a count, so many, the further ones with other seeds."""
    found = [_case(kind, damage, 0) for kind in KINDS for damage in DAMAGES if not _is_no_damage(kind, damage)]
    if count is None:
        return found
    drawn = [(kind, damage) for damage in DRAWN for kind in KINDS]
    further = range(count - len(found))
    return found[:count] + [_case(*drawn[i % len(drawn)], 1 + i // len(drawn)) for i in further]


def _is_no_damage(kind: str, damage: str) -> bool:
    """Files that say themselves whose they are: under another name they are what they are."""
    named = ("compact model", "ledger", "tuned values", "extras")
    return kind in named and damage == "the file of another key"


def _case(kind: str, damage: str, seed: int) -> Case:
    return Case(f"{kind}: {damage}{f' ({seed})' if seed else ''}", partial(_run, kind, damage, seed))


def _run(kind: str, damage: str, seed: int, folder: Path) -> str:
    with _quiet():
        made = KINDS[kind](folder)
        mine, other = made.paths
        before = made.read()
        if before[0] is None or before[1] is None:
            return "the whole files are not read"
        DAMAGES[damage](mine, other, random.Random(f"{kind}{damage}{seed}"))
        after = made.read()
        if after[1] != before[1]:
            return "the other file is not read as before"
        if after[0] is not None and after[0] != before[0]:
            return "believed"
        if made.again is None:
            return ""
        made.again()
        return "" if made.read() == before else "it cannot be made again"


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the notes of what is made again."""
    loggers = [logging.getLogger(name) for name in ("datamodules.common.cache", "benchmark.pretraining.checkpoint")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
