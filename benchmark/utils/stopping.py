"""Ends that are asked for: Ctrl-C, SIGTERM (a scheduler's time is up) and SIGHUP (the terminal is gone) in one way.

The first signal raises `Stopped` where the program stands, so that what is open is closed, what is finished is kept
and the user is told how to go on. The second ends the process at once. Exit statuses are the shell's: 128 + number.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

SIGNALS = tuple(
    number for name in ("SIGINT", "SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None
)
GRACE_SECONDS = 5.0
"""What child processes get to end by themselves before they are killed; our choice: schedulers wait 30 s or so."""


class Stopped(KeyboardInterrupt):
    """This process was asked to end; whoever handles Ctrl-C handles it.

    Attributes:
        status: The exit status, 128 + the signal's number: 130, 143 or 129.
    """

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(f"signal {int(number)}")
        self.status = 128 + int(number)

    def __reduce__(self) -> tuple[type[Stopped], tuple[int]]:
        return Stopped, (self.status - 128,)


class _Asked:
    """The first signal that asked this process to end; 0 before it."""

    number: int = 0


_ASKED = _Asked()


def exit_status(stop: KeyboardInterrupt) -> int:
    """The exit status of a stop: its signal's, or Ctrl-C's."""
    return stop.status if isinstance(stop, Stopped) else 128 + signal.SIGINT


def stop_if_asked() -> None:
    """Stop now if a signal came whose exception was lost: Python drops what is raised within a finalizer.

    Raises:
        Stopped: If a signal came.
    """
    if _ASKED.number:
        raise Stopped(_ASKED.number)


def asked_status() -> int:
    """The exit status of the signal that came; 0 where none did."""
    return 128 + _ASKED.number if _ASKED.number else 0


@contextmanager
def stoppable() -> Iterator[None]:
    """Within this block signals raise `Stopped`; afterwards they do what they did before, and no child is left.

    A signal that is ignored stays so (`nohup` ignores SIGHUP), and a handler that the caller has set stays. Outside the
    main thread, where Python takes no handlers, signals are left as they are.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = (signal.SIG_DFL, signal.default_int_handler)
    before = {number: handler for number in SIGNALS if (handler := signal.getsignal(number)) in usual}
    _ASKED.number = 0
    for number in before:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        if _ASKED.number:
            end_children()
        for number, handler in before.items():
            signal.signal(number, handler)
        _ASKED.number = 0


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Put the handlers of the signals back that a library replaces within this block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, _: FrameType | None) -> None:
    if _ASKED.number:
        for child in multiprocessing.active_children():
            child.kill()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return
    _ASKED.number = number
    raise Stopped(number)


def end_with_parent() -> None:
    """In a process that another one started through `multiprocessing`: end when that one ends, however it does."""
    threading.Thread(target=_end_after, args=(multiprocessing.parent_process(),), daemon=True).start()


def _end_after(parent: BaseProcess | None) -> None:
    if parent is not None:
        parent.join()
        os._exit(1)


def end_children() -> None:
    """End the processes that this one started through `multiprocessing` and that still run."""
    children: list[Any] = multiprocessing.active_children()
    for child in children:
        child.terminate()
    for child in children:
        child.join(GRACE_SECONDS)
        if child.is_alive():
            child.kill()
            child.join()
