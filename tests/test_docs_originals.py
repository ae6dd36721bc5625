"""The table of several trainings of one recipe, of records made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmark.records.record import Metric, Record
from docs.generation import originals


def cell(method: str, model: str, name: str, quality: float | None, seed: int = 0) -> Record:
    about = {"method": method, "model": model, "request": {"classes": [name]}, "seed": seed}
    metrics = {"score/quality": Metric(quality)}
    return Record(2, f"{method}{model}{name}{seed}", about, metrics, references={}, cost={}, provenance={}, report={})


def table(monkeypatch: pytest.MonkeyPatch, *records: Record) -> list[str]:
    return table_of(monkeypatch, {"s": list(records)})


def table_of(monkeypatch: pytest.MonkeyPatch, suites: dict[str, list[Record]]) -> list[str]:
    class Store:
        def __init__(self, *_: object, **__: object) -> None: ...

        def all(self, suite: str) -> list[Record]:
            return suites[suite]

    monkeypatch.setattr(originals, "RecordStore", Store)
    monkeypatch.setattr(originals, "with_quality", list)
    monkeypatch.setattr(originals, "reference_boards", tuple)
    return originals.originals_table(" ".join(suites)).splitlines()


def of(method: str, *by_training: tuple[float, float]) -> list[Record]:
    models = ["m", "/a/folder/m-1.safetensors", "m-2.safetensors"]
    return [
        cell(method, model, name, value)
        for model, values in zip(models, by_training, strict=False)
        for name, value in zip(("cat", "dog"), values, strict=True)
    ]


BEST = of("best", (0.9, 0.7), (0.8, 0.8), (0.7, 0.9))
GOOD = of("good", (0.6, 0.6), (0.7, 0.7), (0.5, 0.5))
BAD = of("bad", (0.1, 0.3), (0.9, 0.9), (0.0, 0.4))


def test_each_training_has_its_column_and_the_orders_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = table(monkeypatch, *BEST, *GOOD, *BAD)
    assert lines[0] == "| Q on | `m` | `m-1` | `m-2` | apart |"
    assert lines[2:5] == [
        "| `best` | 0.800 | 0.800 | 0.800 | 0.000 |",
        "| `good` | 0.600 | 0.700 | 0.500 | 0.200 |",
        "| `bad` | 0.200 | 0.900 | 0.200 | 0.700 |",
    ]
    # bad is before both on m-1 and behind both on the others: two of three pairs are turned round
    assert "3 methods; Kendall's tau between the orders on two trainings: -0.33, 1.00 and -0.33" in lines[-1]
    assert "first on the 3 trainings: `best` and `bad`." in lines[-1]


def test_the_parts_of_a_made_layout_are_found_again() -> None:
    """Forty methods, thirty trainings, twenty requests with known standard deviations."""
    rng = np.random.default_rng(0)

    def draw(deviation: float, *sides: int) -> Any:
        drawn = rng.normal(size=sides)
        return deviation * (drawn - drawn.mean()) / drawn.std(ddof=1)

    main = draw(0.3, 40, 1, 1) + draw(0.2, 1, 30, 1) + draw(0.1, 1, 1, 20)
    pairs = draw(0.05, 40, 30, 1) + draw(0.15, 40, 1, 20) + draw(0.1, 1, 30, 20)
    parts = originals.parts_of(main + pairs + draw(0.08, 40, 30, 20))
    found = (parts.method, parts.training, parts.by_training, parts.rest)
    assert found == pytest.approx((0.3, 0.2, 0.05, 0.08), rel=0.1) and parts.p < 1e-9


def test_the_test_of_the_interaction_is_that_of_two_nested_regressions() -> None:
    from itertools import product

    from scipy.stats import f

    values = np.random.default_rng(1).normal(size=(5, 3, 4))
    cells = list(product(range(5), range(3), range(4)))

    def left(*terms: tuple[int, ...]) -> tuple[float, int]:
        """The residual sum of squares of a regression on the cells of some factors, and its rank."""
        columns = [
            [float(tuple(c[k] for k in term) == level) for c in cells] for term in terms for level in levels(term)
        ]
        design = np.array(columns).T
        found = np.linalg.lstsq(design, values.ravel(), rcond=None)
        return float(((values.ravel() - design @ found[0]) ** 2).sum()), int(found[2])

    def levels(term: tuple[int, ...]) -> list[tuple[int, ...]]:
        return sorted({tuple(c[k] for k in term) for c in cells})

    (all_three, full), (without, less) = left((0, 1), (0, 2), (1, 2)), left((0, 2), (1, 2))
    free = len(cells) - full
    expected = f.sf((without - all_three) / (full - less) / (all_three / free), full - less, free)
    assert originals.parts_of(values).p == pytest.approx(expected)


def test_the_sentence_has_the_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    said = table(monkeypatch, *BEST, *GOOD, *BAD)[-1]
    assert "by analysis of variance (2 classes): " in said and "on single trainings (F test: p = 0." in said


def test_a_method_that_lacks_a_score_somewhere_has_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    gap = [cell("gap", "m", "cat", 0.5), cell("gap", "m", "cat", None, seed=1)]
    lines = table(monkeypatch, *BEST, *GOOD, *BAD, *gap, *of("short", (0.5, 0.5)))
    assert not any("gap" in line or "short" in line for line in lines)
    with pytest.raises(LookupError, match="no three methods"):
        table(monkeypatch, *BEST, *GOOD)


def test_trainings_of_two_suites_are_compared_on_what_both_have(monkeypatch: pytest.MonkeyPatch) -> None:
    def suite(records: list[Record], *models: str) -> list[Record]:
        return [record for record in records if record.cell["model"] in models]

    both = [*BEST, *GOOD, *BAD]
    more = [cell(method, "m", "owl", 0.0) for method in ("best", "good", "bad")] + of("alone", (0.9, 0.9))
    apart = {"a": [*suite(both, "m"), *more], "b": suite(both, "/a/folder/m-1.safetensors", "m-2.safetensors")}
    assert table_of(monkeypatch, apart) == table(monkeypatch, *both)
