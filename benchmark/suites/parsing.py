"""Suites: which models, data sets, requests, seeds and methods are run together, read from a YAML file.

title: one line
models: [shapes-resnet]
seeds: [0, 1, 2]
seeds_of: {retrain: [0]}   # optional: other seeds for some methods
precision: fp32            # fp32, bf16 or auto
methods: all               # or a list of names, which may contain all; `retrain` is run where it is named
measures: [linear_probe]   # optional: families of further measures (`list measures`), or all
tasks:
  - dataset: shapes
    others: [shapes_colours]
    requests: [{classes: [star]}, {concept: striped}]
    measures: all          # optional: in the place of the suite's, for these requests
    models: [shapes-vit]   # optional: likewise
hparams:                   # optional: overrides by method
  ccup: {forget_weight: 30}
variants:                  # optional: further settings of a method, each a row of its own
  - {method: ccup, hparams: {retain_weight: 0}}
by_request:                # optional: what a protocol sets for some models or classes; one row all the same
  - {model: RN50, classes: [Pekinese], hparams: {lip: {threshold: 0.98}}}
  - {dataset: flickr30k, hparams: {cliperase: {learning_rate: 1.0e-8}}}
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmark.evaluation.families import FAMILIES
from benchmark.suites.suite import ALL, Setting, Suite, Task, Variant
from benchmark.utils.suggestions import near_file
from datamodules.common.documents import DocumentError, line_of, parse_yaml, read_text
from datamodules.common.errors import BenchmarkError, RequestError, UnknownNameError
from datamodules.common.request import ForgetRequest, name_text

_HERE = Path(__file__).parent
_OPTIONAL = {"precision", "methods", "measures", "hparams", "variants", "by_request", "seeds_of"}
_REQUIRED = {"title", "models", "seeds", "tasks"}
_TASK_KEYS = {"dataset", "others", "requests", "measures", "models"}
_VARIANT_KEYS = {"method", "hparams"}
_ALL: dict[str, tuple[str, ...]] = {"methods": ()}
_SETTING_KEYS = {"model", "dataset", "classes", "hparams"}


class SuiteError(BenchmarkError):
    """A suite file with an unknown key, a missing key or a value of the wrong kind; the message gives the line."""


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
        if not path.exists():
            raise SuiteError(
                f"suite file {path} does not exist{near_file(path)}; list the suites of the package with `list suites`"
            )
    elif name in suite_names():
        path = _HERE / f"{name}.yaml"
    else:
        raise UnknownNameError("suite", name, suite_names())
    try:
        text = read_text(path)
    except DocumentError as error:
        raise SuiteError(str(error)) from error
    return parse_suite(text, path)


def parse_suite(text: str, path: Path) -> Suite:
    """Read a suite from its text.

    Raises:
        SuiteError: With the file and the line.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", path.stem):
        raise SuiteError(f"{path.name}: a suite is named by its file: use letters, digits, '.', '_' and '-' only")
    try:
        document = parse_yaml(text, path.name)
    except DocumentError as error:
        raise SuiteError(str(error)) from error
    root, content = document.root, document.content
    if not isinstance(root, yaml.MappingNode):
        raise SuiteError(f"{path.name}: a suite is a mapping with the keys {', '.join(sorted(_REQUIRED))}")
    _check_keys(root, _REQUIRED | _OPTIONAL, path)
    missing = sorted(_REQUIRED - set(content))
    if missing:
        raise SuiteError(f"{path.name}: key {missing[0]!r} is missing")
    lines = {key.value: line_of(key) for key, _ in root.value}

    def listing(key: str, kind: type, default: tuple[Any, ...] = ()) -> tuple[Any, ...]:
        value = content.get(key, default)
        if value == ALL and key in _ALL:
            return _ALL[key]
        if not isinstance(value, (list, tuple)) or not all(type(item) is kind for item in value):
            raise SuiteError(f"{path.name}, line {lines[key]}: {key} must be a list of {kind.__name__}")
        return tuple(value)

    for key in ("models", "seeds", "tasks"):
        if not content[key]:
            raise SuiteError(f"{path.name}, line {lines[key]}: {key} is empty")
    for key in ("models", "seeds"):
        if twice := _twice(listing(key, {"models": str, "seeds": int}[key])):
            raise SuiteError(f"{path.name}, line {lines[key]}: {key} names {twice[0]!r} twice")
    if not _is_seeds(content["seeds"]):
        raise SuiteError(f"{path.name}, line {lines['seeds']}: seeds are whole numbers of at least 0")
    if not isinstance(content["title"], str) or not content["title"].strip():
        raise SuiteError(f"{path.name}, line {lines['title']}: title is one line of text")
    task_nodes = next(value for key, value in root.value if key.value == "tasks")
    tasks = []
    for node, task in zip(task_nodes.value, listing("tasks", dict), strict=True):
        _check_keys(node, _TASK_KEYS, path)
        tasks.append(_task(task, line_of(node), path))
        _check_new(tasks, line_of(node), path)
    hparams = content.get("hparams") or {}
    if not _by_method(hparams):
        raise SuiteError(f"{path.name}, line {lines['hparams']}: hparams maps methods to mappings of hyperparameters")
    variants, by_request = [], []
    for at, item in _items(root, content, "variants", _VARIANT_KEYS, path):
        if not isinstance(item.get("method"), str) or not isinstance(item.get("hparams"), dict):
            raise SuiteError(f"{path.name}, line {at}: a variant is {{method: NAME, hparams: {{...}}}}")
        variants.append(Variant(item["method"], item["hparams"]))
    for at, item in _items(root, content, "by_request", _SETTING_KEYS, path):
        classes, model, dataset = item.get("classes", []), item.get("model", ""), item.get("dataset", "")
        texts = isinstance(model, str) and isinstance(dataset, str)
        if not _by_method(item.get("hparams")) or not isinstance(classes, list) or not texts:
            raise SuiteError(
                f"{path.name}, line {at}: an item of by_request is "
                "{model: NAME, dataset: NAME, classes: [...], hparams: {METHOD: {...}}}"
            )
        try:
            by_request.append(Setting(item["hparams"], model, dataset, tuple(map(name_text, classes))))
        except RequestError as error:
            raise SuiteError(f"{path.name}, line {at}: {error}") from error
        if dataset and dataset not in {task.dataset for task in tasks}:
            raise SuiteError(f"{path.name}, line {at}: no task of this suite is on the data set {dataset!r}")
        asked = {request.classes for task in tasks for request in task.requests}
        if classes and by_request[-1].classes not in asked:
            raise SuiteError(f"{path.name}, line {at}: no request of this suite names the classes {classes}")
    seeds_of = content.get("seeds_of") or {}
    if not isinstance(seeds_of, dict) or not all(_is_seeds(each) for each in seeds_of.values()):
        raise SuiteError(f"{path.name}, line {lines['seeds_of']}: seeds_of maps methods to lists of whole numbers")
    return Suite(
        name=path.stem,
        title=str(content["title"]),
        models=listing("models", str),
        seeds=listing("seeds", int),
        tasks=tuple(tasks),
        precision=str(content.get("precision", "fp32")),
        methods=listing("methods", str),
        hparams=hparams,
        variants=tuple(variants),
        by_request=tuple(by_request),
        measures=_families(content.get("measures", []), f"{path.name}, line {lines.get('measures')}"),
        seeds_of={name: tuple(each) for name, each in seeds_of.items()},
    )


