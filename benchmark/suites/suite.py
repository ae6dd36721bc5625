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
from benchmark.models.registry import architecture_name
from benchmark.suites.tuned_group import Settings, TunedGroup, tuned_kind
from benchmark.utils.suggestions import near_file
from datamodules.common.documents import DocumentError, parse_yaml, read_text
from datamodules.common.errors import BenchmarkError, RequestError, UnknownNameError
from datamodules.common.image_request import chooses_images, images_of, read_request
from datamodules.common.request import ForgetRequest, name_text
from datamodules.common.validation import STRICT, filled, place_of

ALL = "all"
"""In the place of methods: every registered one, but those that train from the beginning (data regime
`pretraining`), which take as long as that; a suite names them beside it."""


@dataclass(frozen=True)
class Task:
    """A data set, what is to be forgotten of it, and the other data sets that must not suffer.

    `measures` and `models`: in the place of the suite's; None for the suite's.
    `in_sequence`: whether one model is asked to forget the requests one after another.
    `retrained`: "joint" or "single" for a group, see `benchmark.records.cell.Cell`; empty for requests of no group.
    """

    dataset: str
    requests: tuple[ForgetRequest, ...]
    others: tuple[str, ...] = ()
    measures: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None
    in_sequence: bool = False
    retrained: str = ""


@dataclass(frozen=True)
class Variant:
    """A further setting of a method: a row of its own."""

    __pydantic_config__: ClassVar = STRICT

    method: str
    hparams: Mapping[str, Any]


@dataclass(frozen=True)
class Setting:
    """What a protocol sets for some cells: those of a model, a data set and classes; each of them any, if empty.

    A model is meant by its whole name or by its architecture: a protocol holds wherever the weights come from.
    """

    hparams: Mapping[str, Mapping[str, Any]]
    model: str = ""
    dataset: str = ""
    classes: tuple[str, ...] = ()

    def applies(self, model: str, dataset: str, request: ForgetRequest) -> bool:
        """Whether a cell of this model, data set and request is meant."""
        return (
            self.model in ("", model, architecture_name(model))
            and self.dataset in ("", dataset)
            and self.classes in ((), request.classes)
        )


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
        methods: Names; `ALL` among them, or none at all, for all that are registered.
        hparams: Overrides of hyperparameters by method.
        variants: Further settings of methods.
        by_request: Overrides for some models or classes.
        measures: Families of measures beyond those that every cell has.
        seeds_of: Seeds of single methods in the place of the suite's.
        test_images: How many test images of each retained class are measured at most; 0 for all.
        loggers: Lightning loggers as `run --logger` takes them.
        settings: Of its rows, where the command line does not say.
        tuned: Of a run with tuned values (`benchmark.suites.tuned.values`), by model, data set and kind of request; a
            cell that is in no group is not run, unless `settings` is "tuned". Empty for an untuned run.
    """

    name: str
    title: str
    models: tuple[str, ...]
    seeds: tuple[int, ...]
    tasks: tuple[Task, ...]
    precision: str = "fp32"
    methods: tuple[str, ...] = ()
    hparams: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    variants: tuple[Variant, ...] = ()
    by_request: tuple[Setting, ...] = ()
    measures: tuple[str, ...] = ()
    seeds_of: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    test_images: int = 0
    loggers: tuple[str | Mapping[str, Any], ...] = ()
    settings: Settings = "declared"
    tuned: Mapping[tuple[str, str, str], TunedGroup] = field(default_factory=dict)

    @property
    def every_model(self) -> tuple[str, ...]:
        """The suite's models and those that single tasks name in their place."""
        return tuple(dict.fromkeys([*self.models, *(name for task in self.tasks for name in task.models or ())]))

    def tuned_group(self, model: str, dataset: str, request: ForgetRequest) -> TunedGroup | None:
        """The tuned values of a cell's model, data set and kind of request; None where there are none."""
        return self.tuned.get((model, dataset, tuned_kind(request)))

    def runs(self, method: str, model: str, dataset: str, request: ForgetRequest) -> bool:
        """Whether a method runs on a request: in a run that was asked to be tuned, only where it is, or cannot be."""
        if not self.tuned or self.settings == "tuned":
            return True
        group = self.tuned_group(model, dataset, request)
        return group is not None and method in group.values

    @property
    def budgets(self) -> str:
        """The budgets of a tuned run in words; empty for an untuned run."""
        return "; ".join(dict.fromkeys(group.budget for group in self.tuned.values()))

    def overrides(
        self, method: str, model: str, dataset: str, request: ForgetRequest
    ) -> tuple[list[dict[str, Any]], frozenset[str]]:
        """The overrides of a method's cells: one for its own row and one for each variant.

        Returns:
            The overrides, and the names of those hyperparameters that `by_request` sets somewhere for this method.
        """
        group = self.tuned_group(model, dataset, request)
        overrides = dict(self.hparams.get(method, {}) if group is None else group.values.get(method, {}))
        named: set[str] = set()
        for setting in self.by_request:
            chosen = setting.hparams.get(method, {})
            named |= set(chosen)
            if setting.applies(model, dataset, request):
                overrides |= chosen
        return [
            overrides,
            *({**overrides, **variant.hparams} for variant in self.variants if variant.method == method),
        ], frozenset(named)


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
