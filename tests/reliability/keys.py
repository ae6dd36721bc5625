"""Every definition of the project changed once, and every module put into other words, in memory.

A changed definition must change the digests of all that uses it (methods, families of measures, data sets, training)
and no other; other words must change none.
"""

from __future__ import annotations

import random
from functools import cache, partial
from pathlib import Path

from datamodules.common.code_closure import ROOT
from tests.code_edits import METHODS, Definition, code, definitions, digests, members, mutated, reworded, sources
from tests.reliability.case import Case

_WORDS = "in other words"


def cases(count: int | None) -> list[Case]:
    """One case for each definition and for each module; with a count, so many of them, drawn."""
    found = [Case(str(each), partial(_changed, each)) for each in definitions()]
    found += [Case(f"{_named(path)} {_WORDS}", partial(_reworded, path)) for path in sources()]
    if count is None or count >= len(found):
        return found
    return random.Random(0).sample(found, count)


def _named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def _before() -> dict[str, str]:
    return digests()


def _changed(definition: Definition, _: Path) -> str:
    own = definition.path.stem
    methods = tuple(dict.fromkeys([*METHODS, *([own] if f"unlearns: {own}" in members() else [])]))
    must = {name for name, reached in members().items() if definition in reached}
    with code({definition.path: mutated(definition)}):
        after = digests(methods)
    did = {name for name in after if after[name] != _before()[name]}
    if wrong := sorted((must & set(after)) ^ did):
        return f"{wrong[0]} {'did not change' if wrong[0] in must else 'changed'}"
    return ""


def _reworded(path: Path, _: Path) -> str:
    with code({path: reworded(path.read_text(encoding="utf-8"))}):
        after = digests(METHODS)
    wrong = sorted(name for name in after if after[name] != _before()[name])
    return f"{wrong[0]} changed" if wrong else ""


FAST = frozenset(
    {
        "benchmark/evaluation/numerics/metrics.py: kravets",
        "benchmark/unlearning/unlearn.py: unlearn",
        "benchmark/evaluation/measures/linear_probe.py: search",
        "benchmark/pretraining/optimizers.py: make_optimizer",
        "benchmark/leaderboards/tables.py: COST_UNITS",
        "datamodules/shapes_world/outlines.py: _star",
        "datamodules/common/synthetic.py: climb",
        "methods/lip.py: lipschitz_loss",
        f"methods/common/clip.py {_WORDS}",
        f"benchmark/unlearning/unlearn.py {_WORDS}",
    }
)
"""One of each kind; `tests/test_keys.py` changes one definition of each module."""
