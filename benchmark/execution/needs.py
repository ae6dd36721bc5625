"""What cells need, checked before any work: methods, models, images, and forget sets."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.execution.process.unlearner import Unlearner
from benchmark.execution.session import Shelf
from benchmark.models.registry import PRETRAINING
from benchmark.records.cell import Cell
from datamodules.common.dataset import SplitName
from datamodules.common.errors import BenchmarkError
from methods.common.registry import Registry

PARTS: tuple[SplitName, ...] = ("train", "test")


def check_needs(cells: Sequence[Cell], registry: Registry, shelf: Shelf, unlearner: Unlearner) -> None:
    """Load everything once that the cells will load, so that nothing is missing after hours of work.

    Args:
        cells: Those that are to run.
        registry: The methods.
        shelf: The models and data sets.
        unlearner: Tries whether methods can be imported, in a process of its own.

    Raises:
        BenchmarkError: If something cannot be imported, loaded or read, or a forget set is empty or everything.
    """
    for model in [cell.model for cell in cells[:1]]:  # while the server starts from which processes are forked
        shelf.pristine(model)
    unlearner.check_imports([registry.declaration(name) for name in dict.fromkeys(cell.method for cell in cells)])
    for cell in cells:
        regime = registry.declaration(cell.method).card.regime
        if regime == PRETRAINING and (why_not := shelf.retrained.why_not(cell.model)):
            raise BenchmarkError(f"method {cell.method!r}: {why_not}; leave it out or name one of our small CLIPs")
    for model in dict.fromkeys(cell.model for cell in cells):
        size = shelf.pristine(model)[0].preprocessing.image_size
        mine = [cell for cell in cells if cell.model == model]
        for name in dict.fromkeys(other for cell in mine for other in cell.others):
            shelf.dataset(name, size).split("test")
        for dataset_name, request in dict.fromkeys((cell.dataset, cell.request) for cell in mine):
            dataset = shelf.dataset(dataset_name, size)
            for part in PARTS:
                dataset.forget_mask(dataset.split(part), request)
