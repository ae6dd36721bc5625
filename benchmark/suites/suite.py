"""Suites: which models, data sets, requests, seeds and methods are run together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from benchmark.models.registry import architecture_name
from benchmark.suites.tuned_group import Settings, TunedGroup, tuned_kind
from datamodules.common.request import ForgetRequest
from datamodules.common.validation import STRICT

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
        tuned_on: Where tuned values were found on another data set: that one, by the one that takes them.
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
    tuned_on: Mapping[str, str] = field(default_factory=dict)
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
