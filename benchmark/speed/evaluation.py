"""evaluation: zero-shot classification and retrieval, against the package clip_benchmark on the same images and model.

Zero-shot classification also against open_clip's own, which its training calls after an epoch.

The suite's side is what a second model costs: images are decoded once for all models. No features are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch

from benchmark.evaluation.embeddings import EmbeddingStore
from benchmark.evaluation.evaluate import retrieval_metrics
from benchmark.evaluation.numerics.metrics import mean_per_class_recall, predict
from benchmark.speed import package
from benchmark.speed.bench import Bench
from benchmark.speed.findings import LeftOutError, Side, SpeedFinding, alternate
from benchmark.speed.subsets import FirstImages, FirstPhotographs
from benchmark.utils.hardware import Precision
from datamodules.common.dataset import Dataset
from methods.common.clip import Clip

LEAST = {"mini": 1.0, "ViT-B-32": 1.3}
"""Never slower than what loads in four processes beside itself, where a small tower leaves nothing else to save."""
CLASSIFIED = {"ViT-B-32": {"cpu": 128, "cuda": 4096}, "mini": {"cpu": 2000, "cuda": 10_000}}
RETRIEVED = {"ViT-B-32": {"cpu": 64, "cuda": 1000}, "mini": {"cpu": 500, "cuda": 1000}}
REPEATS = 3


def measure(bench: Bench) -> Iterator[SpeedFinding]:
    """Each model in each precision, on CIFAR-100 and on Flickr30K."""
    package.require()
    if bench.data_dir is None:
        raise LeftOutError("it needs real images: name the folder of CIFAR-100 or Flickr30K with --data-dir")
    for name, load in (("mini", bench.model), ("ViT-B-32", bench.architecture)):
        clip = load(name)
        for task in (_classification, _open_clip, _retrieval):
            for precision in bench.precisions:
                yield task(bench, clip, name, precision)


def _classification(bench: Bench, clip: Clip, name: str, precision: Precision) -> SpeedFinding:
    from torchvision.datasets import CIFAR100

    count = CLASSIFIED[name][bench.device.type]
    dataset = FirstImages(bench.dataset("cifar100", clip.preprocessing.framing), count)
    items = CIFAR100(str(bench.data_dir), train=False, transform=package.transform(clip))
    images = package.FirstItems(items, count, dataset.class_names)
    theirs = partial(package.classify, clip, images, dataset.templates, precision, bench)
    ours = partial(classify, clip, dataset, precision)
    return _compared(bench, f"{name}, zero-shot on {count} images of CIFAR-100", name, precision, count, ours, theirs)


def _open_clip(bench: Bench, clip: Clip, name: str, precision: Precision) -> SpeedFinding:
    from torchvision.datasets import CIFAR100

    count = CLASSIFIED[name][bench.device.type]
    dataset = FirstImages(bench.dataset("cifar100", clip.preprocessing.framing), count)
    items = CIFAR100(str(bench.data_dir), train=False, transform=package.transform(clip))
    images = package.FirstItems(items, count, dataset.class_names)
    theirs = partial(package.classify_as_open_clip, clip, images, dataset.templates, precision)
    what = f"{name}, zero-shot on {count} images of CIFAR-100"
    ours = partial(classify, clip, dataset, precision)
    return _compared(bench, what, name, precision, count, ours, theirs, rival="open_clip's own")


def _retrieval(bench: Bench, clip: Clip, name: str, precision: Precision) -> SpeedFinding:
    count = RETRIEVED[name][bench.device.type]
    dataset = FirstPhotographs(bench.dataset("flickr30k", clip.preprocessing.framing), count)
    items = package.FirstItems(package.Captioned(dataset.paths, dataset.captions, package.transform(clip)), count)
    theirs = partial(package.retrieve, clip, items, precision, bench)
    ours = partial(retrieve, clip, dataset, precision)
    return _compared(bench, f"{name}, retrieval among {count} of Flickr30K", name, precision, count, ours, theirs)


def classify(
    clip: Clip, dataset: Dataset, precision: Precision, *, store: EmbeddingStore | None = None, keep: bool = False
) -> dict[str, float]:
    """The suite's zero-shot classification; from nothing but decoded images, or with the features of a store."""
    store = store or EmbeddingStore(None, precision)
    labels = torch.from_numpy(np.asarray(dataset.split("test").labels))
    predicted = predict(
        store.images(clip, dataset, "test", keep=keep), store.classifier(clip, dataset.class_names, dataset.templates)
    ).cpu()
    right = predicted == labels
    hits, images = (torch.bincount(chosen, minlength=len(dataset.class_names)) for chosen in (labels[right], labels))
    return {"acc1": float(right.float().mean()), "mean_per_class_recall": mean_per_class_recall(hits, images)}


def retrieve(clip: Clip, dataset: Dataset, precision: Precision) -> dict[str, float]:
    """The suite's retrieval, from nothing but decoded images."""
    store = EmbeddingStore(None, precision)
    images = store.images(clip, dataset, "test")
    everything = torch.ones(len(images), dtype=torch.bool)
    metrics = retrieval_metrics(store, clip, dataset, images, {"": everything})
    return {name: metric.value for name, metric in metrics.items() if metric.value is not None and "@" in name}


def _compared(
    bench: Bench,
    what: str,
    name: str,
    precision: Precision,
    count: int,
    ours: Callable[[], dict[str, float]],
    theirs: Callable[[], dict[str, float]],
    rival: str = "clip_benchmark",
) -> SpeedFinding:
    results: dict[str, dict[str, float]] = {}
    here, there = alternate(
        lambda: results.update(ours=ours()), lambda: results.update(theirs=theirs()), bench.device, repeats=REPEATS
    )
    shared = results["ours"].keys() & results["theirs"].keys()
    gap = max(abs(results["ours"][metric] - results["theirs"][metric]) for metric in shared)
    return SpeedFinding(
        f"{what}, {precision}",
        (Side(rival, count / there, "images/s"), Side("this suite", count / here, "images/s")),
        there / here,
        least=LEAST[name],
        note=f"{len(shared)} metrics, the largest difference is {100 * gap:.4f} points",
    )
