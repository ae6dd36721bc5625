"""Fixtures that all rooms share."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache, partial
from importlib.metadata import EntryPoints
from pathlib import Path

import pytest
from filelock import FileLock

MOST_WORKERS = 8
"""Each holds a PyTorch of its own: about a gigabyte."""

os.environ.pop("COLUMNS", None)  # pytest-xdist makes every terminal 80 wide
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before PyTorch is imported, here and in the processes of tests
# A shell starts its background jobs, such as a nightly run of the tests, deaf to Ctrl-C, nohup to SIGHUP, and Python
# keeps that; the tests that send them would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

pytest.register_assert_rewrite("world")


@cache
def _entry_points(path: tuple[str, ...], **params: str) -> EntryPoints:
    return read_entry_points(**params)


# What installed packages say of themselves is read once: each command asks for methods and data sets of other packages,
# and each Trainer for callbacks, a tenth of the time of a fit on a tiny CLIP. Patched before anything imports it.
read_entry_points = importlib.metadata.entry_points
importlib.metadata.entry_points = lambda **params: _entry_points(tuple(sys.path), **params)

if "TESTS_ROUNDING" in os.environ:
    sys.path.insert(0, str(Path(__file__).parent))
    from other_rounding import round_otherwise

    round_otherwise(int(os.environ["TESTS_ROUNDING"]))

SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that one worker fills and all workers of the session read; the others wait for it.

    Args:
        factory: Of temporary folders.
        name: Unique among these folders.
        make: Fills the empty folder that it is given; where it raises, the next worker that asks tries again.
    """
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(folder.with_suffix(".lock")):
        if not folder.with_suffix(".made").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            folder.with_suffix(".made").touch()
    return folder


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """`made_once` with the session's folders, for fixtures of other files."""
    return partial(made_once, tmp_path_factory)


@pytest.fixture(scope="session")
def real_data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real data sets, unpacked once for all workers; the test is skipped where they are not at hand."""
    unpack = SHARED_DATA / "unpack.py"
    if not unpack.is_file():
        pytest.skip("the real data (../shared/data beside the repository) are not here")

    def fill(target: Path) -> None:
        done = subprocess.run([sys.executable, str(unpack), str(target)], capture_output=True, text=True)
        if done.returncode != 0:
            pytest.fail(f"{unpack} failed: {done.stderr[-500:]}")

    return made_once(tmp_path_factory, "real_data", fill)


@pytest.fixture(scope="session", autouse=True)
def sources_stay() -> Iterator[None]:
    """No test changes a file of this project where it lies: each is looked at once, and not for each of the digests of
    code that keys are made of, of which a command makes dozens, over four hundred files each."""
    from datamodules.common import code_closure

    look, signatures = code_closure._signature, dict[Path, code_closure.Signature]()

    def signature(path: Path) -> code_closure.Signature:
        if path in signatures:
            return signatures[path]
        seen = look(path)
        if path.is_relative_to(code_closure.ROOT):
            signatures[path] = seen
        return seen

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(code_closure, "_signature", signature)
        yield


@pytest.fixture(autouse=True)
def handlers_stay() -> Iterator[None]:
    """No test leaves a handler of a signal behind: a later test of this process would not hear of its stop."""
    watched = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in watched}
    yield
    left = {number: handler for number in watched if (handler := signal.getsignal(number)) != before[number]}
    for number in left:
        signal.signal(number, before[number])
    assert not left, f"this test, or a library that it calls, left handlers of signals behind: {left}"


@pytest.fixture(scope="session")
def real_cache_dir(once: Callable[..., Path]) -> Path:
    """A cache for the real data that all workers share: what one of them has decoded the others need not."""
    return once("real_cache", lambda _: None)


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of decoded images that lives as long as the session."""
    return tmp_path_factory.mktemp("cache")


SLOWEST = (
    "test_ray", "test_cli", "test_devices", "test_tune", "test_paper_suites", "test_export", "test_real_suites",
    "test_traps", "test_keys", "test_oracle", "test_report", "test_kill_resume", "test_side_by_side",
    "test_api", "test_notebook", "test_tracking", "test_reliability", "test_contract", "test_verify",
    "test_retraining", "test_processes", "test_audit", "test_docs", "test_endings", "test_nearest",
    "test_bad_input", "test_speed", "test_readme",
)  # fmt: skip
"""Files of half a minute and more, as measured, the slowest first: begun last, one of them would keep one core busy
while the others are done."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slow files first; within a file the order stays."""
    place = {name: number for number, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One process more than there are cores for us, within reason: many tests wait for processes that they started."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores + 1, MOST_WORKERS)
