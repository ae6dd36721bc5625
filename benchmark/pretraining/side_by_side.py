"""Several trainings at once: small models fill a core each better than many cores one after another."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from threading import Lock, Thread
from typing import TYPE_CHECKING, Protocol

from benchmark.pretraining.train import ProgressCallback
from benchmark.utils.stopping import end_with_parent

if TYPE_CHECKING:
    from multiprocessing.queues import Queue
    from multiprocessing.synchronize import Event

WORKER_BYTES = 3 * 2**30
"""Memory that a training of a small CLIP may need, PyTorch itself included; our choice, twice what ours take."""
REPORT_SECONDS = 0.5


class Training(Protocol):
    """A model that is trained once and kept; it must survive pickling."""

    @property
    def title(self) -> str:
        """For messages."""

    @property
    def path(self) -> Path:
        """Where it is kept."""

    def train(self, progress: ProgressCallback | None = None) -> None:
        """Train it, if it is not there, and keep it."""


@dataclass(frozen=True)
class Shares:
    """How many trainings run at once, and on how many threads each."""

    workers: int
    threads: int


def shares(
    trainings: int, *, cores: int | None = None, memory: int | None = None, bytes_each: int = WORKER_BYTES
) -> Shares:
    """How a machine is shared out among trainings: as many at once as there are cores and memory, at least one.

    Args:
        trainings: How many there are.
        cores: Of the machine; by default those that this process may use.
        memory: Bytes that are free; by default what the system says, where it says it.
        bytes_each: Memory that one may need.
    """
    cores, memory = cores or usable_cores(), memory or free_memory()
    fit = trainings if memory is None else memory // bytes_each
    workers = max(1, min(trainings, cores, fit))
    return Shares(workers, max(1, cores // workers))


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory() -> int | None:
    """Bytes of memory that are available (`MemAvailable` of Linux); None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None


class _StoppedError(Exception):
    """The run is being stopped."""


def train_side_by_side(
    trainings: Sequence[Training], share: Shares, on_progress: Callable[[int, float], None]
) -> list[tuple[Training, str]]:
    """Train in processes of their own; a training that is stopped goes on from its checkpoint the next time.

    Ctrl-C stops all of them and is raised again. If this process is killed, its workers end by themselves.

    Args:
        trainings: What to train.
        share: How many at once, and with how many threads.
        on_progress: Told how many are done and which part of all steps is.

    Returns:
        Those that failed, with the first line of their error.
    """
    spawn = multiprocessing.get_context("spawn")
    reports, stop = spawn.Queue(), spawn.Event()
    parts, ended, failed = [0.0] * len(trainings), set[int](), []
    pool = ProcessPoolExecutor(share.workers, spawn, _begin, (share.threads, reports, stop))
    listening, telling = True, Lock()

    def tell(number: int, part: float) -> None:
        with telling:
            parts[number] = max(part, parts[number])  # a report may come after the end
            on_progress(len(ended), sum(parts) / len(parts))

    def listen() -> None:
        while listening:
            with contextlib.suppress(Empty):
                tell(*reports.get(timeout=REPORT_SECONDS))

    listener = Thread(target=listen, daemon=True)
    listener.start()
    try:
        running = {pool.submit(_train, number, training): number for number, training in enumerate(trainings)}
        for future in as_completed(running):
            number = running[future]
            try:
                why = future.result()
            except BrokenProcessPool:
                why = "its process was killed (out of memory?)"
            if why:
                failed.append((trainings[number], why))
            ended.add(number)
            tell(number, 1.0)
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
        listening = False
        listener.join()
    return failed


_reports: Queue[tuple[int, float]]
_stop: Event


def _begin(threads: int, reports: Queue[tuple[int, float]], stop: Event) -> None:
    """In a worker, once: few threads; Ctrl-C is left to the process that started it, and its end is the worker's."""
    global _reports, _stop
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    _reports, _stop = reports, stop
    end_with_parent()


def _train(number: int, training: Training) -> str:
    """In a worker: one training; says how far it is, and stops where the run is being stopped.

    Returns:
        Why it failed, in one line; empty if it did not. (Not every error survives pickling.)
    """
    last_report = 0.0

    def progress(step: int, steps: int, _: float) -> None:
        nonlocal last_report
        if _stop.is_set():
            raise _StoppedError
        if time.monotonic() - last_report > REPORT_SECONDS:
            last_report = time.monotonic()
            _reports.put((number, step / steps))

    try:
        training.train(progress)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other trainings go on
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return ""
