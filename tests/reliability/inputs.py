"""Bad input, by kind: each ends with status 2 and one line on standard error, within five seconds."""

from __future__ import annotations

import random

from tests.reliability.bad_inputs import checkpoints, command_lines, data_folders, plugins, results, suite_files
from tests.reliability.case import Case

KINDS = (command_lines, suite_files, plugins, data_folders, checkpoints, results)


def cases(count: int | None) -> list[Case]:
    """All bad inputs; with a count, so many of them, drawn with a fixed seed."""
    every = [bad.case() for kind in KINDS for bad in kind.bad_inputs()]
    if count is None or count >= len(every):
        return every
    chosen = set(random.Random(0).sample(range(len(every)), count))
    return [case for number, case in enumerate(every) if number in chosen]


FAST = frozenset(
    {
        "run --methods original,,nullspace",
        "run --set nullspace.alpha=no",
        "run --set nullspace.alpha=&a [*a]",
        "run --set nullspace.alpha=0.1 --set nullspace.alpha=0.2",
        "run --shard 0/2",
        "run --device cuda:99",
        "run --methods ''",
        "run --seeds ''",
        "run --shard ''",
        "run --keys ','",
        "plan --model ''",
        "verify --tolerance 'nan'",
        "run --cpus-per-cell '-1'",
        "half a surrogate pair in a path",
        "suite: a pipe",
        "suite: a billion laughs",
        "suite: a Python object",
        "suite: a key twice",
        "suite: deep lists",
        "suite: a class `no`",
        "suite: its own other",
        "suite: a request twice",
        "suite: by_request for an unknown model",
        "suite: a seed beyond 64 bits",
        "plugin: two classes of one card",
        "plugin: a default of the wrong type",
        "plugin: a default that runs something",
        "plugin: a title of escape characters",
        "folder: templates: a name for the place",
        "folder: an escape character in a class",
        "captions: an image above the folder",
        "captions: half a surrogate pair",
        "model: a header of 2**63 bytes",
        "model: offsets that overlap",
        "architecture: a billion layers",
        "archive: a call of os.system",
        "archive: a zip bomb",
        "archive: a memo of 2**31",
        "archive: an attack without a zip",
        "checkpoint bad.pt: a pipe",
        "verify of a record: deep",
        "tuned values: a Python object",
        "leaderboard of a file",
    }
)
