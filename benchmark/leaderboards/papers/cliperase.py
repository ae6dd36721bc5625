"""CLIPErase's tables (Yang et al., ACL 2025): zero-shot, retrieval, ablation, BLIP, and generation."""

from __future__ import annotations

from typing import Any

from benchmark.leaderboards.papers.measured import Measured, several_classes
from benchmark.leaderboards.papers.published import credit, published
from benchmark.leaderboards.papers.table import PaperComparison, PaperTable

SUITES = ("paper-cliperase",)
METHODS = {
    "original": "original",
    "GradDiff": "graddiff",
    "CLIPErase": "cliperase",
    "GA": "gradient_ascent",
    "fine-tuning on retain": "finetune_retain",
}
FLICKR30K = {
    "flickr30k_by_row": "split by row as in the official code (it leaks; the concept is ours)",
    "flickr30k": "split by image (ours, without the leak)",
}
"""The data sets that stand beside the paper's Flickr30K, with what tells them apart."""
FULL: dict[str, Any] = {"retention_weight": 1.0, "consistency_weight": 3.0, "forgetting": "cosine"}
MODULES: dict[str, dict[str, Any] | None] = {
    "none": None,
    "forgetting": {"retention_weight": 0.0, "consistency_weight": 0.0},
    "forgetting + retention": {"retention_weight": 1.0, "consistency_weight": 0.0},
    "forgetting + retention + consistency": FULL,
}
"""The hyperparameters of `cliperase` that leave modules out; None for the unedited model."""


def build(measured: Measured) -> list[PaperTable]:
    """All of the paper's tables that are known in part."""
    section = published("cliperase")
    source = credit(section)
    accuracy = ("forget acc ↓", "retain acc ↑")
    recall = ("forget image R@10 ↓", "retain image R@10 ↑")
    by_class = ("forget/acc1", "retain/acc1")
    by_concept = ("forget/image_retrieval_recall@10", "retain/image_retrieval_recall@10")

    def rows(key: str, dataset: str, metrics: tuple[str, str]) -> tuple[tuple[str, tuple[PaperComparison, ...]], ...]:
        labelled = []
        for name, values in section[key].items():
            method = METHODS.get(name)
            setting = FULL if name == "CLIPErase" else {}
            labelled.append((name, _cells(measured, values, method, dataset, metrics, setting)))
        return tuple(labelled)

    unmeasured = tuple((name, tuple(PaperComparison(v, None) for v in row)) for name, row in section["cc12m"].items())
    ablation = tuple(
        (
            name,
            _cells(
                measured,
                values,
                "original" if MODULES[name] is None else "cliperase",
                "cifar100_70_30",
                by_class,
                MODULES[name] or {},
            ),
        )
        for name, values in section["ablation"].items()
    )
    return [
        PaperTable("CLIPErase: CIFAR-100, zero-shot", source, accuracy, rows("cifar100", "cifar100_70_30", by_class)),
        PaperTable(
            "CLIPErase: Conceptual 12M, zero-shot (what counts as right is not known)", source, accuracy, unmeasured
        ),
        *(
            PaperTable(
                f"CLIPErase: Flickr30K, image retrieval, {split}", source, recall, rows("flickr30k", name, by_concept)
            )
            for name, split in FLICKR30K.items()
        ),
        PaperTable("CLIPErase: modules, CIFAR-100", source, accuracy, ablation),
        PaperTable("CLIPErase: CIFAR-100, several classes at once", source, accuracy, _several(measured, by_class)),
    ]


def _several(measured: Measured, metrics: tuple[str, str]) -> tuple[tuple[str, tuple[PaperComparison, ...]], ...]:
    """3, 10, 20 and 30 % of the classes: the paper has them, but neither which they are nor its numbers are known."""
    return tuple(
        (
            f"{len(classes)} classes: {name}",
            _cells(measured, [None, None], method, dataset, metrics, FULL if name == "CLIPErase" else {}, classes),
        )
        for dataset, classes in several_classes(SUITES[0])
        for name, method in METHODS.items()
    )


def _cells(
    measured: Measured,
    values: list[float | None],
    method: str | None,
    dataset: str,
    metrics: tuple[str, str],
    hparams: dict[str, Any],
    classes: tuple[str, ...] | None = None,
) -> tuple[PaperComparison, ...]:
    percents = [
        measured.percent(metric, method=method, dataset=dataset, classes=classes, hparams=hparams) if method else None
        for metric in metrics
    ]
    return tuple(
        PaperComparison(value, percent, before=method == "original")
        for value, percent in zip(values, percents, strict=True)
    )
