"""What a user should know of the models and the names of a suite before it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from benchmark.models.names_seen import Reader, check_names, reader_of
from benchmark.models.naming import needs_tokenizer, statistics_note
from benchmark.models.tensor_files import WeightsError
from benchmark.models.tokenizers import check_tokenizer, with_tokenizer
from benchmark.records.cell import Cell
from benchmark.suites.suite import Suite
from datamodules.common.chosen_images import serving
from datamodules.common.dataset import Dataset
from datamodules.common.request import ForgetRequest
from methods.common.card import MethodCard, has_patterns
from methods.common.registry import Registry

if TYPE_CHECKING:
    from methods.common.clip import Clip


class Asked(Protocol):
    """What is asked for: a cell, or what will be one when its files are there."""

    @property
    def method(self) -> str:
        """Its name."""

    @property
    def model(self) -> str:
        """As `--model` names it."""

    @property
    def request(self) -> ForgetRequest:
        """What is to be forgotten."""

    @property
    def scale(self) -> str:
        """Which defaults the model takes."""


def told_before(cells: Sequence[Cell], datasets: Mapping[str, Dataset]) -> list[str]:
    """Check the names of each request as each model reads them, and how local weights want their images.

    Args:
        cells: What is to be run.
        datasets: Those of the cells by name, open.

    Returns:
        What the user should know, one line each.

    Raises:
        NamesError: If a name to forget is, to the model, one with a name to keep.
    """
    notes: list[str] = []
    readers: dict[str, Reader | None] = {}
    for model in dict.fromkeys(cell.model for cell in cells):
        notes += [note] if (note := statistics_note(model)) else []
        try:
            readers[model] = reader_of(model)
        except WeightsError as error:
            notes.append(f"the names were not looked at: {error}")
    for model, name, request in dict.fromkeys((cell.model, cell.dataset, cell.request) for cell in cells):
        if (reader := readers.get(model)) is not None:
            dataset = serving(datasets[name], request)
            notes += check_names(reader, *dataset.names_for(request), dataset.templates, name)
    return list(dict.fromkeys(notes))


def with_local_tokenizer(suite: Suite, folder: Path) -> Suite:
    """A suite whose models take their tokenizer from a folder, where they would fetch it.

    Raises:
        WeightsError: If the folder holds no tokenizer, or a model does not exist.
    """
    check_tokenizer(folder)

    def named(models: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(with_tokenizer(model, folder) if needs_tokenizer(model) else model for model in models)

    tasks = tuple(task if task.models is None else replace(task, models=named(task.models)) for task in suite.tasks)
    return replace(suite, models=named(suite.models), tasks=tasks)


def left_out(cells: Sequence[Cell], registry: Registry) -> dict[str, str]:
    """The cells whose methods cannot work on their model or serve their request, each with the reason, by key.

    Args:
        cells: What is asked for.
        registry: The methods.
    """
    reasons = why_left_out(cells, registry)
    return {cell.key: reason for cell, reason in zip(cells, reasons, strict=True) if reason}


def why_left_out(asked: Sequence[Asked], registry: Registry) -> list[str]:
    """Why each of what is asked for cannot be run whatever files are there; empty where it can.

    Args:
        asked: What is asked for.
        registry: The methods.
    """
    from methods.common.served import why_not_asked

    of_model = not_applicable(asked, registry)
    reasons = []
    for one in asked:
        if reason := of_model.get((one.method, one.model)):
            reasons.append(f"n/a: {one.method} on {one.model}: {reason}")
        elif reason := why_not_asked(registry.declaration(one.method).card, one.request):
            reasons.append(f"n/a: {one.method} for {one.request}: {reason}")
        else:
            reasons.append("")
    return reasons


def not_applicable(cells: Sequence[Asked], registry: Registry) -> dict[tuple[str, str], str]:
    """The methods that cannot work on a model, each with the reason, by method and model.

    Args:
        cells: What is asked for.
        registry: The methods.
    """
    cards = {name: registry.declaration(name).card for name in dict.fromkeys(cell.method for cell in cells)}
    reasons: dict[tuple[str, str], str] = {}
    for model in dict.fromkeys(cell.model for cell in cells):
        asked = {cell.method for cell in cells if cell.model == model and _asks(cards[cell.method], cell)}
        clip = _without_weights(model) if asked else None
        if clip is not None:
            from methods.common.needs import why_not

            reason_of = {(name, model): why_not(cards[name], clip) for name in sorted(asked)}
            reasons |= {key: reason for key, reason in reason_of.items() if reason}
    return reasons


def _asks(card: MethodCard, cell: Asked) -> bool:
    """Whether a method asks for a part that not every model has; the small CLIPs of this project have all."""
    if cell.scale == "small" and not has_patterns(card):
        return False
    from methods.common.needs import asks_of_model

    return asks_of_model(card)


def _without_weights(model: str) -> Clip | None:
    """A model of which the parts are known alone; None where it cannot be built here."""
    import torch

    from benchmark.models.loading import skeleton
    from datamodules.common.images import Preprocessing
    from methods.common.clip import Clip

    try:
        parts = skeleton(model)
    except WeightsError:
        return None
    return None if parts is None else Clip(parts, lambda texts: torch.zeros(len(texts), 1), Preprocessing(1), model)
