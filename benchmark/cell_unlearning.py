"""The unlearning of one cell, on one device or over several: what a method is given, by the cell's words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.cells import Cell
from benchmark.distributed.devices import Devices
from benchmark.hardware import Precision
from benchmark.planning import Where
from benchmark.shelf import Shelf
from benchmark.tracking import Tracker
from benchmark.unlearn import StepReport, Unlearned, unlearn
from benchmark.watching import Watcher
from datamodules.unlearning import Retrained
from methods.cards import resolve
from methods.registry import Registry


@dataclass(frozen=True)
class CellUnlearner:
    """Lets the methods of cells unlearn.

    Attributes:
        registry: The methods.
        shelf: The models and data sets.
        where: Folders and device.
        tracker: The experiment loggers.
        plugins: Files of further methods.
        watcher: Shows how the accuracy falls; None shows nothing.
        devices: Over which an unlearning is spread.
    """

    registry: Registry
    shelf: Shelf
    where: Where
    tracker: Tracker
    plugins: tuple[Path, ...]
    watcher: Watcher | None
    devices: Devices

    def run(self, cell: Cell, *, on_step: StepReport | None = None, retrained: Retrained | None = None) -> Unlearned:
        """Unlearn, from a copy of the cell's model.

        Args:
            cell: What to run.
            on_step: Told of each step.
            retrained: The model trained without the forget data, for methods that take it.

        Raises:
            Exception: Whatever the method raises.
        """
        clip = self.shelf.pristine(cell.model)[0].copy()
        dataset, others = self.shelf.datasets(cell)
        logger, precision = self.tracker.logger(cell), precision_of(cell)
        watch = None if self.watcher is None else self.watcher.watch(clip, dataset, cell.request, precision)
        if self.devices.count > 1:
            from benchmark.distributed.cell import unlearn_on_devices

            return unlearn_on_devices(
                cell,
                clip,
                self.devices,
                where=self.where,
                plugins=self.plugins,
                logger=logger,
                on_step=on_step,
                retrained=retrained,
                watch=watch,
            )
        kind = self.registry.declaration(cell.method).hyperparameters
        hyperparameters: Any = resolve(kind, cell.scale, dict(cell.hparams))
        return unlearn(
            self.registry.method_class(cell.method),
            hyperparameters,
            clip,
            dataset,
            cell.request,
            cache_dir=self.where.cache_dir,
            seed=cell.random_seed(),
            others=others,
            precision=precision,
            logger=logger,
            on_step=on_step,
            retrained=retrained,
            watch=watch,
        )


def precision_of(cell: Cell) -> Precision:
    """The precision of a cell's towers."""
    return "bf16" if cell.precision == "bf16" else "fp32"


def trunk_edited(result: Unlearned) -> bool:
    """Whether the image encoder was changed beyond its projection: its features then serve this cell alone."""
    from methods.projection import NoProjectionError, visual_projection

    try:
        projection = visual_projection(result.clip).state_names
    except NoProjectionError:
        projection = ()
    return any(name.startswith("visual.") and name not in projection for name in result.edited)
