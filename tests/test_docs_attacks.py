"""The table of what the measures find in models that never saw a class, of records made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from benchmark.records.record import Metric, Record
from docs.generation import attacks
from docs.generation.membership import membership_table


def made(method: str, request: dict[str, Any], seed: int = 0, **metrics: float | None) -> Record:
    cell = {"method": method, "request": request, "model": "m", "seed": seed}
    named = {name: Metric(value) for name, value in metrics.items()}
    return Record(2, f"{method}{seed}", cell, metrics=named, references={}, cost={}, provenance={}, report={})


def cell(method: str, name: str, by_name: float, probe: float | None, seed: int = 0) -> Record:
    return made(method, {"classes": [name]}, seed, **{"forget/acc1": by_name, "forget/probe_acc1": probe})


def table(monkeypatch: pytest.MonkeyPatch, *records: Record, methods: str = "") -> list[str]:
    def of_method(suite: str, model: str, method: str) -> list[Record]:
        assert (suite, model) == ("s", "m")
        found = [record for record in records if record.cell["method"] == method]
        if not found:
            raise LookupError(f"none of {method}")
        return found

    monkeypatch.setattr(attacks, "retrained_records", of_method)
    return attacks.attacks_table(f"s m {methods}").splitlines()


ORIGINALS = (cell("original", "cat", 1.0, 0.9), cell("original", "dog", 0.8, 0.9))


def test_a_class_counts_once_however_many_models_were_trained_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = [cell("retrain", "cat", 0.0, 0.6, seed) for seed in (0, 1, 2)]
    lines = table(monkeypatch, *ORIGINALS, *seeds, cell("retrain", "dog", 0.1, 0.8))
    assert lines[2] == "| called by its name | `forget/acc1` | 5.0 % | 90.0 % |"
    assert lines[3] == "| linear probe | `forget/probe_acc1` | 70.0 % | 90.0 % |"
    assert lines[-1] == "Means over 2 classes; 4 models that never saw the class they are asked of."


def test_a_measure_that_one_of_them_lacks_has_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = table(monkeypatch, *ORIGINALS, cell("retrain", "cat", 0.0, 0.6), cell("retrain", "dog", 0.1, None))
    assert [line.split("`")[1] for line in lines if "`" in line] == ["forget/acc1"]


def test_a_method_named_after_the_model_has_a_column(monkeypatch: pytest.MonkeyPatch) -> None:
    retrained = [cell("retrain", name, 0.0, 0.6) for name in ("cat", "dog")]
    hiding = [cell("hide", name, 0.1, 0.9) for name in ("cat", "dog")]
    lines = table(monkeypatch, *ORIGINALS, *retrained, *hiding, methods="hide")
    assert lines[0].endswith("| never saw it | original | `hide` |")
    assert lines[2] == "| called by its name | `forget/acc1` | 0.0 % | 90.0 % | 10.0 % |"
    blind = table(monkeypatch, *ORIGINALS, *retrained, cell("hide", "cat", 0.1, None), methods="hide")
    assert [line.split("`")[1] for line in blind if "forget/" in line] == ["forget/acc1"]
    with pytest.raises(LookupError, match="none of seek"):
        table(monkeypatch, *ORIGINALS, *retrained, methods="seek")


def test_requests_of_several_classes_or_concepts_take_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [
        made("retrain", request, **{"forget/acc1": 1.0}) for request in ({"classes": ["cat", "dog"]}, {"concept": "a"})
    ]
    lines = table(monkeypatch, *ORIGINALS, *others, cell("retrain", "cat", 0.2, None))
    assert lines[2].endswith("| 20.0 % | 90.0 % |") and "over 1 classes; 1 models" in lines[-1]
    with pytest.raises(LookupError, match="no class that both"):
        table(monkeypatch, *ORIGINALS, *others)


def test_the_committed_records_have_both_tables() -> None:
    by_name = attacks.attacks_table("oracle-cifar100 micro")
    assert "| called by its name | `forget/acc1` |" in by_name and "Means over 10 classes; 11 models" in by_name
    rows = membership_table("oracle original ccup retrain").splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == ["`original`", "`ccup`", *["`retrain`"] * 3]
    shares = [float(row.split("|")[3].split()[0]) for row in rows]
    assert shares == sorted(shares, reverse=True) and shares[-1] <= 0.6 <= shares[0], "who gives most away first"
    with pytest.raises(LookupError, match="no membership of lip"):
        membership_table("oracle original lip")
