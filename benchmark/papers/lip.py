"""Lip's tables (Kravets & Namboodiri, WACV 2025): each class forgotten on its own, from RN50 and ViT-B/16."""

from __future__ import annotations

from benchmark.papers.measured import Measured
from benchmark.papers.published import credit, published
from benchmark.papers.table import BEFORE_TOLERANCE, Comparison, PaperTable

SUITES = ("paper-lip",)
_COLUMNS = (
    "class before",
    "others before",
    "class after ↓",
    "others after ↑",
    "other data sets after ↑",
    "100 S ↓",
)


def build(measured: Measured) -> list[PaperTable]:
    """The whole test splits before forgetting, then one table a backbone."""
    section = published("lip")
    whole = PaperTable(
        "Lip: unedited CLIP on the whole test splits",
        credit(section),
        tuple(section["before_full_test"]["RN50"]),
        tuple(
            (
                model,
                tuple(
                    Comparison(value, measured.whole_test(dataset=name, model=model), BEFORE_TOLERANCE)
                    for name, value in row.items()
                ),
            )
            for model, row in section["before_full_test"].items()
        ),
        tuple(range(4)),
    )
    return [whole, *(_backbone(model, rows, measured, credit(section)) for model, rows in section["before"].items())]


def _backbone(model: str, datasets: dict[str, dict[str, list[float]]], measured: Measured, source: str) -> PaperTable:
    rows = []
    for dataset, classes in datasets.items():
        for name, (target, others) in classes.items():

            def find(metric: str, method: str, dataset: str = dataset, name: str = name) -> float | None:
                return measured.percent(metric, method=method, dataset=dataset, model=model, classes=[name])

            rows.append(
                (
                    f"{dataset}: {name}",
                    (
                        Comparison(target, find("forget/acc1", "original"), BEFORE_TOLERANCE),
                        Comparison(others, find("retain/acc1", "original"), BEFORE_TOLERANCE),
                        Comparison(None, find("forget/acc1", "lip")),
                        Comparison(None, find("retain/acc1", "lip")),
                        Comparison(None, find("other/acc1", "lip")),
                        Comparison(None, find("score/kravets", "lip")),
                    ),
                )
            )
    return PaperTable(f"Lip: {model}, one class at a time", source, _COLUMNS, tuple(rows), (0, 1))
