"""Standard output and standard error of the command line: any encoding, a pipe that closes, a disk that is full."""

from __future__ import annotations

import io
import os
import re
import sys
from contextlib import suppress
from typing import TextIO

from datamodules.common.text import one_line

CLOSED_PIPE = 141
"""The status of a program whose reader has gone, as shells give it for SIGPIPE."""
BAD_INPUT = 2
_LONG = re.compile(r"\S{400,}")
"""A word that would bury what the line says."""


def prepare() -> None:
    """Make both streams take any text: a sign that the terminal's encoding lacks is replaced, never an error."""
    for name, errors in (("stdout", "replace"), ("stderr", "backslashreplace")):
        stream: TextIO | None = getattr(sys, name)
        if stream is None:  # closed by the shell: `>&-`
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - held until the end
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)


def complain(message: str) -> None:
    """One line on standard error; nothing where that cannot be written."""
    line = _LONG.sub(lambda word: f"{word[0][:160]}...{word[0][-40:]}", one_line(message))
    with suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)  # noqa: T201


def reason(error: BaseException) -> str | None:
    """What went wrong, as one line with what to do; None for an error that is a fault of the program."""
    if isinstance(error, OSError):
        files = " and ".join(f"{name}" for name in (error.filename, error.filename2) if name is not None)
        text = error.strerror or str(error) or type(error).__name__
        return f"{files}: {text}" if files else f"{text}, while the output was written or a file was read"
    if isinstance(error, UnicodeError):
        return f"text that is not in the expected encoding ({error}): save files as UTF-8"
    if isinstance(error, MemoryError) or _no_memory(error):
        return "the memory is not enough: take a smaller model or batch_size, or another --device"
    if isinstance(error, RecursionError):
        return "something in the input is nested too deeply"
    return None


def _no_memory(error: BaseException) -> bool:
    """Whether torch found too little memory: a `RuntimeError` on the CPU, of a class of its own on a GPU."""
    return type(error).__name__ == "OutOfMemoryError" or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def finish(status: int) -> int:
    """Write what is still in the buffers, once; the status of the process.

    Args:
        status: How the command ended. Where its output cannot be written, success becomes an error.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        status = status or CLOSED_PIPE
        _discard(sys.stdout)
    except OSError as error:
        complain(f"error: the output cannot be written: {error.strerror or error}")
        status = status or BAD_INPUT
        _discard(sys.stdout)
    try:
        sys.stderr.flush()
    except OSError:
        _discard(sys.stderr)
    return status


def _discard(stream: TextIO) -> None:
    """Send what a stream still holds to nowhere: at its end the interpreter would complain once more."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
