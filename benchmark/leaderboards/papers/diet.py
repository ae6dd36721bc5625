"""DIET's table 1 (AAAI 2026): forget and retain accuracy of rivals on four data sets."""

from __future__ import annotations

from benchmark.leaderboards.papers.measured import Measured
from benchmark.leaderboards.papers.published import credit, published
from benchmark.leaderboards.papers.table import PaperComparison, PaperTable

SUITES = ("paper-diet",)
PRETRAINED = "pretrained"
METHODS = {PRETRAINED: "original", "fine-tuning on retain": "finetune_retain", "GA with retain": "graddiff"}
"""The paper's names of methods that are here; the others are not measured."""


def build(measured: Measured) -> list[PaperTable]:
    """One table a data set."""
    section = published("diet")
    tables = []
    for dataset in section["table"][PRETRAINED]:
        rows = []
        for name, row in section["table"].items():
            method = METHODS.get(name)
            percents = [
                measured.percent(f"{part}/acc1", method=method, dataset=dataset) if method else None
                for part in ("forget", "retain")
            ]
            pairs = zip(row[dataset], percents, strict=True)
            rows.append((name, tuple(PaperComparison(p, m, before=name == PRETRAINED) for p, m in pairs)))
        tables.append(PaperTable(f"DIET: {dataset}", credit(section), ("forget acc ↓", "retain acc ↑"), tuple(rows)))
    return tables
