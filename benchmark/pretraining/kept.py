"""Models trained once and kept in the cache: where each lies, and how it comes there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from benchmark.compact import load_compact
from benchmark.hardware import resolve_device, resolve_precision
from benchmark.pretraining.identity import training_identity
from benchmark.pretraining.recipe import Recipe
from benchmark.pretraining.train import Progress, pretrain
from datamodules.dataset import Dataset
from datamodules.request import ForgetRequest
from methods.clip import Clip


def kept_path(folder: Path, recipe: Recipe, *what: Any, datasets: Sequence[Dataset], device: str, name: str) -> Path:
    """Where a model is kept: its name and a digest of the recipe and of what else makes it what it is.

    Args:
        folder: Of its kind.
        recipe: By which it is trained.
        what: Values that JSON can hold.
        datasets: On which it is trained, before anything is left out.
        device: Where it is trained: decides the precision.
        name: How the file begins.
    """
    kind, precision = resolve_device(device).type, resolve_precision("auto", device)
    revisions = [dataset.revision for dataset in datasets]
    return folder / (
        f"{name}-{training_identity(recipe, *what, kind, revisions=revisions, precision=precision)}.safetensors"
    )


def trained_once(
    path: Path,
    recipe: Recipe,
    *,
    data_dir: Path | None,
    cache_dir: Path,
    seed: int,
    device: str,
    progress: Progress | None = None,
    exclude: dict[str, ForgetRequest] | None = None,
    datasets: Sequence[Dataset] | None = None,
) -> Clip:
    """The model of a file, trained first if it is not there; a training that was killed goes on from its checkpoint.

    Where another process trains the same model at this moment, its end is awaited.

    Args:
        path: The file.
        recipe: By which it is trained; the other arguments are those of `pretrain`.
    """
    if not path.is_file():
        with _alone(path, progress):
            if not path.is_file():
                pretrain(
                    recipe,
                    path,
                    data_dir=data_dir,
                    cache_dir=cache_dir,
                    seed=seed,
                    exclude=exclude,
                    device=device,
                    progress=progress,
                    checkpoint=path.with_suffix(".training"),
                    datasets=datasets,
                )
    return load_compact(path, recipe.name)


@contextmanager
def _alone(path: Path, progress: Progress | None) -> Iterator[None]:
    """Hold the lock of a file; `progress` is asked every second while another process holds it, and may raise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_suffix(".lock"))
    while not lock.is_locked:
        try:
            lock.acquire(timeout=1.0)
        except Timeout:
            if progress is not None:
                progress(0, 1, 0.0)
    try:
        yield
    finally:
        lock.release()
