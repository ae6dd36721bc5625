"""CCUP's tables (Mishra et al. 2025): one class and three at once, readings of T_r, and sweeps."""

from __future__ import annotations

from typing import Any

from benchmark.leaderboards.papers.measured import Measured, several_classes
from benchmark.leaderboards.papers.published import credit, published
from benchmark.leaderboards.papers.table import PaperComparison, PaperTable

SUITES = ("paper-ccup",)
MODELS = ("RN50", "ViT-B-16")
DEFAULT = {"forget_weight": 100.0, "retain_weight": 10.0, "retain_names": "dataset"}
LAMBDAS, MUS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0), (0.0, 1.0, 10.0, 100.0)
ALPHAS = (0.25, 0.5, 0.75, 0.9, 1.0)
PaperRow = tuple[str, str, dict[str, Any]]
"""Label, method, and the hyperparameters that its records must have."""
_AFTER = ("class after ↓", "others after ↑", "other data sets after ↑", "100 S ↓")


def build(measured: Measured) -> list[PaperTable]:
    """Before forgetting; for each backbone and data set the settings, means over the single classes; three at once."""
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
                    PaperComparison(
                        section["before_full_test"][name],
                        measured.whole_test(dataset=name, model=MODELS[1]),
                        before=True,
                    ),
                    PaperComparison(
                        section["before_target_mean"][name],
                        measured.percent("forget/acc1", method="original", dataset=name, model=MODELS[1]),
                        before=True,
                    ),
                ),
            )
            for name in datasets
        ),
    )
    settings: list[PaperRow] = [("ccup: T_r the data set's names", "ccup", DEFAULT)]
    settings += [(f"ccup: T_r {names}", "ccup", {**DEFAULT, "retain_names": names}) for names in ("none", "all")]
    settings += [(f"ccup: lambda {v:g}", "ccup", {**DEFAULT, "forget_weight": v}) for v in LAMBDAS]
    settings += [(f"ccup: mu {v:g}", "ccup", {**DEFAULT, "retain_weight": v}) for v in MUS]
    settings += [(f"partial projection: alpha {v:g}", "nullspace", {"alpha": v}) for v in ALPHAS]
    settings += [("logit mask", "logit_mask", {})]
    tables = [before]
    for model in MODELS:
        for dataset in (*datasets, "tiny_imagenet"):
            rows = tuple(
                (label, _after(measured, method, dataset, model, hparams)) for label, method, hparams in settings
            )
            title = f"CCUP: {model}, {dataset}, mean over the single classes"
            tables.append(PaperTable(title, credit(section), _AFTER, rows))
    return tables + [_together(model, settings, measured, credit(section)) for model in MODELS]


def _together(model: str, settings: list[PaperRow], measured: Measured, source: str) -> PaperTable:
    """The requests of several classes of the paper's suite; none of the paper's numbers is known."""
    rows = tuple(
        (f"{dataset}: {label}", _after(measured, method, dataset, model, hparams, classes))
        for dataset, classes in several_classes(SUITES[0])
        for label, method, hparams in settings
    )
    return PaperTable(f"CCUP: {model}, three classes at once", source, _AFTER, rows)


def _after(
    measured: Measured,
    method: str,
    dataset: str,
    model: str,
    hparams: dict[str, Any],
    classes: tuple[str, ...] | None = None,
) -> tuple[PaperComparison, ...]:
    names = ("forget/acc1", "retain/acc1", "other/acc1", "score/kravets")
    percents = (
        measured.percent(name, method=method, dataset=dataset, model=model, classes=classes, hparams=hparams)
        for name in names
    )
    return tuple(PaperComparison(None, value) for value in percents)
