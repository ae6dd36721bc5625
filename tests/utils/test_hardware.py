"""What a run says to the chip."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import benchmark.utils.hardware, torch
torch.set_num_threads(2)
small = torch.full((1 << 20,), 2e-38)
print((small * 0.1).count_nonzero().item(), (small * 2).count_nonzero().item())
"""


@pytest.mark.parametrize(("said", "left"), [("1", 0), ("0", 1 << 20)])
def test_numbers_too_small_to_be_normal_count_as_zero_in_every_thread_if_it_is_said(said: str, left: int) -> None:
    """In processes of their own: torch starts its threads once, and here others may have started them before."""
    environment = {**os.environ, "CLIP_UNLEARNING_FLUSH_DENORMAL": said}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == [str(left), str(1 << 20)], done.stderr


def test_the_command_line_says_it() -> None:
    program = (
        "import atexit, os, runpy, sys; sys.argv = ['benchmark', 'list', 'suites'];"
        "atexit.register(lambda: print('said', os.environ.get('CLIP_UNLEARNING_FLUSH_DENORMAL')));"
        "runpy.run_module('benchmark', run_name='__main__')"
    )
    environment = {k: v for k, v in os.environ.items() if k != "CLIP_UNLEARNING_FLUSH_DENORMAL"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert "quick" in done.stdout and done.stdout.splitlines()[-1] == "said 1"
