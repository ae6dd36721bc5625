"""The unlearning of one cell: the one place that turns a cell into what a method is given."""

from __future__ import annotations

from benchmark.execution.process.unlearner import Work
from benchmark.execution.session import Shelf
from benchmark.records.cell import Cell
from benchmark.unlearning.unlearn import Unlearned
from benchmark.utils.hardware import Precision
from datamodules.common.dataset import Dataset
from datamodules.common.module import Retrained
from methods.common.clip import Clip
from methods.common.registry import Registry


def work_of(
    cell: Cell,
    registry: Registry,
    shelf: Shelf,
    *,
    retrained: Retrained | None = None,
    clip: Clip | None = None,
    dataset: Dataset | None = None,
    seed: int | None = None,
) -> Work:
    """What a cell's method is to do.

    Args:
        cell: What to run.
        registry: The methods.
        shelf: The models and data sets.
        retrained: The model trained without the forget data, for methods that take it.
        clip: In the place of the cell's model; stays as it is.
        dataset: In the place of the cell's data set: as a shadow model knows it.
        seed: In the place of the cell's.
    """
    own, others = shelf.datasets(cell)
    return Work(
        method=registry.declaration(cell.method),
        hparams=cell.hparams,
        clip=clip or shelf.pristine(cell.model)[0],
        dataset=dataset or own,
        request=cell.request,
        seed=cell.random_seed() if seed is None else seed,
        others=others,
        precision=precision_of(cell),
        retrained=retrained,
    )


def precision_of(cell: Cell) -> Precision:
    """The precision of a cell's towers."""
    return "bf16" if cell.precision == "bf16" else "fp32"


def trunk_edited(result: Unlearned) -> bool:
    """Whether the image encoder was changed beyond its projection: its features then serve this cell alone."""
    from methods.common.projections import NoProjectionError, visual_projection

    try:
        projection = visual_projection(result.clip).state_names
    except NoProjectionError:
        projection = ()
    return any(name.startswith("visual.") and name not in projection for name in result.edited)
