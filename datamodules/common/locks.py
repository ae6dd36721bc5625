"""One process at a time, where the file system has locks.

A lock only saves work: two processes that make the same file at once make it equal, and each puts it in place whole.
So where there are no locks (some network disks, a folder that cannot be written) the work is done without, and a
process that was killed never leaves one behind that others wait for, as files that stand for a lock would.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from datamodules.common.kept_files import shortened

_HELD = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR}
ASK_SECONDS = 1.0
"""How often a waiting process asks whether it is to go on waiting; our choice."""


@contextmanager
def alone(path: Path, *, waiting: Callable[[], None] | None = None, ask_seconds: float = ASK_SECONDS) -> Iterator[None]:
    """Hold the lock of a file, `.NAME.lock` beside it, while the block runs.

    Args:
        path: The file that will be made; its folder is made if it can be.
        waiting: Called while another process holds the lock; it may raise.
        ask_seconds: Between two calls of `waiting`.
    """
    file = path.with_name(f".{shortened(path.name)}.lock")
    if not has_locks(file):
        yield
        return
    lock = FileLock(file)
    while not lock.is_locked:
        try:
            lock.acquire(timeout=ask_seconds)
        except Timeout:
            if waiting is not None:
                waiting()
        except (OSError, NotImplementedError):
            break
    try:
        yield
    finally:
        if lock.is_locked:
            with suppress(OSError):  # nothing is left lying about; who waits for it finds the file made
                file.unlink()
            lock.release()


def has_locks(file: Path) -> bool:
    """Whether a file can be made here and locked; a lock that another process holds counts."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError:
        return False
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    except ImportError:
        return True  # Windows: its locks are part of every file system that it writes
    except OSError as error:
        if error.errno in _HELD:
            return True
        with suppress(OSError):
            file.unlink()
        return False
    finally:
        os.close(descriptor)
    return True
