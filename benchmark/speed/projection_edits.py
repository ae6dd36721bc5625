"""projection_edits: many edits of one model's last layer, evaluated from features that are computed once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from benchmark.evaluation.embeddings import EmbeddingStore
from benchmark.speed import package
from benchmark.speed.bench import Bench
from benchmark.speed.evaluation import classify
from benchmark.speed.findings import LeftOutError, Side, SpeedFinding, seconds
from methods.common.projections import visual_projection
from methods.nullspace import partial_projection

MODEL, DATASET, EDITS = "mini", "cifar100", 20
THEIRS = {"cpu": 1000, "cuda": 10_000}
"""Images that the package evaluates here; what it takes grows with their number."""
LEAST = 50.0


def measure(bench: Bench) -> Iterator[SpeedFinding]:
    """Twenty null-space edits: each evaluated by the suite; one of them by the package, as each would take the same."""
    package.require()
    if bench.data_dir is None:
        raise LeftOutError("it needs CIFAR-100: name its folder with --data-dir")
    from torchvision.datasets import CIFAR100

    clip = bench.model(MODEL)
    dataset = bench.dataset(DATASET, clip.preprocessing.framing)
    total, names = len(dataset.split("test").images), dataset.class_names
    with torch.no_grad():
        classifier = clip.zero_shot_classifier(names, dataset.templates)
    store = EmbeddingStore(None, "fp32")
    edited = []
    for target in range(EDITS):
        copy = clip.copy()
        visual_projection(copy).compose(partial_projection(classifier[target : target + 1].T, 1.0))
        edited.append(copy)
    first = seconds(lambda: store.images(clip, dataset, "test", keep=True), bench.device)
    classify(clip, dataset, "fp32", store=store)
    suite_seconds = seconds(
        lambda: [classify(model, dataset, "fp32", store=store, keep=True) for model in edited], bench.device
    )
    count = min(THEIRS[bench.device.type], total)
    items = CIFAR100(str(bench.data_dir), train=False, transform=package.transform(clip))
    classify_once = partial(
        package.classify, clip, package.FirstItems(items, count, names), dataset.templates, "fp32", bench
    )
    classify_once()
    package_seconds = EDITS * seconds(classify_once, bench.device) * total / count
    yield SpeedFinding(
        f"{MODEL}, {EDITS} edits on the {total} test images of CIFAR-100, fp32",
        (
            Side(f"clip_benchmark (from {count} images)", EDITS / package_seconds, "edits/s"),
            Side("this suite, features at hand", EDITS / suite_seconds, "edits/s"),
            Side("this suite, first features included", EDITS / (suite_seconds + first), "edits/s"),
        ),
        package_seconds / suite_seconds,
        least=LEAST,
        note=f"{package_seconds / (suite_seconds + first):.1f} times with the one pass that computes the features; "
        "they are kept on disk",
    )
