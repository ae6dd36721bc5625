"""What a user should know of the models and the names of a suite before it runs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from benchmark.models.loading import statistics_note
from benchmark.models.names_seen import Reader, check_names, reader_of
from benchmark.models.tensor_files import WeightsError
from benchmark.records.cell import Cell
from benchmark.suites.expansion import Where
from datamodules.common.registry import open_dataset


def told_before(cells: Sequence[Cell], where: Where) -> list[str]:
    """Check the names of each request as each model reads them, and how local weights want their images.

    Args:
        cells: What is to be run.
        where: The folders of data.

    Returns:
        What the user should know, one line each.

    Raises:
        NamesError: If a name to forget is, to the model, one with a name to keep.
    """
    open_cached = cache(lambda name: open_dataset(name, where.data_dir, where.cache_dir, 64))
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
            dataset = open_cached(name)
            notes += check_names(reader, *dataset.names_for(request), dataset.templates, name)
    return list(dict.fromkeys(notes))