def _is_seeds(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(seed) is int and seed >= 0 for seed in value)


def _by_method(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(each, dict) for each in value.values())


def _items(
    root: yaml.MappingNode, content: Mapping[str, Any], key: str, known: set[str], path: Path
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The mappings of a list with their lines; their keys are checked."""
    found = next((value for name, value in root.value if name.value == key), None)
    if found is None:
        return
    if not isinstance(found, yaml.SequenceNode):
        raise SuiteError(f"{path.name}, line {line_of(found)}: {key} must be a list")
    for node, item in zip(found.value, content[key], strict=True):
        _check_keys(node, known, path)
        yield line_of(node), item


def _task(task: Mapping[str, Any], line: int, path: Path) -> Task:
    asked_for = task.get("requests")
    if not isinstance(task.get("dataset"), str) or not isinstance(asked_for, list) or not asked_for:
        raise SuiteError(f"{path.name}, line {line}: a task needs a dataset and a list of requests")
    if not all(isinstance(request, dict) for request in asked_for):
        raise SuiteError(f"{path.name}, line {line}: a request is {{classes: [NAME]}} or {{concept: WORD}}")
    try:
        requests = tuple(ForgetRequest.from_dict(request) for request in asked_for)
    except BenchmarkError as error:
        raise SuiteError(f"{path.name}, line {line}: {error}") from error
    others = task.get("others") or []
    if not isinstance(others, list) or not all(isinstance(name, str) for name in others):
        raise SuiteError(f"{path.name}, line {line}: others must be a list of data sets")
    if task["dataset"] in others:
        raise SuiteError(
            f"{path.name}, line {line}: {task['dataset']!r} is the task's own data set: leave it out of others"
        )
    if twice := _twice(others):
        raise SuiteError(f"{path.name}, line {line}: others names {twice[0]!r} twice")
    asked = _families(task["measures"], f"{path.name}, line {line}") if "measures" in task else None
    models = task.get("models")
    if models is not None and not (isinstance(models, list) and models and all(isinstance(m, str) for m in models)):
        raise SuiteError(f"{path.name}, line {line}: models must be a list of models")
    return Task(task["dataset"], requests, tuple(others), asked, None if models is None else tuple(models))


def _check_new(tasks: Sequence[Task], line: int, path: Path) -> None:
    """Refuse a request that stands twice: in the last task, or in one before it that is the same otherwise."""
    last = tasks[-1]
    same = [
        task
        for task in tasks
        if (task.dataset, task.others, task.models, task.measures)
        == (last.dataset, last.others, last.models, last.measures)
    ]
    # The order of classes makes no other request.
    asked = [(frozenset(each.classes), each.concept, each.words) for task in same for each in task.requests]
    if len(set(asked)) < len(asked):
        names = next(sorted(classes) or concept for classes, concept, _ in _twice(asked))
        raise SuiteError(f"{path.name}, line {line}: the request for {names} stands twice")


def _twice(values: Sequence[Any]) -> list[Any]:
    """Those values that stood before."""
    return [value for number, value in enumerate(values) if value in values[:number]]


def _families(value: Any, at: str) -> tuple[str, ...]:
    """Families of measures by name, or all of them."""
    if value == ALL:
        return tuple(FAMILIES)
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise SuiteError(f"{at}: measures must be a list of names, or {ALL}")
    for name in value:
        if name not in FAMILIES:
            raise SuiteError(f"{at}: {UnknownNameError('measure', name, FAMILIES)}")
    return tuple(value)


def _check_keys(node: Any, known: set[str], path: Path) -> None:
    if not isinstance(node, yaml.MappingNode):
        raise SuiteError(f"{path.name}, line {line_of(node)}: expected a mapping of {', '.join(sorted(known))}")
    for key, _ in node.value:
        if key.value not in known:
            line = line_of(key)
            raise SuiteError(f"{path.name}, line {line}: {UnknownNameError('key', str(key.value), sorted(known))}")
