"""How threads wait for work, to be said before NumPy or PyTorch is imported; imports nothing itself.

A thread that has done its part of a matrix product waits for the next one. Left alone, PyTorch's threads do so in a
loop, and take the core from whoever has work: beside other load a training step took five times as long as with
threads that sleep, and the CPU seconds of a method counted the waiting. (PyTorch's wheels bring GNU's OpenMP, whose
`OMP_WAIT_POLICY` is the standard's; Intel's and LLVM's obey it too.) NumPy's and SciPy's own threads do the same and
starve PyTorch's: on two cores a linear probe of 2,400 images took 16 s with them and half a second without.
"""

from __future__ import annotations

import os

THREADS = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1"}
"""Variables of the environment; what is set already stays."""


def let_threads_sleep() -> None:
    """Say it to this process and those that it starts."""
    for name, value in THREADS.items():
        os.environ.setdefault(name, value)
