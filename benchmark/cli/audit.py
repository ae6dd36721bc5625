"""`audit`: a model that was unlearned elsewhere, measured as a suite measures, with its row on the suite's board."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from benchmark.cli.arguments import Option
from benchmark.cli.options import Forget, Hardware, Name, Places, Seed, Selection
from benchmark.leaderboards.grouping import board_key, pair
from datamodules.common.errors import BenchmarkError
from datamodules.common.image_request import images_of

if TYPE_CHECKING:
    from benchmark.records.cell import Cell
    from benchmark.records.store import RecordStore


def audit_command(
    *,
    model: Name,
    unlearned: Annotated[str, Option("FILE")],
    name: Name,
    suite: Name = "quick",
    forget: Forget,
    places: Places,
    seed: Seed = 0,
    hardware: Hardware,
) -> int:
    """Measure a model that was unlearned elsewhere with all measures of a suite, and put its row on the leaderboard.

    What was to be forgotten is one of the suite's requests. The row is ranked like any other and marked as brought:
    what the method read and what it cost is not known here.

    Args:
        model: The model before unlearning: mini, ViT-B-32/openai, ViT-B-32:FILE.
        unlearned: The model after: a state dict, a safetensors file, or a folder in open_clip's format.
        name: What the leaderboard calls your method; no registered name.
        suite: The suite whose data sets and measures are used.
        seed: Of your unlearning, where there are several checkpoints of one request.
    """
    from benchmark.cli.measured import before_and_after
    from benchmark.execution.brought import audit_cell, brought_cell
    from benchmark.execution.runner import CellRunner
    from benchmark.execution.tracking import Tracker
    from benchmark.models.in_memory import unlearned_elsewhere
    from benchmark.utils.bar import bar

    selection = Selection(suite=suite, methods=("original",), model=(model,))
    plan = selection.plan(places, hardware.device, hardware.precision)
    original = _asked(plan.cells, forget, suite)
    runner = CellRunner.of(plan, Tracker(None))
    pristine, _ = runner.session.pristine(original.model)
    clip = unlearned_elsewhere(pristine, unlearned)
    cell = brought_cell(original, name, clip, seed=seed, registered=plan.registry.names())
    plan.store.own()
    runner.check_needs([original])
    with bar(f"measuring {name}: {cell.request}", shown=True) as shown, runner.showing(shown):
        measured = audit_cell(runner, cell, clip, write=True)
    print(before_and_after(measured))
    print(f"{measured.path}: the record of {name}, marked as brought")
    if missing := _missing(plan.cells, plan.store, cell):
        print(f"beside rows of the suite's other requests its means stay empty until you audit: {'; '.join(missing)}")
    print(f"    python -m benchmark leaderboard --suite {plan.suite.name} --results {places.results} --with-reference")
    return 0


def _asked(originals: Sequence[Cell], forget: Forget, suite: str) -> Cell:
    """The cell of the original on the request that is asked for.

    Raises:
        BenchmarkError: If none is asked for, or the suite does not have it.
    """
    classes, concept = forget.classes, forget.concept or ""
    wanted = _images(forget.images)
    requests = "; ".join(dict.fromkeys(_option(cell) for cell in originals))
    if classes and concept:
        raise BenchmarkError("a checkpoint forgot classes or a concept: give --classes or --concept, not both")
    if not classes and not concept and not wanted:
        raise BenchmarkError(
            f"suite {suite!r} has {len(originals)} requests, and each needs a checkpoint of its own: say which "
            f"one yours is of: {requests}"
        )
    matches = [
        cell
        for cell in originals
        if set(cell.request.classes) == set(classes)
        and cell.request.concept == concept
        and _images(images_of(cell.request)) == wanted
    ]
    if not matches:
        raise BenchmarkError(f"suite {suite!r} has no such request; it has {requests}")
    if matches[0].sequence:
        raise BenchmarkError(
            f"the requests of suite {suite!r} are unlearned one after another: audit a checkpoint with a suite whose "
            "requests stand alone, such as quick"
        )
    return matches[0]


def _missing(originals: Sequence[Cell], store: RecordStore, cell: Cell) -> list[str]:
    """The requests of a brought model's board for which it has no record yet, as options."""
    there = {
        pair(record)[0]
        for record in store.all(cell.suite)
        if record.cell["method"] == cell.method and board_key(record).model == cell.model
    }
    board = [
        original
        for original in originals
        if (original.dataset, original.request.kind) == (cell.dataset, cell.request.kind)
    ]
    return [_option(original) for original in board if str(original.request) not in there]


def _images(images: Sequence[str | int]) -> set[str]:
    return {str(image) for image in images}


def _option(cell: Cell) -> str:
    if images := images_of(cell.request):
        return f"--images {','.join(map(str, images))!r}"
    if cell.request.concept:
        return f"--concept {cell.request.concept!r}"
    return f"--classes {','.join(cell.request.classes)!r}"
