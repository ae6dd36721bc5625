"""Plugin files: what is no Python, what declares nothing, and declarations that contradict themselves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tests.reliability.bad_inputs.asking import Arguments, Bad, run
from tests.world import PLUGIN, SHRINK, write_plugin

GOOD = PLUGIN.format(
    name="stranger", regime="none", edits='"visual projection",', stochastic=False, source="a guess", body=SHRINK
)
FACTOR = 'factor: float = hyper(0.5, low=0.0, source="a guess")'


def _factor(line: str) -> str:
    return GOOD.replace(FACTOR, line)


TEXTS: dict[str, str | bytes] = {
    "empty": "",
    "no card": "x = 1\n",
    "no Python": "CARD = MethodCard(\n",
    "not UTF-8": b"# caf\xe9\nCARD = 1\n",
    "null bytes": b"CARD = 1\0\n",
    "binary": bytes(range(256)) * 10,
    "deep brackets": "CARD = " + "(" * 5000 + "1" + ")" * 5000,
    "a card that is a number": "CARD = 7\n",
    "a card that is None": GOOD.replace("CARD = MethodCard(", "CARD = None\nOTHER = MethodCard("),
    "a card twice": GOOD + "\nCARD = None\n",
    "an unknown regime": GOOD.replace('regime="none"', 'regime="everything"'),
    "an unknown edit": GOOD.replace('"visual projection"', '"optimizer"'),
    "no edits": GOOD.replace('("visual projection",)', "()"),
    "edits as text": GOOD.replace('("visual projection",)', '"visual"'),
    "an unknown field": GOOD.replace("stochastic=False", "stochastic=False, colour=1"),
    "a field missing": GOOD.replace('title="scale the last layer", ', ""),
    "a title that is a number": GOOD.replace('title="scale the last layer"', "title=7"),
    "a title of escape characters": GOOD.replace("scale the last layer", "\\x1b[31m"),
    "a title of half a pair": GOOD.replace("scale the last layer", "\\ud800"),
    "a name with a slash": GOOD.replace('name="stranger"', 'name="../stranger"'),
    "a name with a formula": GOOD.replace('name="stranger"', 'name="=1+1"'),
    "an empty name": GOOD.replace('name="stranger"', 'name=""'),
    "a name that is taken": GOOD.replace('name="stranger"', 'name="ccup"'),
    "a card that opens a file": GOOD.replace("title=", 'title=open("/dev/null") and '),
    "a card that imports": GOOD.replace("title=", 'title=__import__("os") and '),
    "no dataclass": GOOD.replace("@dataclass(frozen=True)\n", ""),
    "a default of the wrong type": _factor('factor: float = hyper("much", source="x")'),
    "a default below its range": _factor('factor: float = hyper(-1.0, low=0.0, source="x")'),
    "a default that is not finite": _factor('factor: float = hyper(float("nan"), source="x")'),
    "a small default out of range": _factor(
        'factor: float = hyper(1.0, low=0.0, source="x", small=-1.0, small_source="y")'
    ),
    "a small default without a source": _factor('factor: float = hyper(1.0, source="x", small=2.0)'),
    "a default that is no choice": _factor('factor: Literal["a", "b"] = hyper("c", source="x")'),
    "a truth value for a number": _factor('factor: int = hyper(True, source="x")'),
    "no default": _factor("factor: float"),
    "no source": _factor("factor: float = hyper(0.5)"),
    "a type that cannot be set": _factor('factor: dict = hyper(None, source="x")'),
    "a type that does not exist": _factor('factor: Fraction = hyper(0.5, source="x")'),
    "a type that is no type": _factor('factor: "1 +" = hyper(0.5, source="x")'),
    "a default that runs something": _factor('factor: float = hyper(print("x"), source="x")'),
    "a class body that imports": _factor(f"import os\n    {FACTOR}"),
    "an error in a default": _factor('factor: float = hyper(1 / 0, source="x")'),
    "two classes of one card": GOOD + "\n\nclass Second(Stranger):\n    card = CARD\n",
}


def bad_inputs() -> Iterator[Bad]:
    for name, text in TEXTS.items():
        yield Bad(f"plugin: {name}", lambda folder, text=text: _run(folder, text))
    yield Bad("plugin: a pipe", _pipe)
    yield Bad("plugin: no .py", lambda folder: _run(folder, GOOD, "stranger.txt"))
    yield Bad("plugin: twice", lambda folder: run(folder, *2 * ["--plugin", write_plugin(folder)]))
    yield Bad("plugin: two of one name", _two)
    yield Bad("plugin: a folder", lambda folder: run(folder, "--plugin", folder))
    for text in ("stranger.factor=-1", "stranger.factor=x", "stranger.factr=1", "stranger.factor=[1,2]"):
        yield Bad(f"plugin: {text}", lambda folder, t=text: run(folder, "--plugin", write_plugin(folder), "--set", t))


def _run(folder: Path, text: str | bytes, name: str = "stranger.py") -> Arguments:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return run(folder, "--plugin", path, "--methods", "original")


def _pipe(folder: Path) -> Arguments:
    os.mkfifo(folder / "stranger.py")
    return run(folder, "--plugin", folder / "stranger.py")


def _two(folder: Path) -> Arguments:
    (folder / "more").mkdir()
    return run(folder, "--plugin", write_plugin(folder), "--plugin", write_plugin(folder / "more"))
