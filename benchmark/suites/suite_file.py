"""Suites: which models, data sets, requests, seeds and methods are run together, read from a YAML file.

title: one line
models: [shapes-resnet]
seeds: [0, 1, 2]
seeds_of: {retrain: [0]}   # optional: other seeds for some methods
precision: fp32            # fp32, bf16 or auto
methods: all               # or a list of names, which may contain all; `retrain` is run where it is named
measures: [linear_probe]   # optional: families of further measures (`list measures`), or all
test_images: 20            # optional: at most so many test images of each retained class are measured, the same ones
                           # in every cell; of the forgotten ones all, and all where images have captions
logger: tensorboard        # optional: any Lightning logger, or a list of them; see `run --logger`
settings: tuned            # optional: the tuned values of a small CLIP, where there are some
tuned_on: {flowers: birds} # optional: requests on a data set take the values that were found on another one
tasks:
  - dataset: shapes
    others: [shapes_colours]
    requests: [{classes: [star]}, {concept: striped}, {images: [3, 17]}]
    measures: all          # optional: in the place of the suite's, for these requests
    models: [shapes-vit]   # optional: likewise
    in_sequence: true      # optional: one model is asked to forget the requests one after another
    retrained: joint       # optional: one retrained model for all requests of the task, trained without all of them
                           # (single: one for each, measured on the same images; to compare with)
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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, MinLen

from benchmark.evaluation.families import EVERY, FAMILIES
from benchmark.suites.suite import ALL, Setting, Suite, Task, Variant
from benchmark.suites.tuned_group import Settings
from benchmark.utils.suggestions import near_file
from datamodules.common.documents import DocumentError, parse_yaml, read_text
from datamodules.common.errors import BenchmarkError, RequestError, UnknownNameError
from datamodules.common.image_request import chooses_images, images_of, read_request
from datamodules.common.request import ForgetRequest, name_text
from datamodules.common.validation import STRICT, filled, place_of

_HERE = Path(__file__).parent
NAMES_AT = ("classes", "concept", "words")
"""Keys of a suite file whose values are names of classes or words of captions."""
_Seeds = Annotated[list[Annotated[int, Ge(0)]], MinLen(1)]
_ByMethod = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class _TaskEntry:
    __pydantic_config__: ClassVar = STRICT

    dataset: str
    requests: Annotated[list[dict[str, Any]], MinLen(1)]
    others: list[str] | None = None
    measures: list[str] | None = None
    models: Annotated[list[str], MinLen(1)] | None = None
    in_sequence: bool = False
    retrained: Literal["joint", "single"] | None = None


@dataclass(frozen=True)
class _SettingEntry:
    __pydantic_config__: ClassVar = STRICT

    hparams: _ByMethod
    model: str = ""
    dataset: str = ""
    classes: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class _SuiteEntry:
    __pydantic_config__: ClassVar = STRICT

    title: str
    models: Annotated[list[str], MinLen(1)]
    seeds: _Seeds
    tasks: Annotated[list[_TaskEntry], MinLen(1)]
    precision: str = "fp32"
    methods: list[str] = field(default_factory=list)
    hparams: _ByMethod | None = None
    variants: list[Variant] = field(default_factory=list)
    by_request: list[_SettingEntry] = field(default_factory=list)
    measures: list[str] = field(default_factory=list)
    seeds_of: Mapping[str, _Seeds] | None = None
    test_images: Annotated[int, Ge(1)] | None = None
    logger: str | Mapping[str, Any] | list[str | Mapping[str, Any]] = field(default_factory=list)
    settings: Settings = "declared"
    tuned_on: Mapping[str, str] | None = None


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
        document = parse_yaml(text, path.name, names_at=NAMES_AT)
        entry = filled(_SuiteEntry, replace(document, content=_spelled_out(document.content)))
    except DocumentError as error:
        raise SuiteError(str(error)) from error
    if not entry.title.strip():
        raise SuiteError(f"{place_of(document, 'title')}: title is one line of text")
    for key, values in (("models", entry.models), ("seeds", entry.seeds)):
        if twice := _twice(values):
            raise SuiteError(f"{place_of(document, key)}: {key} names {twice[0]!r} twice")
    tasks: list[Task] = []
    for number, task in enumerate(entry.tasks):
        at = place_of(document, "tasks", number)
        tasks.append(_task(task, at))
        _check_new(tasks, at)
    return Suite(
        name=path.stem,
        title=entry.title,
        models=tuple(entry.models),
        seeds=tuple(entry.seeds),
        tasks=tuple(tasks),
        precision=entry.precision,
        methods=tuple(entry.methods),
        hparams=entry.hparams or {},
        variants=tuple(entry.variants),
        by_request=tuple(
            _setting(setting, tasks, place_of(document, "by_request", number))
            for number, setting in enumerate(entry.by_request)
        ),
        measures=_families(entry.measures, place_of(document, "measures")),
        seeds_of={name: tuple(seeds) for name, seeds in (entry.seeds_of or {}).items()},
        test_images=entry.test_images or 0,
        loggers=tuple(entry.logger if isinstance(entry.logger, list) else [entry.logger]),
        settings=entry.settings,
        tuned_on=_tuned_on(entry, tasks, place_of(document, "tuned_on")),
    )


def _spelled_out(content: Any) -> Any:
    """A document with the word for all methods and for all measures replaced by what it stands for."""
    if not isinstance(content, dict):
        return content
    stands_for: dict[str, list[str]] = {"methods": [], "measures": list(FAMILIES)}
    spelled = {key: stands_for[key] if value == ALL and key in stands_for else value for key, value in content.items()}
    if isinstance(tasks := spelled.get("tasks"), list):
        spelled["tasks"] = [
            {**task, "measures": stands_for["measures"]}
            if isinstance(task, dict) and task.get("measures") == ALL
            else task
            for task in tasks
        ]
    return spelled


def _setting(entry: _SettingEntry, tasks: Sequence[Task], at: str) -> Setting:
    try:
        setting = Setting(entry.hparams, entry.model, entry.dataset, tuple(map(name_text, entry.classes)))
    except RequestError as error:
        raise SuiteError(f"{at}: {error}") from error
    if entry.dataset and entry.dataset not in {task.dataset for task in tasks}:
        raise SuiteError(f"{at}: no task of this suite is on the data set {entry.dataset!r}")
    if entry.classes and setting.classes not in {request.classes for task in tasks for request in task.requests}:
        raise SuiteError(f"{at}: no request of this suite names the classes {entry.classes}")
    return setting


def _tuned_on(entry: _SuiteEntry, tasks: Sequence[Task], at: str) -> Mapping[str, str]:
    """Where tuned values come from, checked: both data sets are the suite's, so that their revisions are known."""
    found = entry.tuned_on or {}
    if found and entry.settings != "tuned":
        raise SuiteError(f"{at}: tuned_on is for a suite with settings: tuned")
    opened = {name for task in tasks for name in (task.dataset, *task.others)}
    for name, source in found.items():
        if name not in {task.dataset for task in tasks}:
            raise SuiteError(f"{at}: no task of this suite is on the data set {name!r}")
        if source not in opened:
            raise SuiteError(f"{at}: {source!r} is no data set of this suite: name it under others too")
    return found


