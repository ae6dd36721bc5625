"""Suite files: what is not YAML, what YAML allows and a suite does not, and what contradicts itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tests.reliability.bad_inputs.asking import PLAIN, Arguments, Bad, run, run_text

TASKS = "tasks:\n  - {dataset: shapes, others: [shapes_colours], requests: [{classes: [star]}, {concept: striped}]}\n"
HEAD = "title: x\nmodels: [MODEL]\nseeds: [0]\nmethods: [original, nullspace]\n"
GOOD = HEAD + TASKS

TEXTS: dict[str, str | bytes] = {
    "empty": "",
    "a comment alone": "# nothing\n",
    "one word": "quick",
    "a number": "3",
    "a list": "[1, 2]",
    "an open bracket": "title: [x",
    "an open quote": "title: 'x",
    "tabs": "title: x\n\tmodels: [a]",
    "two documents": GOOD + "---\n" + GOOD,
    "not UTF-8": b"title: caf\xe9\n",
    "UTF-16": ("\ufeff" + GOOD).encode("utf-16-le"),
    "null bytes": GOOD.encode() + b"\0",
    "an escape character": GOOD.replace("title: x", "title: '\x1b[31m'"),
    "an escaped escape character": GOOD.replace("title: x", 'title: "\\x1b[31m"'),
    "half a surrogate pair": GOOD.replace("title: x", 'title: "\\uD800"'),
    "a direction sign": GOOD.replace("title: x", "title: \u202ex"),
    "binary": bytes(range(256)) * 20,
    "deep lists": "title: " + "[" * 100_000,
    "deep mappings": "".join(f"{' ' * n}a:\n" for n in range(300)),
    "deep flow mappings": "title: " + "{a: " * 5000,
    "a million items": GOOD + "more: [" + "x," * 1_000_000 + "]",
    "a megabyte of text": "title: " + "x" * 1_000_000,
    "a billion laughs": "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"{c}: &{c} [{','.join(['*' + p] * 10)}]\n" for p, c in zip("abcdefgh", "bcdefghi", strict=True)),
    "merged laughs": "a: &a {x: 1}\n"
    + "".join(f"{c}: &{c} {{<<: [{','.join(['*' + p] * 10)}]}}\n" for p, c in zip("abcdefgh", "bcdefghi", strict=True)),
    "an alias within itself": GOOD.replace("title: x", "title: &x [*x]"),
    "an alias of nothing": GOOD.replace("title: x", "title: *x"),
    "a Python object": GOOD.replace("title: x", "title: !!python/object/apply:os.system ['true']"),
    "a Python name": GOOD.replace("title: x", "title: !!python/name:os.system"),
    "a set": GOOD.replace("[0]", "!!set {0}"),
    "bytes": GOOD.replace("title: x", "title: !!binary aGVsbG8="),
    "an own tag": GOOD.replace("title: x", "title: !mine x"),
    "a key twice": GOOD + "title: y\n",
    "a key twice below": GOOD.replace("dataset: shapes,", "dataset: shapes, dataset: shapes_colours,"),
    "a list as a key": GOOD + "? [a, b]\n: 1\n",
    "a number as a key": GOOD + "7: 1\n",
    "a truth value as a key": GOOD + "yes: 1\n",
    "a date for a title": GOOD.replace("title: x", "title: 2020-01-01"),
    "a truth value for a title": GOOD.replace("title: x", "title: true"),
    "no title": GOOD.replace("title: x\n", ""),
    "an empty title": GOOD.replace("title: x", "title: ''"),
    "an unknown key": GOOD + "sedes: [1]\n",
    "an unknown key of a task": GOOD.replace("others:", "other:"),
    "no models": GOOD.replace("models: [MODEL]\n", ""),
    "models empty": GOOD.replace("[MODEL]", "[]"),
    "models of numbers": GOOD.replace("[MODEL]", "[3]"),
    "a model twice": GOOD.replace("[MODEL]", "[MODEL, MODEL]"),
    "a model that is not there": GOOD.replace("MODEL", "shapes-resnt"),
    "seeds as text": GOOD.replace("[0]", "['0']"),
    "a seed below zero": GOOD.replace("[0]", "[-1]"),
    "a seed beyond 64 bits": GOOD.replace("[0]", f"[{2**64}]"),
    "a seed of 5,000 digits": GOOD.replace("[0]", f"[{'9' * 5000}]"),
    "a seed of fractions": GOOD.replace("[0]", "[0.5]"),
    "a seed in octal": GOOD.replace("[0]", "[010]"),
    "a seed that is a truth value": GOOD.replace("[0]", "[true]"),
    "a seed twice": GOOD.replace("[0]", "[1, 1]"),
    "seeds null": GOOD.replace("[0]", "null"),
    "methods as text": GOOD.replace("[original, nullspace]", "original"),
    "methods unknown": GOOD.replace("nullspace", "nulspace"),
    "tasks as a mapping": HEAD + "tasks: {dataset: shapes}\n",
    "tasks empty": HEAD + "tasks: []\n",
    "tasks of words": HEAD + "tasks: [shapes]\n",
    "a data set that is not there": GOOD.replace("dataset: shapes,", "dataset: shpes,"),
    "a data set that is a number": GOOD.replace("dataset: shapes,", "dataset: 7,"),
    "its own other": GOOD.replace("[shapes_colours]", "[shapes]"),
    "an other twice": GOOD.replace("[shapes_colours]", "[shapes_colours, shapes_colours]"),
    "others as text": GOOD.replace("[shapes_colours]", "shapes_colours"),
    "others of numbers": GOOD.replace("[shapes_colours]", "[7]"),
    "no requests": GOOD.replace("[{classes: [star]}, {concept: striped}]", "[]"),
    "requests as a mapping": GOOD.replace("[{classes: [star]}, {concept: striped}]", "{classes: [star]}"),
    "requests of words": GOOD.replace("[{classes: [star]}, {concept: striped}]", "[star]"),
    "a request twice": GOOD.replace("{concept: striped}", "{classes: [star]}"),
    "a request twice in another order": GOOD.replace(
        "[{classes: [star]}, {concept: striped}]", "[{classes: [star, ring]}, {classes: [ring, star]}]"
    ),
    "a request in two tasks": GOOD + TASKS.partition("\n")[2],
    "a class `no`": GOOD.replace("[star]", "[no]"),
    "a class `off`": GOOD.replace("[star]", "[star, off]"),
    "a class 007": GOOD.replace("[star]", "[007]"),
    "a class 1.50": GOOD.replace("[star]", "[1.50]"),
    "a class null": GOOD.replace("[star]", "[null]"),
    "a class true": GOOD.replace("[star]", "[true]"),
    "a class that is empty": GOOD.replace("[star]", "['']"),
    "a class that is a list": GOOD.replace("[star]", "[[star]]"),
    "a class that is not there": GOOD.replace("[star]", "[strar]"),
    "a class twice": GOOD.replace("[star]", "[star, star]"),
    "classes as text": GOOD.replace("[star]", "star"),
    "classes as a number": GOOD.replace("[star]", "5"),
    "a concept that is a list": GOOD.replace("concept: striped", "concept: [striped]"),
    "a concept `on`": GOOD.replace("concept: striped", "concept: on"),
    "a concept that is not there": GOOD.replace("concept: striped", "concept: zeppelin"),
    "classes and a concept": GOOD.replace("{concept: striped}", "{concept: striped, classes: [ring]}"),
    "hparams as a list": GOOD + "hparams: [nullspace]\n",
    "hparams of an unknown method": GOOD + "hparams: {nulspace: {alpha: 1.0}}\n",
    "hparams of an unknown name": GOOD + "hparams: {nullspace: {alpa: 1.0}}\n",
    "hparams as text": GOOD + "hparams: {nullspace: {alpha: 1e-1}}\n",
    "hparams not finite": GOOD + "hparams: {nullspace: {alpha: .nan}}\n",
    "hparams out of range": GOOD + "hparams: {nullspace: {alpha: 7}}\n",
    "variants as a mapping": GOOD + "variants: {method: nullspace}\n",
    "a variant without a method": GOOD + "variants: [{hparams: {alpha: 1.0}}]\n",
    "by_request for an unknown model": GOOD + "by_request: [{model: ViT-B-33, hparams: {nullspace: {alpha: 1.0}}}]\n",
    "by_request for an unknown tag": GOOD + "by_request: [{model: RN50/oai, hparams: {nullspace: {alpha: 1.0}}}]\n",
    "by_request for another data set": GOOD + "by_request: [{dataset: cifar100, hparams: {lip: {draws: 3}}}]\n",
    "by_request for another class": GOOD + "by_request: [{classes: [ring], hparams: {lip: {draws: 3}}}]\n",
    "by_request for a class `no`": GOOD + "by_request: [{classes: [no], hparams: {lip: {draws: 3}}}]\n",
    "seeds_of as a list": GOOD + "seeds_of: [0]\n",
    "seeds_of below zero": GOOD + "seeds_of: {nullspace: [-1]}\n",
    "seeds_of an unknown method": GOOD + "seeds_of: {nulspace: [0]}\n",
    "measures unknown": GOOD + "measures: [linear_prob]\n",
    "measures as text": GOOD + "measures: linear_probe\n",
    "precision unknown": GOOD + "precision: fp8\n",
    "precision as a list": GOOD + "precision: [fp32]\n",
}


def bad_inputs() -> Iterator[Bad]:
    for name, text in TEXTS.items():
        yield Bad(f"suite: {name}", lambda folder, text=text: run_text(folder, text))
    for name in ("my suite.yaml", "-suite.yaml", "süite.yaml", ".yaml", "a\nb.yaml"):
        yield Bad(f"suite named {name!r}", lambda folder, name=name: run_text(folder, PLAIN, name=name))
    yield Bad("suite: a pipe", _pipe)
    yield Bad("suite: a folder", _folder)
    yield Bad("suite: a device", lambda folder: _linked(folder, Path("/dev/zero")))
    yield Bad("suite: a link to itself", lambda folder: _linked(folder, folder / "bad.yaml"))


def _pipe(folder: Path) -> Arguments:
    os.mkfifo(folder / "bad.yaml")
    return run(folder, suite=folder / "bad.yaml")


def _folder(folder: Path) -> Arguments:
    (folder / "bad.yaml").mkdir()
    return run(folder, suite=folder / "bad.yaml")


def _linked(folder: Path, target: Path) -> Arguments:
    (folder / "bad.yaml").symlink_to(target)
    return run(folder, suite=folder / "bad.yaml")
