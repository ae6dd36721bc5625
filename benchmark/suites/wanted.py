"""What a suite asks for, before its files are looked at, and which of these files are missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.models.naming import model_identity, parse_model
from benchmark.models.tensor_files import WeightsError
from benchmark.suites.suite import Suite, Task
from benchmark.suites.where import Where
from datamodules.common.dataset import Dataset
from datamodules.common.errors import MissingFilesError
from datamodules.common.request import ForgetRequest
from methods.common.registry import Registry

SIDE = 64
"""Pixels; of any size, since no image is framed yet."""


@dataclass(frozen=True)
class Wanted:
    """One cell as a suite asks for it, before any file is looked at.

    Attributes:
        model: As `--model` names it.
        task: The task of the suite.
        request: As it stands in the suite file.
        method: The method's name.
        seed: 0 for a method without chance.
        setting: The hyperparameters that differ from the defaults.
        varying: Those that `by_request` sets somewhere for this method.
        step: In a sequence, how many requests have been unlearned when this one is measured; 0 outside of one.
    """

    model: str
    task: Task
    request: ForgetRequest
    method: str
    seed: int
    setting: Mapping[str, Any]
    varying: frozenset[str]
    step: int = 0

    @property
    def scale(self) -> str:
        """Which defaults its model takes, see `scale_of`."""
        return scale_of(self.model)


def scale_of(model: str) -> str:
    """Which defaults a model takes: "small" for the compact files of this project, "published" for all others."""
    return "small" if parse_model(model)[0] == "compact" else "published"


def wanted_of(suite: Suite, registry: Registry, methods: Sequence[str]) -> Iterator[Wanted]:
    """What a suite asks for: by model, task, request and method, the methods in their order; sequences by method."""
    for model in suite.every_model:
        for task in (task for task in suite.tasks if model in (task.models or suite.models)):
            if task.in_sequence:
                yield from _in_sequence(suite, registry, methods, model, task)
                continue
            for request in task.requests:
                for name in (name for name in methods if suite.runs(name, model, task.dataset, request)):
                    settings, varying = suite.overrides(name, model, task.dataset, request)
                    for setting in settings:
                        for seed in _seeds(suite, registry, name):
                            yield Wanted(model, task, request, name, seed, setting, varying)


def _in_sequence(suite: Suite, registry: Registry, methods: Sequence[str], model: str, task: Task) -> Iterator[Wanted]:
    """A sequence: after each step its first request and the step's own; each method with its settings for the first."""
    first = task.requests[0]
    for name in (name for name in methods if suite.runs(name, model, task.dataset, first)):
        settings, varying = suite.overrides(name, model, task.dataset, first)
        for setting in settings:
            for seed in _seeds(suite, registry, name):
                for step, last in enumerate(task.requests, start=1):
                    for request in dict.fromkeys((first, last)):
                        yield Wanted(model, task, request, name, seed, setting, varying, step)


def _seeds(suite: Suite, registry: Registry, method: str) -> Sequence[int]:
    stochastic = registry.declaration(method).card.stochastic
    return tuple(dict.fromkeys(suite.seeds_of.get(method, suite.seeds) if stochastic else (0,)))


class NeedsError(MissingFilesError):
    """Weights or data sets of a suite are not there; one line names them all.

    Attributes:
        needs: By the name of a model or data set what is missing, where to get it and where to put it.
        wanted: What the suite asks for.
        registry: The methods, those of plugins among them.
    """

    def __init__(self, needs: Mapping[str, str], wanted: Sequence[Wanted], registry: Registry) -> None:
        super().__init__("; ".join(dict.fromkeys(needs.values())))
        self.needs, self.wanted, self.registry = needs, wanted, registry


def opened_datasets(suite: Suite, registry: Registry, methods: Sequence[str], where: Where) -> dict[str, Dataset]:
    """The data sets of a suite by name, each of whose images can be read; the files of the models are there too.

    Args:
        suite: The suite.
        registry: The methods.
        methods: Those that run, the original first.
        where: The folders of the data.

    Raises:
        NeedsError: Naming all that is missing.
        BenchmarkError: If files are damaged.
    """
    names = dict.fromkeys(name for task in suite.tasks for name in (task.dataset, *task.others))
    needs: dict[str, str] = {}
    opened: dict[str, Dataset] = {}
    for model in suite.every_model:
        try:
            model_identity(model)
        except WeightsError as error:
            needs[model] = str(error)
    for name in names:
        try:
            opened[name] = where.open(name, SIDE)
        except MissingFilesError as error:
            needs[name] = str(error)
    if needs:
        raise NeedsError(needs, tuple(wanted_of(suite, registry, methods)), registry)
    if not where.skip_unreadable:  # then `open` has looked at each image
        for dataset in opened.values():
            dataset.check_images()
    return opened
