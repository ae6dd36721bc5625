"""NegMerge's table (ICML 2025): one data set forgotten by task negation, mean over eight, ImageNet retained.

Its setting (a whole data set is forgotten, ImageNet is kept) is none of our suites', so nothing is measured.
"""

from __future__ import annotations

from benchmark.leaderboards.papers.measured import Measured
from benchmark.leaderboards.papers.published import credit, published
from benchmark.leaderboards.papers.table import PaperComparison, PaperTable

SUITES = ("paper-negmerge",)


def build(measured: Measured) -> list[PaperTable]:
    """One table a backbone."""
    section = published("negmerge")
    return [
        PaperTable(
            f"NegMerge: {model}",
            credit(section),
            ("forget acc ↓", "ImageNet acc ↑"),
            tuple(
                (name, tuple(PaperComparison(value, None, before=name == "pretrained") for value in row))
                for name, row in rows.items()
            ),
        )
        for model, rows in section["table"].items()
    ]
