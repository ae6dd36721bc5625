"""Models trained once and kept in the cache: where each lies, and how it comes there."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.models.compact import is_whole_compact, load_compact
from benchmark.pretraining.identity import training_identity
from benchmark.pretraining.recipe import Recipe
from benchmark.utils.hardware import resolve_device, resolve_precision
from datamodules.common.cache import ensure
from datamodules.common.dataset import Dataset
from datamodules.common.request import ForgetRequest

if TYPE_CHECKING:
    from benchmark.pretraining.train import ProgressCallback
    from methods.common.clip import Clip


def kept_path(folder: Path, recipe: Recipe, *what: Any, revisions: Sequence[str], device: str, name: str) -> Path:
    """Where a model is kept: its name and a digest of the recipe and of what else makes it what it is.

    Args:
        folder: Of its kind.
        recipe: By which it is trained.
        what: Values that JSON can hold.
        revisions: Of the data sets on which it is trained, before anything is left out.
        device: Where it is trained: decides the precision.
        name: How the file begins.
    """
    kind, precision = resolve_device(device).type, resolve_precision("auto", device)
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
    progress: ProgressCallback | None = None,
    exclude: dict[str, ForgetRequest] | None = None,
    datasets: Sequence[Dataset] | None = None,
) -> Clip:
    """The model of a file, trained first if it is not there; a training that was killed goes on from its checkpoint.

    Where another process trains the same model at this moment, its end is awaited. A damaged file is trained again.

    Args:
        path: The file.
        recipe: By which it is trained; the other arguments are those of `pretrain`.
    """

    def train() -> None:
        from benchmark.pretraining.train import pretrain  # Lightning, which `plan` does without

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
            cached=True,
        )

    ensure(
        path,
        train,
        whole=is_whole_compact,
        waiting=None if progress is None else partial(progress, 0, 1, 0.0),
    )
    return load_compact(path, recipe.name)
