"""`export`: write a recorded cell's unlearned model as a folder that open_clip loads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from benchmark.cli.arguments import Option
from benchmark.cli.options import DeviceOfRecord, Places, Plugins, Tolerance
from benchmark.execution.verification import TOLERANCE
from benchmark.models.registry import recipe_names, shipped_models
from benchmark.records.lookup import cell_to_run, find_record
from benchmark.records.store import REFERENCE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmark.execution.edited_weights import KeptWeights
    from benchmark.execution.runner import CellRunner
    from benchmark.exporting.hub import Push
    from benchmark.records.cell import Cell
    from benchmark.records.record import Metric, Record
    from methods.common.clip import Clip


def export_command(
    key: str,
    folder: str,
    /,
    *,
    plugins: Plugins,
    places: Places,
    device_of: DeviceOfRecord,
    tolerance: Tolerance = TOLERANCE,
    push: Annotated[str, Option("ORG/NAME")] | None = None,
    public: bool = False,
    dry_run: bool = False,
) -> int:
    """Write a model as a folder: safetensors, open_clip's configuration, a model card.

    It is the unlearned model of a recorded cell, or one of this project's small CLIPs as it came.

    `open_clip.create_model_and_transforms("local-dir:FOLDER")` loads it. Weights that `run --save-weights` kept are
    taken; without them the cell runs again, and is exported only if it gives the numbers of its record.

    Args:
        key: The key of a record, of yours or of the project's, its beginning, or a record's file; or a small CLIP by
            its name (micro) or by the file that `pretrain` wrote.
        folder: The folder to make; it must not exist or be empty.
        tolerance: Largest difference of a metric (a fraction) that counts as equal.
        push: Send the folder to this repository of the Hugging Face hub, which is made, private, if it is not there.
        public: Make it public instead.
        dry_run: With --push, write the folder, show what would be sent, and send nothing.
    """
    from benchmark.execution.runner import CellRunner
    from benchmark.execution.tracking import Tracker
    from benchmark.exporting.card import CardWriter
    from benchmark.exporting.config import TRUNK_MODULE, ExportError, check_exportable, needs_trunk
    from benchmark.exporting.folder import check_target, export_model
    from benchmark.exporting.hub import Push
    from benchmark.exporting.origin import origin_of
    from benchmark.records.store import RecordStore
    from benchmark.utils.hardware import resolve_device
    from methods.common.added import added_modules
    from methods.common.registry import Registry

    sent = None if push is None else Push(push, private=not public, dry_run=dry_run)
    if sent is None and (public or dry_run):
        raise ExportError("--public and --dry-run are for --push ORG/NAME: add it, or leave them out")
    if sent is not None:
        sent.check()
    if key in shipped_models() or key.endswith(".safetensors"):
        return _export_original(key, folder, sent)
    recorded = find_record(key, places.results)
    cell = cell_to_run(recorded)
    check_exportable(cell.model)
    target = check_target(folder)
    registry = Registry(plugins.plugin)
    card = registry.declaration(cell.method).card
    device = device_of.device or cell.device
    resolve_device(device)
    store = RecordStore(places.results)
    runner = CellRunner(registry, places.where(device), store, Tracker(None))
    place = Path(key) if key.endswith(".json") else store.path(cell.suite, recorded.key)
    before, retrained = (_metrics_of(recorded, name, places.results) for name in ("original", "retrain"))
    clip = _kept(runner, cell, recorded, place)
    if clip is None:
        clip, before = _again(runner, cell, recorded, tolerance, before)
    trunk = TRUNK_MODULE if needs_trunk(cell.model) else None
    added = bool(added_modules(clip.model))
    page = CardWriter(recorded, card, origin_of(cell.model), before, retrained, trunk, push or "", added).write()
    gap = export_model(target, clip, cell.model, cell.request.names, page, recorded)
    print(f"{folder}: {cell}")
    _say_how_to_load(folder, gap, trunk, added=added)
    _send(target, sent)
    return 0


def _send(folder: Path, push: Push | None) -> None:
    """Send an exported folder to the hub, or show what would be sent."""
    if push is None:
        return
    if push.dry_run:
        print(f"dry run, nothing is sent\n{push.told(folder)}")
    else:
        print(f"sent: {push.send(folder)}")


def _export_original(model: str, folder: str, push: Push | None) -> int:
    """Write a small CLIP of this project as it came."""
    from benchmark.exporting.config import TRUNK_MODULE, needs_trunk
    from benchmark.exporting.folder import check_target, export_model
    from benchmark.exporting.original_card import original_card
    from benchmark.models.compact import about_of
    from benchmark.models.loading import load_clip
    from benchmark.models.naming import parse_model

    target = check_target(folder)
    clip = load_clip(model)
    path = parse_model(model)[2]
    trunk = TRUNK_MODULE if needs_trunk(model) else None
    about = about_of(path) if path is not None else {}
    page = (
        original_card(about, trunk, "" if push is None else push.repository)
        if about.get("recipe") in recipe_names()
        else None
    )
    gap = export_model(target, clip, model, [], page)
    print(f"{folder}: {model}, as it came")
    _say_how_to_load(folder, gap, trunk, card=page is not None)
    _send(target, push)
    return 0


def _say_how_to_load(folder: str, gap: float, trunk: str | None, *, card: bool = True, added: bool = False) -> None:
    from benchmark.exporting.config import ADDED_MODULE
    from benchmark.exporting.folder import CARD

    where = f"; what it is and is not for is in {CARD}" if card else ""
    print(f"open_clip reads it back: features differ by at most {gap:.1e}{where}")
    if trunk is not None:
        print(f"    import {trunk}  # {trunk}.py in the folder registers the image trunk with timm")
    if added:
        print(f"    import {ADDED_MODULE}  # {ADDED_MODULE}.py in the folder builds what the method added to the model")
        print(f'    {ADDED_MODULE}.load("{folder}")')
        return
    print(f'    open_clip.create_model_and_transforms("local-dir:{folder}")')


def _kept(runner: CellRunner, cell: Cell, record: Record, place: Path) -> Clip | None:
    """The unlearned model from the weights beside a record; None, with a line that says why, where it is not there."""
    from benchmark.execution.edited_weights import KeptWeights, outputs_path, weights_path

    path = weights_path(place)
    if not path.is_file():
        print(f"no weights are kept beside the record: {cell} runs again (the same seed gives the same weights)")
        return None
    edited = KeptWeights.read(path)
    if edited is None or not KeptWeights.belongs(path, record.key, outputs_path(place)):
        print(f"note: {path} is damaged or of another run than the record: {cell} runs again")
        return None
    _check_filter(edited.refused, cell)
    pristine, weights = runner.session.pristine(cell.model)
    if edited.original != weights:
        print(f"note: the weights of {cell.model} here are not those that {path} edits: {cell} runs again")
        return None
    clip = pristine.copy()
    edited.put_into(clip)
    print(f"taken: the weights kept beside the record ({_size(edited)})")
    return clip


def _size(edited: KeptWeights) -> str:
    size_bytes = sum(value.numel() * value.element_size() for value in edited.tensors.values())
    return f"{len(edited.tensors)} tensors, {size_bytes / 1e6:.2f} MB"


def _again(
    runner: CellRunner, cell: Cell, record: Record, tolerance: float, before: Mapping[str, Metric] | None
) -> tuple[Clip, Mapping[str, Metric] | None]:
    """The unlearned model of a second run, and the original's metrics.

    Raises:
        ExportError: If it does not give the numbers of the record.
    """
    from benchmark.execution.verification import as_recorded, gaps, largest
    from benchmark.exporting.config import ExportError

    if runner.where.digests.code(runner.registry, cell.method, cell.model, of_a_part=cell.of_a_part) != cell.code:
        print(f"note: the code with which {cell.method!r} unlearns differs from the one that made this record")
    cell_again = as_recorded(cell, record)
    references = runner.references(cell_again)
    second = runner.make(cell_again, references)
    worst = largest(gaps(record, second.record))
    _check_filter(second.unlearned.clip.refused, cell)
    if worst.size > tolerance:
        raise ExportError(
            f"{worst.metric} is {worst.recorded} in the record and {worst.now} now, beyond --tolerance {tolerance:g}: "
            "this is another model, it is not exported; `verify` shows every number"
        )
    print(f"verified: the largest difference to the record is {worst.size:.4f} ({len(record.metrics)} numbers)")
    return second.unlearned.clip, before or references.before


def _check_filter(refused: tuple[str, ...], cell: Cell) -> None:
    from benchmark.exporting.config import ExportError

    if refused:
        raise ExportError(
            f"method {cell.method!r} filters answers and leaves the weights as they are: an exported model would "
            "forget nothing; export the record of a method that edits weights"
        )


def _metrics_of(record: Record, reference: str, results: Path) -> Mapping[str, Metric] | None:
    """The metrics of one of a record's references, where that has a record."""
    from benchmark.records.store import RecordStore

    key = record.references.get(reference)
    stores = (RecordStore(results), RecordStore(REFERENCE, older=True))
    records = [store.read(key) for store in stores if key is not None]
    return next((record.metrics for record in records if record is not None), None)
