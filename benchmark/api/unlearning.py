"""One model and one request from Python: unlearn, evaluate, audit what was unlearned elsewhere, export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.api.loading import PathLike, folder_of
from datamodules.common.errors import BenchmarkError

if TYPE_CHECKING:
    from torch import nn

    from benchmark.execution.single import EvaluationResult, UnlearningResult
    from datamodules.common.dataset import Dataset
    from datamodules.common.request import ForgetRequest
    from methods.common.clip import Clip


def unlearn(
    clip: Clip,
    method: PathLike,
    data: Dataset | None = None,
    *,
    classes: Sequence[str] = (),
    concept: str = "",
    forget_images: Sequence[str | int] = (),
    others: Sequence[Dataset] = (),
    names_to_keep: Sequence[str] | None = None,
    seed: int = 0,
    precision: str = "fp32",
    cache_dir: PathLike | None = None,
    progress: bool = True,
    **hyperparameters: Any,
) -> UnlearningResult:
    """Let a method unlearn classes or a concept from a CLIP, in a process of its own; the CLIP given stays as it is.

    Args:
        clip: The model.
        method: A registered name (`list_methods`), or a Python file that declares a method.
        data: Where the classes are from. None for methods that read names alone; nothing can be measured then.
        classes: Names of classes to forget.
        concept: A word of captions to forget, in the place of classes.
        forget_images: Paths of training images, or their rows from 0: these are the forget set, in the place of all
            images of the classes or the concept, which then only tell methods that need a name which it is.
        others: Data sets of which the method may know the names, and which `evaluate` measures.
        names_to_keep: Without data, the names beside those to forget; by default the class names of ImageNet.
        seed: Of everything random.
        precision: "fp32", "bf16" or "auto".
        cache_dir: By default the user's cache.
        progress: Whether to show a bar.
        **hyperparameters: Those that are to differ from the method's defaults.

    Raises:
        BenchmarkError: If a name, a hyperparameter or the request is wrong, or the method reads images and there are
            none.
        Exception: Whatever the method raises.

    Examples:
        >>> result = cub.unlearn(clip, "ccup", data, classes=["star"], retain_weight=10)
        >>> result.original is clip, result.clip is clip
        (True, False)
        >>> result.cell.hparams["retain_weight"]
        10.0
    """
    from benchmark.execution.single import unlearn_one
    from datamodules.in_memory import NamesDataset

    request = _request(classes, concept, forget_images)
    if data is None and forget_images:
        raise BenchmarkError("images to forget are those of a data set: give it (load_dataset, --data)")
    if data is None:
        data = NamesDataset(request.names, names_to_keep)
    elif names_to_keep is not None:
        raise BenchmarkError("names_to_keep is for unlearning without data: the data set's other names are kept")
    return unlearn_one(
        clip,
        method,
        data,
        request,
        hparams=hyperparameters,
        others=others,
        seed=seed,
        precision=precision,
        cache_dir=folder_of(cache_dir),
        progress=progress,
    )


def evaluate(
    result: UnlearningResult,
    measures: Sequence[str] | str = (),
    *,
    others: Sequence[Dataset] | None = None,
    progress: bool = True,
) -> EvaluationResult:
    """Measure an unlearned model beside its original: the numbers that a suite's record would hold.

    Args:
        result: What `unlearn` gave.
        measures: Families of further measures, such as ["linear_probe"], or "all".
        others: The other data sets to measure; by default those of `unlearn`.
        progress: Whether to show a bar.

    Raises:
        BenchmarkError: If there are no images, or a family does not exist.

    Examples:
        >>> measured = cub.evaluate(result)
        >>> measured.metrics["forget/acc1"].value <= measured.before["forget/acc1"].value
        True
        >>> list(measured.to_pandas().columns)
        ['metric', 'value', 'n', 'low', 'high', 'direction', 'original']
    """
    from benchmark.execution.single import evaluate_one

    return evaluate_one(result, measures, others=others, progress=progress)


def audit(
    original: Clip,
    unlearned: Clip | nn.Module | PathLike,
    data: Dataset,
    *,
    name: str,
    classes: Sequence[str] = (),
    concept: str = "",
    forget_images: Sequence[str | int] = (),
    measures: Sequence[str] | str = (),
    others: Sequence[Dataset] = (),
    seed: int = 0,
    precision: str = "fp32",
    suite: str = "audit",
    results: PathLike | None = None,
    cache_dir: PathLike | None = None,
    progress: bool = True,
) -> EvaluationResult:
    """Measure a model that was unlearned elsewhere as if a method of this project had unlearned it.

    Args:
        original: The model before.
        unlearned: The model after: a `Clip`, an open_clip model, a checkpoint or a folder in open_clip's format.
        data: Where the request is measured.
        name: What the leaderboard calls the method; no name of a registered one.
        classes: Names of classes that were to be forgotten.
        concept: A word of captions, in the place of classes.
        measures: Families of further measures, or "all".
        others: Other data sets that should keep working.
        seed: Of the unlearning, where there are several.
        precision: "fp32", "bf16" or "auto".
        suite: The suite on whose board the row is to stand.
        results: The folder to write the record into, marked as brought; None writes none.
        cache_dir: By default the user's cache.
        progress: Whether to show a bar.

    Raises:
        BenchmarkError: If the weights are not of the original's architecture, a name is wrong, or the record cannot be
            written.

    Examples:
        >>> edited = result.clip.model.state_dict()  # stands for weights from your own training code
        >>> theirs = clip.copy()
        >>> _ = theirs.model.load_state_dict(edited)
        >>> audited = cub.audit(clip, theirs, data, name="my_method", classes=["star"])
        >>> audited.metrics["forget/acc1"] == measured.metrics["forget/acc1"]
        True
    """
    from benchmark.execution.brought import audit_cell, brought_cell
    from benchmark.execution.single import cell_for, families, runner_for
    from benchmark.models.in_memory import unlearned_elsewhere
    from benchmark.suites.expansion import ORIGINAL
    from benchmark.suites.suite_file import suite_names
    from benchmark.utils.bar import bar
    from datamodules.common.chosen_images import serving

    request = _request(classes, concept, forget_images)
    serving(data, request).check_request(request)
    model = unlearned_elsewhere(original, unlearned)
    folder = folder_of(results)
    if folder is not None:
        _check_as_named(original)
    command = "" if suite in suite_names() else "from Python: benchmark.audit(...)"
    runner = runner_for(original, data, others, cache_dir=folder_of(cache_dir), results=folder, command=command)
    plain = cell_for(
        *(runner, original, data, request),
        method=ORIGINAL,
        hparams={},
        others=others,
        precision=precision,
        suite=suite,
    )
    names = runner.registry.names()
    cell = brought_cell(replace(plain, measures=families(measures)), name, model, seed=seed, registered=names)
    if folder is not None:
        runner.store.own()
    with bar(f"measuring {name}: {request}", shown=progress) as shown, runner.showing(shown):
        return audit_cell(runner, cell, model, write=folder is not None)


def export(
    model: UnlearningResult | Clip,
    folder: PathLike,
    *,
    evaluation: EvaluationResult | None = None,
    architecture: str | None = None,
) -> Path:
    """Write a model as a folder that `open_clip.create_model_and_transforms("local-dir:FOLDER")` loads.

    An unlearned model gets a model card, which says what was measured and what it must not be used for.

    Args:
        model: What `unlearn` gave, or any `Clip`.
        folder: Must not exist, or be empty.
        evaluation: What `evaluate` found, for the model card.
        architecture: open_clip's name of the architecture, for a model that was given from memory.

    Raises:
        BenchmarkError: If open_clip's format cannot carry the model, or the folder cannot be written.

    Examples:
        >>> folder = cub.export(result, "unlearned", evaluation=measured)
        >>> sorted(path.name for path in folder.iterdir())
        ['README.md', 'open_clip_config.json', 'open_clip_model.safetensors', 'record.json']
    """
    from benchmark.execution.single import UnlearningResult, unmeasured_record
    from benchmark.exporting.card import CardWriter
    from benchmark.exporting.config import check_exportable, check_no_filter
    from benchmark.exporting.folder import check_target, export_model
    from benchmark.exporting.origin import origin_of
    from methods.common.added import added_modules

    clip = model.clip if isinstance(model, UnlearningResult) else model
    name = clip.name if architecture is None else f"{architecture}:{clip.name}"
    check_exportable(name)
    check_no_filter(clip)
    target = check_target(str(folder))
    if not isinstance(model, UnlearningResult):
        export_model(target, clip, name, ())
        return target
    record = unmeasured_record(model) if evaluation is None else evaluation.record
    card = model.runner.registry.declaration(model.cell.method).card
    before = None if evaluation is None else evaluation.before
    page = CardWriter(record, card, origin_of(name), before, added=bool(added_modules(clip.model))).write()
    export_model(target, clip, name, model.request.names, page, record)
    return target


def _request(classes: Sequence[str], concept: str, images: Sequence[str | int]) -> ForgetRequest:
    from datamodules.common.image_request import ImagesRequest
    from datamodules.common.request import ForgetRequest

    if isinstance(classes, str):
        raise BenchmarkError(f"classes is a list of names: classes=[{classes!r}]")
    if isinstance(images, str):
        raise BenchmarkError(f"forget_images is a list of paths or rows: forget_images=[{images!r}]")
    if not images:
        return ForgetRequest(classes=tuple(classes), concept=concept)
    names = ForgetRequest(classes=tuple(classes), concept=concept) if classes or concept else None
    return ImagesRequest.of(images, names)


def _check_as_named(clip: Clip) -> None:
    """Check that a named model still has the weights of its name: a record would say so.

    Raises:
        BenchmarkError: If it was changed since it was loaded.
    """
    from benchmark.models.loading import load_clip, weights_hash
    from datamodules.common.card import MEMORY_SCHEME

    if not clip.name.startswith(MEMORY_SCHEME) and weights_hash(clip) != weights_hash(load_clip(clip.name)):
        raise BenchmarkError(
            f"the weights of {clip.name} were changed since it was loaded, so a record would name the wrong original: "
            "load it again, or give your model from memory, load_model(clip.model, name=...)"
        )
