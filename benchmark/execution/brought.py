"""A model that was unlearned elsewhere: measured as a method's would be, and written as a record marked as brought.

Its cell has the name that its owner gives it, the hash of its weights (`Cell.brought`), no code and no hyperparameters.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from benchmark.execution.runner import CellRunner
from benchmark.execution.single import EvaluationResult
from benchmark.models.loading import weights_hash
from benchmark.records.cell import Cell
from benchmark.unlearning.cost import Cost
from benchmark.unlearning.unlearn import Unlearned
from datamodules.common.errors import BenchmarkError
from methods.common.card import check_name
from methods.common.clip import Clip, changed_tensors


class BroughtModelError(BenchmarkError):
    """A brought model that cannot be told from a method's, or forgets nothing."""


def brought_cell(original: Cell, name: str, unlearned: Clip, *, seed: int, registered: Collection[str]) -> Cell:
    """The cell of a brought model.

    Args:
        original: The cell of the model as it came, on the same request.
        name: What its owner calls the method.
        unlearned: The model.
        seed: Of its unlearning, as far as its owner tells: rows are means over requests and seeds.
        registered: The names that methods have.

    Raises:
        BenchmarkError: If the name is taken, or cannot name a method.
    """
    check_name(name)
    if name in registered:
        raise BroughtModelError(
            f"{name!r} is a registered method: its rows are of models that it unlearned here; choose another name, "
            f"such as my_{name}"
        )
    return replace(
        original, method=name, seed=seed, hparams={}, code="", by_request=(), brought=weights_hash(unlearned)
    )


def audit_cell(runner: CellRunner, cell: Cell, unlearned: Clip, *, write: bool) -> EvaluationResult:
    """Measure a brought model.

    Args:
        runner: With the original in its session.
        cell: Of `brought_cell`.
        unlearned: The model, of the original's architecture.
        write: Whether to write its record into the runner's store, and before it those that it is compared with.

    Raises:
        BroughtModelError: If it is the original, to the last bit.
    """
    pristine, _ = runner.session.pristine(cell.model)
    unlearned.model.to(pristine.device)
    changed = changed_tensors(pristine.model.state_dict(), unlearned.model.state_dict().items())
    if not changed and not unlearned.refused:
        raise BroughtModelError(
            f"{cell.method!r} is {cell.model} itself, to the last bit: nothing was unlearned; is it the right file?"
        )
    size = sum(value.numel() * value.element_size() for value in changed.values())
    result = Unlearned(unlearned, Cost(), size, tuple(sorted(changed)), 0, 0, {})
    references = runner.references(cell, runner.recorded_references(cell) if write else None)
    measured = runner.measure(cell, references, result)
    path: Path | None = runner.store.write(measured.record, measured.outputs) if write else None
    return EvaluationResult(measured.record, references.before or {}, path)
