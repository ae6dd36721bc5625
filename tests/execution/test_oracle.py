"""A suite with every further measure, end to end: with a retrained model and without one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from world import SHAPES, World, command, small_world, write_suite

from benchmark.evaluation.families import FAMILIES
from benchmark.evaluation.measures import relearning, soft_prompt
from benchmark.execution import references
from benchmark.models.compact import Architecture
from benchmark.pretraining import shadows
from benchmark.pretraining.recipe import load_recipe
from benchmark.records.record import Record
from benchmark.records.store import REFERENCE, RecordStore
from datamodules.shapes import Shapes

pytest_plugins = ("world",)
SUITE = """title: every measure
models: [{model}]
seeds: [0]
methods: [original, retrain, logit_mask, ccup]
measures: all
tasks:
  - dataset: shapes
    others: [shapes_colours]
    requests: [{{classes: [star]}}, {{concept: ring}}]
"""


@pytest.fixture(scope="module")
def oracle(tiny_world: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Record]]:
    """The records of the suite by method and request; the tiny model passes for one of a tiny recipe."""
    folder = tmp_path_factory.mktemp("oracle")
    recipe = replace(load_recipe("shapes-resnet"), epochs=0.25, batch_size=12)
    with small_world(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Shapes, "counts", {**SHAPES, "train": 288})  # a probe needs more than its 256 features have axes
        from safetensors import safe_open

        with safe_open(tiny_world.model, framework="pt") as stored:
            import json

            recipe = replace(recipe, architecture=Architecture(**json.loads(stored.metadata()["architecture"])))
        patch.setattr(references, "recipe_of", lambda _: recipe)
        patch.setattr(shadows, "COUNT", 4)
        patch.setattr(relearning, "STEPS", 2)
        patch.setattr(soft_prompt, "STEPS", 2)
        world = World(write_suite(folder, tiny_world.model, SUITE), folder / "cache", folder / "results")
        answer = world.run()
        assert answer.status == 0, answer.err
        assert command("leaderboard", "--results", world.results).status == 0
        yield {f"{r.cell['method']} {r.cell['request']}": r for r in world.records().values()}


def of(oracle: dict[str, Record], method: str, *, concept: bool = False) -> Record:
    return next(r for name, r in oracle.items() if name.startswith(f"{method} ") and concept == ("concept" in name))


def test_every_family_gives_its_metrics_or_says_why_not(oracle: dict[str, Record]) -> None:
    assert len(oracle) == 8
    for record in oracle.values():
        reasons = record.report.get("not_measured", {})
        for family in FAMILIES.values():
            for name in family.metrics:
                value = record.metrics[name].value
                assert (value is not None and math.isfinite(value)) or family.name in reasons or name in reasons


def test_a_request_by_class_has_all_but_what_the_tiny_world_lacks(oracle: dict[str, Record]) -> None:
    record = of(oracle, "ccup")
    empty = {name for family in FAMILIES.values() for name in family.metrics if record.metrics[name].value is None}
    assert empty <= {
        *(f"{part}/{name}" for part in ("forget", "retain") for name in ("relearn_acc1@8", "relearn_acc1@16")),
        *("forget/soft_prompt_acc1", "retain/soft_prompt_acc1", "score/robust", "forget/synonym_mean_recall"),
    }
    assert "training images" in record.report["not_measured"]["forget/relearn_acc1@16"]


def test_a_request_by_concept_has_the_gap_and_the_likeness(oracle: dict[str, Record]) -> None:
    record = of(oracle, "ccup", concept=True)
    assert record.metrics["score/retrain_gap"].value is not None
    assert record.metrics["score/cka_retrained"].value is not None
    assert record.metrics["forget/synonym_mean_recall"].value is not None
    assert set(record.report["synonyms"]) == {"annulus", "donut"}
    assert "by concept" in record.report["not_measured"]["linear_probe"]


def test_reference_rows_behave_as_theory_says(oracle: dict[str, Record]) -> None:
    original, retrained = of(oracle, "original"), of(oracle, "retrain")
    assert original.metrics["score/cka_original"].value == pytest.approx(1.0, abs=1e-6)
    assert retrained.metrics["score/cka_retrained"].value == pytest.approx(1.0, abs=1e-6)
    assert retrained.metrics["score/retrain_gap"].value == 0.0
    assert original.metrics["score/retrain_gap"].value > 0.0
    assert retrained.metrics["score/cka_original"].value == pytest.approx(
        original.metrics["score/cka_retrained"].value, abs=1e-6
    )
    assert original.metrics["retain/worst10_drop"].value == 0.0
    assert original.references["retrain"] == retrained.key and retrained.references["retrain"] is None


def test_a_filter_hides_and_removes_nothing(oracle: dict[str, Record]) -> None:
    original, masked = of(oracle, "original"), of(oracle, "logit_mask")
    assert masked.metrics["forget/acc1"].value == 0.0
    attacks = ("forget/relearn_acc1@0", "forget/quantised_acc1@4", "forget/pruned_acc1", "forget/noised_acc1")
    for name in ("forget/probe_acc1", "forget/trunk_probe_acc1", "forget/knn_acc1", "forget/image_map", *attacks):
        assert masked.metrics[name].value == original.metrics[name].value


def test_membership_is_measured_where_the_images_have_classes(oracle: dict[str, Record]) -> None:
    for method in ("original", "retrain", "logit_mask", "ccup"):
        auc = of(oracle, method).metrics["forget/membership_auc"]
        assert auc.n == 12 and auc.value is not None and auc.ci95 is not None  # a twenty-fourth of the train images
        assert auc.ci95[0] <= auc.value <= auc.ci95[1]
        assert "by concept" in of(oracle, method, concept=True).report["not_measured"]["membership"]
    original, masked = of(oracle, "original"), of(oracle, "logit_mask")
    for name in ("forget/membership_auc", "forget/membership_tpr"):  # a filter is no part of the weights
        assert masked.metrics[name].value == original.metrics[name].value


def test_retraining_costs_its_training(oracle: dict[str, Record]) -> None:
    record = of(oracle, "retrain")
    assert record.cost["unlearn_seconds"] >= record.report["training_seconds"] > 0.0


def test_without_a_recipe_the_gap_is_empty_with_its_reason(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(references, "recipe_of", lambda _: None)
    text = SUITE.replace("original, retrain, logit_mask, ccup", "original, ccup")
    asked = "[cka, retrain_gap, membership]"
    suite = write_suite(tmp_path, world.plan().cells[0].model, text.replace("all", asked), "gap.yaml")
    assert command("run", "--suite", suite, "--results", world.results, "--cache-dir", world.cache).status == 0
    for record in world.records().values():
        assert record.metrics["score/retrain_gap"].value is None
        assert "not trained by a recipe" in record.report["not_measured"]["retrain_gap"]
        assert "no retrained model" in record.report["not_measured"]["membership"]
        assert "not trained by a recipe" in record.report["not_measured"]["score/cka_retrained"]
        assert record.metrics["score/cka_original"].value is not None


def test_retrain_without_a_recipe_is_one_clear_line(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "recipe_of", lambda _: None)
    assert "not trained by a recipe" in world.run("--methods", "retrain").error


def test_the_reference_records_behave_as_theory_says() -> None:
    """Those of the project, made with whole models: the gold standard against itself, and what memory leaves."""
    found = RecordStore(REFERENCE, read_only=True, older=True).all("oracle")
    golden = [record for record in found if record.cell["method"] == "retrain"]
    assert len({str(record.cell["request"]) for record in golden}) == 5
    asked = [(str(r.cell["request"]), r.cell["seed"]) for r in golden if r.cell["model"] == "shapes-resnet"]
    assert len({request for request, _ in asked}) == 4 and len(set(asked)) == len(asked) == 12, "four requests, 3 seeds"
    for record in golden:
        if record.cell["model"] == "shapes-resnet":
            if retain := record.metrics.get("retain/acc1"):
                assert retain.value is not None and retain.value > 0.95, "a gold standard that learned its world"
            assert record.metrics["score/retrain_gap"].value == 0.0
            assert record.metrics["score/cka_retrained"].value == pytest.approx(1.0, abs=1e-6)
    attacked = [record for record in found if "forget/membership_auc" in record.metrics]
    assert {record.cell["model"] for record in attacked} == {"few-shapes"}
    auc = {f"{r.cell['method']} {r.cell['seed']}": r.metrics["forget/membership_auc"] for r in attacked}
    original = auc["original 0"]
    assert original.value is not None and original.ci95 is not None and original.ci95[0] > 0.7
    assert auc["logit_mask 0"] == original
    for seed in range(3):
        retrained = auc[f"retrain {seed}"].ci95
        assert retrained is not None and retrained[0] < 0.5 < retrained[1]


def test_the_reference_records_of_real_images_behave_as_theory_says() -> None:
    store = RecordStore(REFERENCE, read_only=True, older=True)
    real = [record for record in store.all("oracle-cifar100") if record.cell["model"] == "mini"]  # one request
    found = {str(record.cell["method"]): record for record in real}
    assert len(found) == len(real), "one record of each method"
    assert set(found) == {str(r.cell["method"]) for r in store.all("oracle") if r.cell["model"] == "shapes-resnet"}
    original, golden, masked = found["original"], found["retrain"], found["logit_mask"]

    def value(record: Record, name: str) -> float:
        number = record.metrics[name].value
        assert number is not None, name
        return number

    assert value(golden, "score/retrain_gap") == 0.0
    assert value(golden, "score/cka_retrained") == pytest.approx(1.0, abs=1e-6)
    assert value(original, "score/cka_original") == pytest.approx(1.0, abs=1e-6)
    assert value(original, "score/cka_retrained") == pytest.approx(value(golden, "score/cka_original"), abs=1e-6)
    assert value(golden, "forget/acc1") < 0.05 < value(original, "forget/acc1"), "it never saw an apple"
    assert value(golden, "retain/acc1") > value(original, "retain/acc1") - 0.02, "and learned the rest as well"
    for name in ("forget/probe_acc1", "forget/knn_acc1", "forget/image_map", "forget/soft_prompt_acc1"):
        assert value(masked, name) == value(original, name)
    for method, record in found.items():
        assert record.references["retrain"] == (None if method == "retrain" else golden.key)
