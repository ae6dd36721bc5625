"""What `import benchmark` offers: models, data sets, unlearning, measuring, suites and leaderboards from Python.

The command line calls the same functions. Examples run as they stand, on the embedded world, with

    import benchmark as cub
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmark.suites.overview import (
    Overview,
    datasets_overview,
    measures_overview,
    methods_overview,
    models_overview,
    suites_overview,
)
from benchmark.utils.folders import cache_folder
from datamodules.common.errors import BenchmarkError

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn

    from benchmark.execution.single import EvaluationResult, UnlearningResult
    from benchmark.leaderboard.leaderboard import Leaderboard
    from benchmark.records.record import Record
    from benchmark.suites.plan import Plan
    from datamodules.common.dataset import Dataset
    from datamodules.common.request import ForgetRequest
    from datamodules.in_memory import Images, Part
    from methods.common.clip import Clip

PathLike = str | Path


def load_model(
    model: str | nn.Module,
    *,
    device: str = "auto",
    tokenizer: Callable[[list[str]], Tensor] | None = None,
    transform: Callable[[Any], Tensor] | None = None,
    name: str = "model",
) -> Clip:
    """A CLIP: one of this package, any open_clip architecture with weights, or an open_clip model in memory.

    Args:
        model: "shapes-resnet" or "mini" (in the package), "ViT-B-32/openai" (fetched by open_clip), "ViT-B-32:FILE"
            (a local checkpoint), or an open_clip model.
        device: "auto", "cpu", "cuda" or "cuda:N".
        tokenizer: Of a model in memory; by default CLIP's own. It goes to another process, so it must be picklable.
        transform: Of a model in memory: its image transform for evaluation, from which size, mean and standard
            deviation are read; by default they are what open_clip wrote into the model.
        name: What results call a model in memory; `memory:` stands before it.

    Raises:
        BenchmarkError: If there is no such model, its weights do not fit, or the transform cannot be read.

    Examples:
        >>> clip = cub.load_model("shapes-resnet", device="cpu")
        >>> clip.preprocessing.image_size
        64
    """
    from benchmark.models.in_memory import clip_in_memory
    from benchmark.models.loading import load_clip
    from benchmark.utils.hardware import resolve_device

    chosen = resolve_device(device)
    if isinstance(model, str):
        if tokenizer is not None or transform is not None:
            raise BenchmarkError(f"model {model!r} brings its tokenizer and transform: give them for a model in memory")
        clip = load_clip(model)
    else:
        clip = clip_in_memory(model, tokenizer=tokenizer, transform=transform, name=name)
    clip.model.to(chosen)
    return clip


def load_dataset(
    name: str = "images",
    clip: Clip | None = None,
    *,
    data_dir: PathLike | None = None,
    cache_dir: PathLike | None = None,
    images: Images | None = None,
    labels: Sequence[int] | Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
    captions: Sequence[str] | Sequence[Sequence[str]] | None = None,
    templates: Sequence[str] | None = None,
    concepts: Sequence[str] | None = None,
    parts: Sequence[Part] | None = None,
    test_share: float = 0.5,
    seed: int = 0,
) -> Dataset:
    """A data set at a model's image size: a registered one, a folder of your own images, or images in memory.

    Args:
        name: A registered name (`list_datasets`) or "folder:NAME"; of images in memory what results call them.
        clip: The model whose image size is wanted; not needed for an array of square images.
        data_dir: The folder of real data sets, as `--data-dir` names it.
        cache_dir: Where decoded images are kept; by default the user's cache.
        images: PIL images, or one uint8 array of shape (N, H, W, 3) or (N, 3, H, W).
        labels: Of each image its class, by name or as an index into `class_names`.
        class_names: In label order.
        captions: Of each image a caption or several.
        templates: Prompt templates, each with one `{}`; by default "a photo of a {}.".
        concepts: The words against which a concept is told apart in a request by concept.
        parts: Of each image "train" or "test"; None draws them by `seed`, each class alike.
        test_share: Share of the images that is drawn for the test split, in (0, 1).
        seed: Of that draw.

    Raises:
        BenchmarkError: If there is no such data set, its files are missing, or images and annotations do not fit.

    Examples:
        >>> data = cub.load_dataset("shapes", clip)
        >>> "star" in data.class_names
        True
        >>> import numpy as np
        >>> pixels = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
        >>> mine = cub.load_dataset("mine", images=pixels, labels=["star", "ring", "moon", "heart"] * 10)
        >>> mine.name, len(mine.split("test").images)
        ('memory:mine', 20)
    """
    kept = Path(cache_dir).expanduser() if cache_dir is not None else cache_folder(None)
    if images is None:
        from datamodules.common.registry import open_dataset

        if labels is not None or captions is not None:
            raise BenchmarkError("labels and captions are for images=...: a registered data set has its own")
        if clip is None:
            raise BenchmarkError(f"load_dataset({name!r}, clip): give the model, whose image size is wanted")
        folder = None if data_dir is None else Path(data_dir).expanduser()
        return open_dataset(name, folder, kept, clip.preprocessing.image_size)
    from datamodules.in_memory import InMemoryDataset

    return InMemoryDataset(
        images,
        labels,
        class_names=class_names,
        captions=captions,
        templates=templates,
        concepts=concepts,
        parts=parts,
        test_share=test_share,
        seed=seed,
        image_size=None if clip is None else clip.preprocessing.image_size,
        name=name,
        cache_dir=kept,
    )


def unlearn(
    clip: Clip,
    method: PathLike,
    data: Dataset | None = None,
    *,
    classes: Sequence[str] = (),
    concept: str = "",
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

    request = _request(classes, concept)
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
        cache_dir=None if cache_dir is None else Path(cache_dir).expanduser(),
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
    from benchmark.suites.parsing import suite_names
    from benchmark.utils.bar import bar

    request = _request(classes, concept)
    data.check_request(request)
    model = unlearned_elsewhere(original, unlearned)
    folder = None if results is None else Path(results).expanduser()
    kept = None if cache_dir is None else Path(cache_dir).expanduser()
    if folder is not None:
        _check_as_named(original)
    command = "" if suite in suite_names() else "from Python: benchmark.audit(...)"
    runner = runner_for(original, data, others, cache_dir=kept, results=folder, command=command)
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
    with bar(f"measuring {name}: {request}", shown=progress) as shown:
        return audit_cell(runner, cell, model, write=folder is not None, on_phase=shown.phase)


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
    from benchmark.export.card import CardWriter
    from benchmark.export.config import check_exportable, check_no_filter
    from benchmark.export.folder import check_target, export_model
    from benchmark.export.origin import origin_of

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
    page = CardWriter(record, card, origin_of(name), None if evaluation is None else evaluation.before).write()
    export_model(target, clip, name, model.request.names, page, record)
    return target


@dataclass(frozen=True, repr=False)
class RunResult:
    """What running a suite gave.

    Attributes:
        records: Of all cells that are done, now or before.
        failures: The cells that failed, with their messages; whole tracebacks are in `failures.jsonl` of the folder.
    """

    records: tuple[Record, ...]
    failures: tuple[tuple[str, str], ...]
    _plan: Plan

    def leaderboard(self) -> Leaderboard:
        """The boards of these records; a row that lacks one of the suite's cells has empty means."""
        from benchmark.leaderboard.boards import boards_of
        from benchmark.leaderboard.leaderboard import Leaderboard

        boards = boards_of(self.records, self._plan.registry, cells=self._plan.cells)
        return Leaderboard(tuple(boards), self.records)

    def to_pandas(self) -> pd.DataFrame:
        """One row a record: its cell, the value of each metric, and the costs."""
        import pandas as pd

        shown = ("method", "dataset", "model", "seed")
        return pd.DataFrame(
            [
                {
                    **{name: record.cell[name] for name in shown},
                    "request": " ".join(str(value) for value in record.cell["request"].values()),
                    **{name: metric.value for name, metric in record.metrics.items()},
                    **record.cost,
                    "key": record.key,
                }
                for record in self.records
            ]
        )

    def __repr__(self) -> str:
        failed = "".join(f"\nfailed: {cell}: {message}" for cell, message in self.failures)
        return f"<{len(self.records)} records, {len(self.failures)} failures>{failed}"


