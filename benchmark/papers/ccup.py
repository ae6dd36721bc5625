"""CCUP's tables (Mishra et al. 2025): the projection at one class, its readings of T_r and its sweeps."""

from __future__ import annotations

from typing import Any

from benchmark.papers.measured import Measured
from benchmark.papers.published import credit, published
from benchmark.papers.table import BEFORE_TOLERANCE, Comparison, PaperTable

SUITES = ("paper-ccup",)
MODELS = ("RN50", "ViT-B-16")
DEFAULT = {"forget_weight": 100.0, "retain_weight": 10.0, "retain_names": "dataset"}
LAMBDAS, MUS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0), (0.0, 1.0, 10.0, 100.0)
ALPHAS = (0.25, 0.5, 0.75, 0.9, 1.0)
_AFTER = ("class after ↓", "others after ↑", "other data sets after ↑", "100 S ↓")


def build(measured: Measured) -> list[PaperTable]:
    """Before forgetting, then for each backbone and data set the settings, means over the single classes."""
    section = published("ccup")
    datasets = tuple(section["before_full_test"])
    before = PaperTable(
        "CCUP: unedited CLIP (the paper's table names no backbone; ViT-B/16 comes nearest)",
        credit(section),
        ("whole test split", "classes to forget"),
        tuple(
            (
                name,
                (
                    Comparison(
                        section["before_full_test"][name],
                        measured.whole_test(dataset=name, model=MODELS[1]),
                        BEFORE_TOLERANCE,
                    ),
                    Comparison(
                        section["before_target_mean"][name],
                        measured.percent("forget/acc1", method="original", dataset=name, model=MODELS[1]),
                        BEFORE_TOLERANCE,
                    ),
                ),
            )
            for name in datasets
        ),
        (0, 1),
    )
    settings: list[tuple[str, str, dict[str, Any]]] = [("ccup: T_r the data set's names", "ccup", DEFAULT)]
    settings += [(f"ccup: T_r {names}", "ccup", {**DEFAULT, "retain_names": names}) for names in ("none", "all")]
    settings += [(f"ccup: lambda {v:g}", "ccup", {**DEFAULT, "forget_weight": v}) for v in LAMBDAS]
    settings += [(f"ccup: mu {v:g}", "ccup", {**DEFAULT, "retain_weight": v}) for v in MUS]
    settings += [(f"partial projection: alpha {v:g}", "nullspace", {"alpha": v}) for v in ALPHAS]
    settings += [("logit mask", "logit_mask", {})]
    tables = [before]
    for model in MODELS:
        for dataset in (*datasets, "tiny_imagenet"):
            rows = tuple((label, _after(measured, method, dataset, model, own)) for label, method, own in settings)
            title = f"CCUP: {model}, {dataset}, mean over the single classes"
            tables.append(PaperTable(title, credit(section), _AFTER, rows))
    return tables


def _after(
    measured: Measured, method: str, dataset: str, model: str, hparams: dict[str, Any]
) -> tuple[Comparison, ...]:
    names = ("forget/acc1", "retain/acc1", "other/acc1", "score/kravets")
    return tuple(
        Comparison(None, measured.percent(name, method=method, dataset=dataset, model=model, hparams=hparams))
        for name in names
    )
