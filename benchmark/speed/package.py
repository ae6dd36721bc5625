"""The package clip_benchmark as the other side: the same images and model, decoded and transformed as it does it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from benchmark.speed.bench import Bench
from benchmark.speed.findings import LeftOutError
from benchmark.utils.hardware import Precision
from methods.common.clip import Clip

BATCH, WORKERS, RECALLS = 64, 4, (1, 5, 10)
"""The package's default batch, and its processes that load (open_clip's own are as many); the recalls asked for."""


class FirstItems(torch.utils.data.Dataset[Any]):
    """The first items of a data set of (image, target); the package asks for `classes` too."""

    def __init__(self, items: Any, count: int, classes: Sequence[str] = ()) -> None:
        self._items, self._count, self.classes = items, min(count, len(items)), list(classes)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Any:
        return self._items[index]


class Captioned(torch.utils.data.Dataset[Any]):
    """Image files with captions, as items of (transformed image, captions); decoded again each time."""

    def __init__(
        self, paths: Sequence[Path], captions: Sequence[tuple[str, ...]], transformed: Callable[[Any], Any]
    ) -> None:
        self._paths, self._captions, self._transform = paths, captions, transformed

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Any:
        from PIL import Image

        with Image.open(self._paths[index]) as image:
            return self._transform(image.convert("RGB")), list(self._captions[index])


def require() -> None:
    """Find out whether the package is there.

    Raises:
        LeftOutError: If it is not.
    """
    try:
        import clip_benchmark.metrics.zeroshot_classification
        import clip_benchmark.metrics.zeroshot_retrieval  # noqa: F401
    except ImportError as error:
        raise LeftOutError(
            f"the package clip_benchmark is not installed ({error}): pip install 'clip-unlearning-benchmark[speed]'"
        ) from error


def classify(
    clip: Clip, images: FirstItems, templates: Sequence[str], precision: Precision, bench: Bench
) -> dict[str, float]:
    """Its zero-shot classification: acc1, acc5, mean_per_class_recall."""
    from clip_benchmark.metrics import zeroshot_classification

    zeroshot_classification.accuracy = _accuracy
    named = [template.replace("{}", "{c}") for template in templates]
    with _quiet():
        loader = torch.utils.data.DataLoader(images, batch_size=BATCH, num_workers=WORKERS)
        metrics: dict[str, float] = zeroshot_classification.evaluate(
            clip.model, loader, clip.tokenize, images.classes, named, bench.device.type, amp=precision == "bf16"
        )
    return metrics


def classify_as_open_clip(
    clip: Clip, images: FirstItems, templates: Sequence[str], precision: Precision
) -> dict[str, float]:
    """open_clip's zero-shot classification, as its training does it after an epoch: acc1.

    Raises:
        LeftOutError: If the part of open_clip that trains is not there.
    """
    from open_clip import build_zero_shot_classifier

    try:
        from open_clip_train import zero_shot
    except ImportError as error:
        raise LeftOutError(f"open_clip's own evaluation cannot be imported: {error}") from error
    zero_shot.accuracy = _right
    named = [template.format for template in templates]
    settings = SimpleNamespace(device=str(clip.device), precision="amp_bf16" if precision == "bf16" else "fp32")
    settings.batch_size = BATCH
    with _quiet(), torch.autocast(clip.device.type, torch.bfloat16, enabled=precision == "bf16"):
        classifier = build_zero_shot_classifier(
            clip.model, clip.tokenize, images.classes, named, num_classes_per_batch=10, device=clip.device
        )
    with _quiet():
        loader = torch.utils.data.DataLoader(images, batch_size=BATCH, num_workers=WORKERS)
        acc1, _ = zero_shot.run(clip.model, classifier, loader, settings)
    return {"acc1": float(acc1)}


def _right(output: torch.Tensor, target: torch.Tensor, topk: Sequence[int] = (1,)) -> list[float]:
    """Stands in for open_clip's `accuracy`, which counts: it makes numbers as NumPy 2.4 no longer allows."""
    right = output.topk(min(max(topk), output.shape[1]), dim=1).indices == target[:, None]
    return [float(right[:, :k].any(dim=1).sum()) for k in topk]


def _accuracy(output: torch.Tensor, target: torch.Tensor, topk: Sequence[int] = (1,)) -> list[float]:
    """Stands in for the package's function of this name, for the same reason: the share of the images."""
    return [count / len(target) for count in _right(output, target, topk)]


def retrieve(clip: Clip, images: FirstItems, precision: Precision, bench: Bench) -> dict[str, float]:
    """Its zero-shot retrieval: recall at 1, 5 and 10 both ways."""
    from clip_benchmark.datasets.builder import image_captions_collate_fn
    from clip_benchmark.metrics import zeroshot_retrieval

    with _quiet():
        loader = torch.utils.data.DataLoader(
            images, batch_size=BATCH, num_workers=WORKERS, collate_fn=image_captions_collate_fn
        )
        metrics: dict[str, float] = zeroshot_retrieval.evaluate(
            clip.model,
            loader,
            clip.tokenize,
            bench.device.type,
            amp=precision == "bf16",
            recall_k_list=list(RECALLS),
        )
    return metrics


def transform(clip: Clip) -> Callable[[Any], Any]:
    """open_clip's transform for a model's images, which the package uses."""
    from open_clip.transform import image_transform

    wanted = clip.preprocessing
    preprocess: Callable[[Any], Any] = image_transform(
        wanted.image_size,
        is_train=False,
        mean=wanted.mean,
        std=wanted.std,
        resize_mode=wanted.resize,
        interpolation=wanted.interpolation,
    )
    return preprocess


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Its progress bars are not wanted here."""
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        yield