def run(
    suite: str = "quick",
    methods: Sequence[str] = (),
    *,
    seeds: Sequence[int] = (),
    models: Sequence[str] = (),
    plugins: Sequence[PathLike] = (),
    settings: Sequence[str] = (),
    results: PathLike = "results/runs",
    data_dir: PathLike | None = None,
    cache_dir: PathLike | None = None,
    device: str = "auto",
    precision: str | None = None,
    force: bool = False,
    save_weights: bool = False,
    wandb: Literal["off", "offline", "online"] = "off",
    progress: bool = True,
) -> RunResult:
    """Run what is missing of a suite, skip what is done, and give all its records.

    Args:
        suite: A suite of the package (`list_suites`), or a YAML file.
        methods: Names, if not the suite's.
        seeds: If not the suite's.
        models: If not the suite's.
        plugins: Files of further methods.
        settings: Hyperparameters as "METHOD.NAME=VALUE".
        results: The folder of the records.
        data_dir: The folder of the real data sets.
        cache_dir: By default the user's cache.
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "fp32", "bf16" or "auto"; by default the suite's.
        force: Run also what is done.
        save_weights: Keep the edited tensors of each cell beside its record.
        wandb: Weights & Biases logging.
        progress: Whether to show progress on standard error.

    Raises:
        BenchmarkError: On anything wrong in the arguments; nothing has been run then.
        KeyboardInterrupt: If the run is interrupted; what is finished is kept, and the same call goes on.

    Examples:
        >>> done = cub.run("quick", ["nullspace"], seeds=[0], results="runs", progress=False)
        >>> done.failures
        ()
        >>> sorted(set(done.to_pandas()["method"]))
        ['nullspace']
    """
    from rich.console import Console

    from benchmark.execution.run import RunOptions, run_plan
    from benchmark.suites.expansion import Where
    from benchmark.suites.plan import make_plan

    folder = None if data_dir is None else Path(data_dir).expanduser()
    cache = cache_folder(None if cache_dir is None else str(cache_dir))
    files = tuple(Path(plugin) for plugin in plugins)
    plan = make_plan(
        *(suite, Where(folder, cache, device), Path(results).expanduser()),
        methods=methods,
        seeds=seeds,
        models=models,
        settings=settings,
        plugins=files,
        precision=precision,
    )
    options = RunOptions(force=force, save_weights=save_weights, wandb=wandb, plugins=files, suite=suite)
    done = run_plan(plan, options, Console(stderr=True, quiet=not progress, highlight=False))
    if done.outcome.interruption is not None:
        raise done.outcome.interruption
    if done.outcome.not_the_method:
        raise BenchmarkError(f"stopped: {done.outcome.not_the_method}; see {done.ledger}")
    failures = tuple((str(cell), message) for cell, message in done.outcome.failed)
    return RunResult(tuple(done.records), failures, plan)


