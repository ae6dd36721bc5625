"""The strengths of attacks on shipped models, chosen before: no machine need choose them again, and all use the same.

How strong an attack is, is chosen for each model and data set on validation images, which takes a small CLIP half a
minute before the first row of a board. What was chosen is a file of the cache under a key of everything that has a say
(`benchmark.evaluation.attack_level`): the weights, the images, the ladder and the code. `chosen_levels.json` holds
such files of the models and data sets of this project, and a session puts them into its cache. One that code, weights
or data have left behind has a key that nothing asks for.

    python -m benchmark.execution.chosen_levels CACHE     # keep those that runs chose in a cache folder

A test chooses one of them again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from datamodules.common.cache import cached_bytes
from datamodules.common.kept_files import read_sealed

FILE = Path(__file__).with_name("chosen_levels.json")
FEATURES = "features"
"""The folder of a cache in which levels lie beside features."""


@cache
def chosen_levels() -> dict[str, dict[str, Any]]:
    """What was chosen, by the name of its file in a cache."""
    levels: dict[str, dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))
    return levels


def bring(folder: Path) -> None:
    """Put the levels into a cache's folder of features; those that are there stay."""
    for name, level in chosen_levels().items():
        cached_bytes(folder / name, json.dumps(level).encode)


def kept_in(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The levels that lie in a cache's folder of features, by name; damaged files are left out."""
    for path in sorted(folder.glob("*-*.json")):
        content = read_sealed(path)
        level = None if content is None else json.loads(content)
        if isinstance(level, dict) and "value" in level:
            yield path.name, level


def main(cache_folder: str) -> None:
    """Write `chosen_levels.json` anew, from a cache."""
    levels = dict(kept_in(Path(cache_folder) / FEATURES))
    lines = [f"  {json.dumps(name)}: {json.dumps(level)}" for name, level in levels.items()]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
