"""Lip's tables (Kravets & Namboodiri, WACV 2025): single classes and three at once, from RN50 and ViT-B/16.

Ablations and timings are in the paper too, but neither their numbers nor all of their settings are known here.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.leaderboards.papers.measured import Measured
from benchmark.leaderboards.papers.published import credit, published
from benchmark.leaderboards.papers.table import PaperComparison, PaperTable

SUITES = ("paper-lip",)
_COLUMNS = (
    "class before",
    "others before",
    "class after ↓",
    "others after ↑",
    "other data sets after ↑",
    "100 S ↓",
)
Classes = dict[str, dict[str, list[float]]]
"""By data set and class to forget: accuracy of the class itself and of the others, before forgetting."""


def build(measured: Measured) -> list[PaperTable]:
    """The whole test splits before forgetting, then for each backbone one class at a time and three at once."""
    section = published("lip")
    whole_splits = PaperTable(
        "Lip: unedited CLIP on the whole test splits",
        credit(section),
        tuple(section["before_full_test"]["RN50"]),
        tuple(
            (
                model,
                tuple(
                    PaperComparison(value, measured.whole_test(dataset=name, model=model), before=True)
                    for name, value in row.items()
                ),
            )
            for model, row in section["before_full_test"].items()
        ),
    )
    source = credit(section)
    return [
        whole_splits,
        *(_single(model, rows, measured, source) for model, rows in section["before"].items()),
        *(_together(model, rows, measured, source) for model, rows in section["before"].items()),
    ]


def _single(model: str, datasets: Classes, measured: Measured, source: str) -> PaperTable:
    rows = tuple(
        (f"{dataset}: {name}", _cells(measured, model, dataset, [name], before))
        for dataset, classes in datasets.items()
        for name, before in classes.items()
    )
    return PaperTable(f"Lip: {model}, one class at a time", source, _COLUMNS, rows)


def _together(model: str, datasets: Classes, measured: Measured, source: str) -> PaperTable:
    """The data set's classes in one request: the paper has such a table, but none of its numbers is known."""
    rows = tuple(
        (dataset, _cells(measured, model, dataset, list(classes), (None, None)))
        for dataset, classes in datasets.items()
    )
    return PaperTable(f"Lip: {model}, three classes at once", source, _COLUMNS, rows)


def _cells(
    measured: Measured, model: str, dataset: str, classes: list[str], before: Sequence[float | None]
) -> tuple[PaperComparison, ...]:
    def find(metric: str, method: str) -> float | None:
        return measured.percent(metric, method=method, dataset=dataset, model=model, classes=classes)

    target, others = before
    after = ("forget/acc1", "retain/acc1", "other/acc1", "score/kravets")
    return (
        PaperComparison(target, find("forget/acc1", "original"), before=True),
        PaperComparison(others, find("retain/acc1", "original"), before=True),
        *(PaperComparison(None, find(metric, "lip")) for metric in after),
    )