def leaderboard(
    results: PathLike = "results/runs",
    *,
    suite: str | None = None,
    reference: bool = False,
    plugins: Sequence[PathLike] = (),
    device: str | None = None,
) -> Leaderboard:
    """The leaderboard of the records of a folder: `.to_pandas()` for numbers, `print` for the command line's table.

    Args:
        results: The folder.
        suite: Only this suite.
        reference: Beside them, the reference records that come with the project; of a cell that both have, the
            folder's counts.
        plugins: Files of further methods.
        device: Whose seconds and memory to show where cells ran on several chips: a chip's name or a part of it.

    Raises:
        BenchmarkError: If there are no records, or no such chip.

    Examples:
        >>> frame = cub.leaderboard("runs", suite="quick").to_pandas()
        >>> "score/kravets" in frame.columns, "original" in set(frame["method"])
        (True, True)
    """
    from benchmark.leaderboard.leaderboard import read_leaderboard

    return read_leaderboard(
        Path(results).expanduser(),
        suite=suite,
        with_reference=reference,
        plugins=[Path(plugin) for plugin in plugins],
        chip=device,
    )


def list_methods(plugins: Sequence[PathLike] = ()) -> Overview:
    """Every method: what it reads and edits, and its defaults.

    Args:
        plugins: Files of further methods.

    Examples:
        >>> "ccup" in cub.list_methods()
        True
        >>> frame = cub.list_methods().to_pandas()
        >>> frame.set_index("method").loc["ccup", "reads"]
        'names'
    """
    return methods_overview([Path(plugin) for plugin in plugins])


def list_datasets() -> Overview:
    """Every data set.

    Examples:
        >>> "cifar100" in cub.list_datasets()
        True
    """
    return datasets_overview()


def list_models() -> Overview:
    """The small CLIPs of this package, and how any other model is named.

    Examples:
        >>> "mini" in cub.list_models()
        True
    """
    return models_overview()


def list_suites() -> Overview:
    """The suites of the package.

    Examples:
        >>> "quick" in cub.list_suites()
        True
    """
    return suites_overview()


def list_measures() -> Overview:
    """Every measure: unit, range, which way is better.

    Examples:
        >>> "probe_acc1" in cub.list_measures()
        True
    """
    return measures_overview()


def _request(classes: Sequence[str], concept: str) -> ForgetRequest:
    from datamodules.common.request import ForgetRequest

    if isinstance(classes, str):
        raise BenchmarkError(f"classes is a list of names: classes=[{classes!r}]")
    return ForgetRequest(classes=tuple(classes), concept=concept)


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
