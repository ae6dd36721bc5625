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


FAST: frozenset[str] = frozenset()
