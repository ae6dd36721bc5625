"""What a run says to the chip."""

from __future__ import annotations

import subprocess
import sys


def test_numbers_too_small_to_be_normal_count_as_zero_in_every_thread() -> None:
    """In a process of its own: torch starts its threads once, and here others may have started them before."""
    program = """
import benchmark.hardware, torch
torch.set_num_threads(2)
small = torch.full((1 << 20,), 2e-38)
print((small * 0.1).count_nonzero().item(), (small * 2).count_nonzero().item() == small.numel())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "True"], done.stderr
