"""`python -m benchmark`: the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from benchmark.utils.waiting import let_threads_sleep

let_threads_sleep()  # before NumPy and PyTorch are imported


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Without the program's name; by default those of the process.

    Returns:
        0; 1 if a cell failed or a comparison did not hold; 2 on bad input, after one clear line; 130, 143 or 129 if
        Ctrl-C, SIGTERM or SIGHUP ended it; 141 if the reader of the output has gone.
    """
    from benchmark.cli.parser import run_command
    from benchmark.utils import streams
    from benchmark.utils.stopping import asked_status, exit_status, stoppable
    from datamodules.common.errors import BenchmarkError

    with stoppable():
        try:
            return run_command(sys.argv[1:] if arguments is None else list(arguments))
        except BenchmarkError as error:
            streams.complain(f"error: {error}")
            return asked_status() or streams.BAD_INPUT
        except BrokenPipeError:
            return asked_status() or streams.CLOSED_PIPE
        except KeyboardInterrupt as stop:
            with suppress(OSError):  # the terminal may be gone
                print("interrupted; what is finished is kept, run the same command to go on", file=sys.stderr)  # noqa: T201
            return exit_status(stop)
        except Exception as error:
            line = streams.reason(error)
            if isinstance(error, OSError) and asked_status():
                return asked_status()
            if line is None:
                raise
            streams.complain(f"error: {line}")
            return streams.BAD_INPUT


def console() -> int:
    """The command line as a process of its own: what is set here for the chip is not for callers of `main`."""
    os.environ.setdefault("CLIP_UNLEARNING_FLUSH_DENORMAL", "1")  # see benchmark.utils.hardware; workers inherit it
    from benchmark.utils import streams

    streams.prepare()
    try:
        status = main()
    except SystemExit as end:  # --help, and rich where the reader has gone
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    return streams.finish(status)


if __name__ == "__main__":
    sys.exit(console())
