"""Models and data sets from Python: by name, or what is in memory already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.utils.folders import cache_folder
from datamodules.common.errors import BenchmarkError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from datamodules.common.dataset import Dataset
    from datamodules.in_memory import Images, SplitPart
    from methods.common.clip import Clip

PathLike = str | Path


def folder_of(path: PathLike | None) -> Path | None:
    """A folder as the user names it, `~` spelled out; None where none is named."""
    return None if path is None else Path(path).expanduser()


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
        model: "shapes-resnet" or "micro" (in the package), "ViT-B-32/openai" (fetched by open_clip), "ViT-B-32:FILE"
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
    parts: Sequence[SplitPart] | None = None,
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
    cache = cache_folder(cache_dir)
    if images is None:
        from datamodules.common.registry import open_dataset

        if labels is not None or captions is not None:
            raise BenchmarkError("labels and captions are for images=...: a registered data set has its own")
        if clip is None:
            raise BenchmarkError(f"load_dataset({name!r}, clip): give the model, whose image size is wanted")
        return open_dataset(name, folder_of(data_dir), cache, clip.preprocessing.framing)
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
        framing=None if clip is None else clip.preprocessing.framing,
        name=name,
        cache_dir=cache,
    )