def _task(entry: _TaskEntry, at: str) -> Task:
    try:
        requests = tuple(map(read_request, entry.requests))
    except BenchmarkError as error:
        raise SuiteError(f"{at}: {error}") from error
    others = entry.others or []
    if entry.dataset in others:
        raise SuiteError(f"{at}: {entry.dataset!r} is the task's own data set: leave it out of others")
    if twice := _twice(others):
        raise SuiteError(f"{at}: others names {twice[0]!r} twice")
    if entry.in_sequence or entry.retrained:
        _check_together(entry, requests, at)
    measures = None if entry.measures is None else _families(entry.measures, at)
    models = None if entry.models is None else tuple(entry.models)
    together = (entry.in_sequence, entry.retrained or "")
    return Task(entry.dataset, requests, tuple(others), measures, models, *together)


def _check_together(entry: _TaskEntry, requests: Sequence[ForgetRequest], at: str) -> None:
    """Check the requests of a sequence or of a group: several, by class, without a class in common."""
    key = "in_sequence" if entry.in_sequence else "retrained"
    if entry.in_sequence and entry.retrained:
        raise SuiteError(
            f"{at}: leave out retrained: that of a sequence is trained without all requests up to the step anyway"
        )
    if len(requests) < 2 or not all(request.classes and not chooses_images(request) for request in requests):
        raise SuiteError(f"{at}: {key} is for several requests by class")
    if twice := _twice([name for request in requests for name in request.classes]):
        raise SuiteError(f"{at}: {key} is for requests without a class in common; {twice[0]!r} stands in two")


def _check_new(tasks: Sequence[Task], at: str) -> None:
    """Refuse a request that stands twice: in the last task, or in one before it that is the same otherwise."""
    last = tasks[-1]
    same = [task for task in tasks if replace(task, requests=()) == replace(last, requests=())]
    requests = [r for task in same for r in task.requests]
    asked = [(frozenset(r.classes), r.concept, r.words, frozenset(images_of(r))) for r in requests]  # in any order
    if twice := _twice(asked):
        request = requests[asked.index(twice[0])]
        names = str(request) if chooses_images(request) else sorted(request.classes) or request.concept
        raise SuiteError(f"{at}: the request for {names} stands twice")


def _twice(values: Sequence[Any]) -> list[Any]:
    """Those values that stood before."""
    return [value for number, value in enumerate(values) if value in values[:number]]


def _families(names: Sequence[str], at: str) -> tuple[str, ...]:
    """Families of measures by name."""
    for name in names:
        if name not in EVERY:
            raise SuiteError(f"{at}: {UnknownNameError('measure', name, FAMILIES)}")
    return tuple(names)
