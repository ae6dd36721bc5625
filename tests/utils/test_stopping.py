"""Signals end a command in one way: the first where it stands, the second at once; what is left behind is put back."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmark.utils.stopping import Stopped, asked_status, exit_status, handlers_kept, stop_if_asked, stoppable

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs POSIX signals")
STATUSES = ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129))
SLEEPER = """
import sys, time
import benchmark.cli.parser
from benchmark.__main__ import main

def run_command(arguments):
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        if arguments == ["slow"]:
            print("cleaning", flush=True)
            time.sleep(60)

benchmark.cli.parser.run_command = run_command
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(("number", "status"), STATUSES)
def test_a_signal_is_an_interrupt_with_its_own_status(number: int, status: int) -> None:
    before = [signal.getsignal(each) for each, _ in STATUSES]
    with pytest.raises(KeyboardInterrupt) as stopped, stoppable():
        os.kill(os.getpid(), number)
        time.sleep(1)
    assert exit_status(stopped.value) == status and asked_status() == 0
    assert [signal.getsignal(each) for each, _ in STATUSES] == before


def test_a_stop_that_was_swallowed_is_raised_again() -> None:
    with pytest.raises(Stopped) as stopped, stoppable():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        except KeyboardInterrupt:
            pass  # as Python does with what is raised within a finalizer
        assert asked_status() == 143
        stop_if_asked()
    assert stopped.value.status == 143
    stop_if_asked()


def test_what_the_caller_has_set_and_what_is_ignored_stays() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    hangup = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.05)
        assert heard == [signal.SIGTERM] and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGHUP, hangup)


def test_handlers_that_a_library_sets_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with handlers_kept():
        signal.signal(signal.SIGTERM, lambda *_: None)
    assert signal.getsignal(signal.SIGTERM) == before


def test_children_do_not_outlive_a_stop() -> None:
    with pytest.raises(KeyboardInterrupt), stoppable():
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        child.start()
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
    assert child.exitcode is not None and child.exitcode != 0


def _process(*arguments: str) -> subprocess.Popen[str]:
    made = subprocess.Popen(
        [sys.executable, "-c", SLEEPER, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert made.stdout is not None and made.stdout.readline() == "ready\n"
    return made


@pytest.mark.parametrize(("number", "status"), STATUSES)
def test_a_command_ends_with_the_status_of_its_signal_and_says_how_to_go_on(number: int, status: int) -> None:
    process = _process()
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == status
    assert err == "interrupted; what is finished is kept, run the same command to go on\n"


def test_a_second_signal_ends_at_once() -> None:
    process = _process("slow")
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None and process.stdout.readline() == "cleaning\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGTERM
