"""Suites: which models, data sets, requests, seeds and methods are run together, read from a YAML file.

title: one line
models: [shapes-resnet]
seeds: [0, 1, 2]
precision: fp32            # fp32, bf16 or auto
methods: all               # or a list of names
tasks:
  - dataset: shapes
    others: [shapes_colours]
    requests: [{classes: [star]}, {concept: striped}]
hparams:                   # optional: overrides by method
  ccup: {forget_weight: 30}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from datamodules.errors import BenchmarkError, UnknownNameError
from datamodules.request import ForgetRequest

_HERE = Path(__file__).parent / "suites"
_KEYS = {"title", "models", "seeds", "precision", "methods", "tasks", "hparams"}
_REQUIRED = {"title", "models", "seeds", "tasks"}
_TASK_KEYS = {"dataset", "others", "requests"}


class SuiteError(BenchmarkError):
    """A suite file with an unknown key, a missing key or a value of the wrong kind; the message gives the line."""


@dataclass(frozen=True)
class Task:
    """A data set, what is to be forgotten of it, and the other data sets that must not suffer."""

    dataset: str
    requests: tuple[ForgetRequest, ...]
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Suite:
    """One suite.

    Attributes:
        name: The file's name.
        title: One line for `list suites`.
        models: Models as `--model` names them.
        seeds: Seeds of the methods with chance; methods without run with the first seed only.
        tasks: What is unlearned and measured.
        precision: "fp32", "bf16" or "auto".
        methods: Names, or empty for all that are registered.
        hparams: Overrides of hyperparameters by method.
    """

    name: str
    title: str
    models: tuple[str, ...]
    seeds: tuple[int, ...]
    tasks: tuple[Task, ...]
    precision: str = "fp32"
    methods: tuple[str, ...] = ()
    hparams: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def suite_names() -> tuple[str, ...]:
    """The suites of the package."""
    return tuple(sorted(path.stem for path in _HERE.glob("*.yaml")))


def load_suite(name: str) -> Suite:
    """Load a suite of the package by name, or any suite file by its path.

    Raises:
        UnknownNameError: If there is none of that name.
        SuiteError: If the file is not a suite.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise SuiteError(f"suite file {path} does not exist; list the suites of the package with `list suites`")
    elif name in suite_names():
        path = _HERE / f"{name}.yaml"
    else:
        raise UnknownNameError("suite", name, suite_names())
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteError(f"{path.name} cannot be read as UTF-8 text: {error}") from error
    return parse_suite(text, path)


def parse_suite(text: str, path: Path) -> Suite:
    """Read a suite from its text.

    Raises:
        SuiteError: With the file and the line.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", path.stem):
        raise SuiteError(f"{path.name}: a suite is named by its file: use letters, digits, '.', '_' and '-' only")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise SuiteError(
            f"{path.name}{line}: not YAML: {getattr(error, 'problem', None) or 'cannot be read'}"
        ) from error
    if not isinstance(root, yaml.MappingNode):
        raise SuiteError(f"{path.name}: a suite is a mapping with the keys {', '.join(sorted(_REQUIRED))}")
    _check_keys(root, _KEYS, path)
    missing = sorted(_REQUIRED - set(content))
    if missing:
        raise SuiteError(f"{path.name}: key {missing[0]!r} is missing")
    lines = {key.value: key.start_mark.line + 1 for key, _ in root.value}

    def listing(key: str, kind: type, default: tuple[Any, ...] = ()) -> tuple[Any, ...]:
        value = content.get(key, default)
        if key == "methods" and value == "all":
            return ()
        if not isinstance(value, (list, tuple)) or not all(type(item) is kind for item in value):
            raise SuiteError(f"{path.name}, line {lines[key]}: {key} must be a list of {kind.__name__}")
        return tuple(value)

    for key in ("models", "seeds", "tasks"):
        if not content[key]:
            raise SuiteError(f"{path.name}, line {lines[key]}: {key} is empty")
    task_nodes = next(value for key, value in root.value if key.value == "tasks")
    tasks = []
    for node, task in zip(task_nodes.value, listing("tasks", dict), strict=True):
        _check_keys(node, _TASK_KEYS, path)
        tasks.append(_task(task, node.start_mark.line + 1, path))
    hparams = content.get("hparams") or {}
    if not isinstance(hparams, dict) or not all(isinstance(v, dict) for v in hparams.values()):
        raise SuiteError(f"{path.name}, line {lines['hparams']}: hparams maps methods to mappings of hyperparameters")
    return Suite(
        name=path.stem,
        title=str(content["title"]),
        models=listing("models", str),
        seeds=listing("seeds", int),
        tasks=tuple(tasks),
        precision=str(content.get("precision", "fp32")),
        methods=listing("methods", str),
        hparams=hparams,
    )


def _task(task: Mapping[str, Any], line: int, path: Path) -> Task:
    if not isinstance(task.get("dataset"), str) or not task.get("requests"):
        raise SuiteError(f"{path.name}, line {line}: a task needs a dataset and a list of requests")
    try:
        requests = tuple(ForgetRequest.from_dict(request) for request in task["requests"])
    except (BenchmarkError, TypeError, AttributeError) as error:
        raise SuiteError(f"{path.name}, line {line}: {error}") from error
    others = task.get("others") or []
    if not isinstance(others, list) or not all(isinstance(name, str) for name in others):
        raise SuiteError(f"{path.name}, line {line}: others must be a list of data sets")
    return Task(task["dataset"], requests, tuple(others))


def _check_keys(node: Any, known: set[str], path: Path) -> None:
    if not isinstance(node, yaml.MappingNode):
        raise SuiteError(
            f"{path.name}, line {node.start_mark.line + 1}: expected a mapping of {', '.join(sorted(known))}"
        )
    for key, _ in node.value:
        if key.value not in known:
            line = key.start_mark.line + 1
            raise SuiteError(f"{path.name}, line {line}: {UnknownNameError('key', str(key.value), sorted(known))}")
