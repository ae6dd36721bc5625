"""Full disks, two containers on one folder, writers that are killed: nothing half is ever believed.

A limit on the size of files stands for a full disk wherever it need not be a real one; a small file system in memory is
one, where it may be mounted. Processes whose `os.getpid` says the same stand for two containers.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from functools import partial
from pathlib import Path

from datamodules.common.kept_files import sweep
from tests.disk_work import LIMIT_BYTES, WRITERS, Child, check, make, write_for_ever, write_without_room
from tests.reliability.case import Case

SHARED = ("decoded images", "drawn images", "features", "synthetic set", "retrained model")
KILLED = ("record", "decoded images", "weights", "training checkpoint", "report")
FAST = frozenset(
    {
        "a full disk: record",
        "a full disk: decoded images",
        "two containers: decoded images",
        "a writer killed: record (0)",
        "no locks: retrained model",
    }
)


def cases(count: int | None) -> list[Case]:
    """Every writer on a full disk, every cache shared by two, no locks, and so many kills (50 by default)."""
    found = [Case(f"a full disk: {kind}", partial(_full, kind)) for kind in WRITERS]
    found += [Case(f"a full file system: {kind}", partial(_mounted, kind)) for kind in WRITERS]
    found += [Case(f"two containers: {kind}", partial(_two, kind)) for kind in SHARED]
    found += [Case(f"no locks: {kind}", partial(_no_locks, kind)) for kind in SHARED]
    kills = 50 if count is None else max(1, count - len(found))
    return found + [
        Case(f"a writer killed: {_killed(n)} ({n // len(KILLED)})", partial(_kill, n)) for n in range(kills)
    ]


def _killed(number: int) -> str:
    return KILLED[number % len(KILLED)]


def _full(kind: str, folder: Path) -> str:
    """A file above the limit on sizes is refused in one clear line, and nothing is left of it."""
    return _clear(Child.of(partial(write_without_room, kind, folder, LIMIT_BYTES)).end(), folder)


def _mounted(kind: str, folder: Path) -> str:
    """The same on a real file system of that size, where one may be mounted."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={LIMIT_BYTES}", "tmpfs", str(folder)]
    try:
        if subprocess.run(mount, capture_output=True).returncode:
            return ""
    except OSError:
        return ""
    try:
        return _clear(Child.of(partial(write_without_room, kind, folder, None)).end(), folder)
    finally:
        subprocess.run(["umount", str(folder)], capture_output=True)


def _clear(answer: str, folder: Path) -> str:
    if not re.match(r"refused: .*disk of .* is full|went on", answer):
        return answer
    left = [path.name for path in folder.rglob("*") if ".tmp" in path.name]
    return f"left: {left}" if left else ""


def _two(kind: str, folder: Path, *, locks: bool = True) -> str:
    """Two processes of one number make the same files at once: both get them whole."""
    children = [Child.of(partial(make, kind, folder, locks)) for _ in range(2)]
    answers = {child.end() for child in children}
    if len(answers) != 1 or not re.fullmatch("[0-9a-f]{64}", *answers):
        return f"they made {answers}"
    return "left: temporary files" if list(folder.rglob("*.tmp")) else ""


def _no_locks(kind: str, folder: Path) -> str:
    return _two(kind, folder, locks=False)


def _kill(number: int, folder: Path) -> str:
    """A writer that writes over and over dies at some moment: what is there is whole, what it left can be swept."""
    kind, moment = _killed(number), random.Random(number)
    child = Child.of(partial(write_for_ever, kind, folder))
    if child.answers.readline() != "writing\n":
        return child.end()
    time.sleep(moment.uniform(0.01, 0.15))
    os.kill(child.process, signal.SIGKILL)
    if child.end() != "ended by SIGKILL":
        return "the writer ended before it was killed"
    wrong = check(kind, folder)
    for each in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        sweep(each, older_than_seconds=0.0)
    left = [path.name for path in folder.rglob("*") if ".tmp" in path.name]
    return wrong or (f"not swept: {left}" if left else "")
