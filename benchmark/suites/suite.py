"""A suite as data: which models, data sets, requests, seeds and methods are run together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from benchmark.models.registry import architecture_name
from datamodules.common.request import ForgetRequest
from datamodules.common.validation import STRICT

ALL = "all"
"""In the place of methods: every registered one, but those that train from the beginning (data regime
`pretraining`), which take as long as that; a suite names them beside it."""


@dataclass(frozen=True)
class Task:
    """A data set, what is to be forgotten of it, and the other data sets that must not suffer.

    `measures` and `models`: in the place of the suite's; None for the suite's.
    """

    dataset: str
    requests: tuple[ForgetRequest, ...]
    others: tuple[str, ...] = ()
    measures: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None


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
        tuned: The budget of the tuning that `hparams` are from (`benchmark.suites.tuned.values`); empty for untuned
        runs.
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
    tuned: str = ""

    @property
    def every_model(self) -> tuple[str, ...]:
        """The suite's models and those that single tasks name in their place."""
        return tuple(dict.fromkeys([*self.models, *(name for task in self.tasks for name in task.models or ())]))

    def settings(
        self, method: str, model: str, dataset: str, request: ForgetRequest
    ) -> tuple[list[dict[str, Any]], frozenset[str]]:
        """The overrides of a method's cells: one for its own row and one for each variant.

        Returns:
            The overrides, and the names of those hyperparameters that `by_request` sets somewhere for this method.
        """
        overrides = dict(self.hparams.get(method, {}))
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
