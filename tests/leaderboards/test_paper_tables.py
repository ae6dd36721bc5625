"""The papers' tables: what is published, what our records say, and a warning where the start already differs."""

from __future__ import annotations

import csv
import io
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from world import command

from benchmark.cli.tables import tables_of
from benchmark.leaderboards.papers.published import FILE, published
from benchmark.leaderboards.papers.table import NOT_KNOWN, NOT_MEASURED, PaperComparison, PaperTable, render
from benchmark.records.record import SCHEMA, Metric, Record, json_digest
from benchmark.records.store import RecordStore
from datamodules.common.errors import BenchmarkError

PAPERS = ("lip", "ccup", "cliperase", "diet", "negmerge")
NUMBERS = itertools.count(1)
"""No two records are of one cell."""


def record(
    method: str, dataset: str, classes: list[str], model: str, metrics: dict[str, Any], **hparams: Any
) -> Record:
    cell = {
        "suite": "paper-lip", "method": method, "dataset": dataset, "request": {"classes": classes}, "model": model,
        "seed": 0, "hparams": hparams, "number": next(NUMBERS),
    }  # fmt: skip
    found = {name: value if isinstance(value, Metric) else Metric(value) for name, value in metrics.items()}
    return Record(SCHEMA, json_digest(cell), cell, found, {}, {"unlearn_seconds": 1.0}, {"precision": "fp32"})


def original(forget: float, retain: float) -> Record:
    parts = {"forget/acc1": Metric(forget, 19, None), "retain/acc1": Metric(retain, 2446, None)}
    return record("original", "caltech101", ["euphonium"], "RN50/openai", parts)


@pytest.mark.parametrize("paper", PAPERS)
@pytest.mark.parametrize("format", ["table", "markdown", "csv", "json"])
def test_every_table_in_every_format_without_a_record(paper: str, format: str, tmp_path: Path) -> None:
    answer = command("tables", paper, "--results", tmp_path, "--format", format)
    assert answer.status == 0 and f"no records of paper-{paper}" in answer.err
    if format == "json":
        tables = json.loads(answer.out)
        assert all(row["measured"] is None for table in tables for row in table["rows"])
    elif format == "csv":
        assert {row["measured"] for row in csv.DictReader(io.StringIO(answer.out))} == {""}
    else:
        assert NOT_KNOWN in answer.out or NOT_MEASURED in answer.out


def test_published_numbers_are_shown_as_they_are() -> None:
    _, rn50, vit, *_ = tables_of("lip", [])
    row = dict(rn50.rows)["caltech101: platypus"]
    assert [str(cell) for cell in row[:3]] == [f"90.00 / {NOT_MEASURED}", f"85.70 / {NOT_MEASURED}", NOT_KNOWN]
    assert len(rn50.rows) == len(vit.rows) == 12
    assert len(tables_of("ccup", [])) == 1 + 2 * 5 + 2


def test_measured_numbers_stand_beside_them() -> None:
    lip = record(
        "lip", "caltech101", ["euphonium"], "RN50/openai",
        {"forget/acc1": 0.0526, "retain/acc1": 0.8, "other/acc1": None, "score/kravets": 0.21},
    )  # fmt: skip
    whole, rn50, *_ = tables_of("lip", [original(0.7895, 0.8577), lip])
    row = dict(rn50.rows)["caltech101: euphonium"]
    assert [cell.measured for cell in row] == [78.95, 85.77, 5.26, 80.0, None, 21.0]
    assert not any(cell.differs for cell in row) and "all 2 measured numbers agree" in rn50.verdict
    caltech = dict(whole.rows)["RN50"][whole.columns.index("caltech101")]
    assert caltech.measured == pytest.approx((19 * 78.95 + 2446 * 85.77) / 2465)
    assert "all 1 measured numbers agree" in whole.verdict


@pytest.mark.parametrize("name", ["RN50/openai", "RN50-quickgelu:weights/RN50.pt", "RN50:RN50.pt"])
def test_weights_count_wherever_they_come_from(name: str) -> None:
    own = record("original", "caltech101", ["minaret"], name, {"forget/acc1": 0.5})
    assert dict(tables_of("lip", [own])[1].rows)["caltech101: minaret"][0].measured == 50.0
    assert dict(tables_of("lip", [own])[2].rows)["caltech101: minaret"][0].measured is None


def test_a_wrong_start_is_told_on_top() -> None:
    _, rn50, *_ = tables_of("lip", [original(0.7895, 0.80)])
    assert rn50.verdict.startswith("BEFORE FORGETTING 1 OF 2 NUMBERS DIFFER") and "euphonium" in rn50.verdict
    text = render([rn50], "table")
    assert text.splitlines()[1] == rn50.verdict and "(-5.77 ≠)" in text
    assert rn50.verdict in render([rn50], "markdown")


def unedited(dataset: str, forget: float, retain: float) -> Record:
    metrics = {"forget/acc1": forget, "retain/acc1": retain}
    return record("original", dataset, ["apple"], "ViT-L-14/openai", metrics)


@pytest.mark.parametrize(
    ("paper", "dataset", "title", "row", "published"),
    [
        ("cliperase", "cifar100_70_30", "CLIPErase: CIFAR-100, zero-shot", "original", (86.08, 72.85)),
        ("cliperase", "cifar100_70_30", "CLIPErase: modules, CIFAR-100", "none", (86.08, 72.85)),
        ("diet", "oxford_flowers", "DIET: oxford_flowers", "pretrained", (92.61, 70.48)),
    ],
)
def test_rows_of_the_unedited_model_are_judged_as_columns_are(
    paper: str, dataset: str, title: str, row: str, published: tuple[float, float]
) -> None:
    def table(*records: Record) -> PaperTable:
        return next(t for t in tables_of(paper, list(records)) if t.title == title)

    forget, retain = (value / 100 for value in published)
    assert "nothing is measured yet" in table().verdict
    close = table(unedited(dataset, forget + 0.009, retain - 0.009))
    assert close.verdict == "Before forgetting: all 2 measured numbers agree within 1 point."
    far = table(unedited(dataset, forget, retain - 0.011))
    assert far.verdict.startswith("BEFORE FORGETTING 1 OF 2 NUMBERS DIFFER by more than 1 point")
    assert f"first: {row}, retain acc" in far.verdict
    for format in ("table", "markdown"):
        assert render([far], format).index(far.verdict) < render([far], format).index(row)  # type: ignore[arg-type]
    assert json.loads(render([far], "json"))[0]["verdict"] == far.verdict


def test_only_numbers_of_the_unedited_model_count_in_the_verdict() -> None:
    rows = (("before", (PaperComparison(50.0, 50.9, before=True),)), ("after", (PaperComparison(50.0, 80.0),)))
    table = PaperTable("t", "s", ("accuracy",), rows)
    assert "all 1 measured numbers agree" in table.verdict and rows[1][1][0].differs
    assert not PaperTable("t", "s", ("accuracy",), rows[1:]).verdict
    unknown = (("before", (PaperComparison(None, 50.0, before=True),)),)
    assert not PaperTable("t", "s", ("accuracy",), unknown).verdict


@pytest.mark.parametrize(
    ("paper", "title", "row", "request_"),
    [
        ("lip", "Lip: RN50, three classes at once", "caltech101", ["euphonium", "minaret", "platypus"]),
        (
            "ccup",
            "CCUP: RN50, three classes at once",
            "caltech101: logit mask",
            ["euphonium", "minaret", "platypus"],
        ),
        (
            "cliperase",
            "CLIPErase: CIFAR-100, several classes at once",
            "3 classes: GA",
            ["apple", "aquarium fish", "baby"],
        ),
    ],
)
def test_requests_of_several_classes_have_tables_of_their_own(
    paper: str, title: str, row: str, request_: list[str]
) -> None:
    method = {"lip": "lip", "ccup": "logit_mask", "cliperase": "gradient_ascent"}[paper]
    dataset = "cifar100_70_30" if paper == "cliperase" else "caltech101"
    records = [
        record(method, dataset, request_, "RN50/openai", {"forget/acc1": 0.25, "retain/acc1": 0.5}),
        record(method, dataset, request_[:1], "RN50/openai", {"forget/acc1": 0.75, "retain/acc1": 0.75}),
    ]
    table = next(t for t in tables_of(paper, records) if t.title == title)
    filled = {label: [c.measured for c in cells if c.measured is not None] for label, cells in table.rows}
    assert {label: values for label, values in filled.items() if values} == {row: [25.0, 50.0]}
    assert all(cell.published is None for _, cells in table.rows for cell in cells) and not table.verdict


def test_the_other_form_of_the_forgetting_module_stays_out_of_the_papers_row() -> None:
    full = {"retention_weight": 1.0, "consistency_weight": 3.0}
    where = ("cliperase", "cifar100_70_30", ["apple"], "ViT-L-14/openai")
    records = [
        record(*where, {"forget/acc1": share}, **full, forgetting=form)
        for share, form in ((0.1, "cosine"), (0.9, "cross-entropy"))
    ]
    tables = {table.title: dict(table.rows) for table in tables_of("cliperase", records)}
    assert tables["CLIPErase: CIFAR-100, zero-shot"]["CLIPErase"][0].measured == 10.0
    assert tables["CLIPErase: modules, CIFAR-100"]["forgetting + retention + consistency"][0].measured == 10.0


def test_settings_are_kept_apart() -> None:
    where = ("caltech101", ["minaret"], "RN50/openai")
    settings = {"forget_weight": 100.0, "retain_weight": 10.0, "retain_names": "dataset"}
    records = [
        record("ccup", *where, {"forget/acc1": 0.1}, **settings),
        record("ccup", *where, {"forget/acc1": 0.3}, **settings | {"retain_weight": 0.0}),
        record("ccup", "caltech101", ["minaret", "platypus"], "RN50/openai", {"forget/acc1": 0.9}, **settings),
    ]
    table = next(t for t in tables_of("ccup", records) if "RN50, caltech101" in t.title)
    found = {label: cells[0].measured for label, cells in table.rows if cells[0].measured is not None}
    same = ("ccup: T_r the data set's names", "ccup: lambda 100", "ccup: mu 10")
    assert found == {**dict.fromkeys(same, 10.0), "ccup: mu 0": 30.0}


def test_a_request_by_concept_counts_and_each_split_of_flickr30k_has_its_table() -> None:
    records = []
    for dataset, share in (("flickr30k", 0.1), ("flickr30k_by_row", 0.2)):
        found = record("cliperase", dataset, [], "ViT-L-14/openai", {"forget/image_retrieval_recall@10": share})
        found.cell["request"] = {"concept": "dog"}
        found.cell["hparams"] = {"retention_weight": 1.0, "consistency_weight": 3.0, "forgetting": "cosine"}
        records.append(found)
    shown = {t.title: dict(t.rows)["CLIPErase"][0] for t in tables_of("cliperase", records) if "Flickr30K" in t.title}
    assert [(cell.published, cell.measured) for cell in shown.values()] == [(10.55, 20.0), (10.55, 10.0)]
    assert ["it leaks" in title for title in shown] == [True, False]


def test_a_record_without_the_metric_leaves_the_mean_empty() -> None:
    where = ("caltech101", ["euphonium"], "RN50/openai")
    records = [record("lip", *where, {"forget/acc1": 0.1}), record("lip", *where, {"retain/acc1": 0.5})]
    row = dict(tables_of("lip", records)[1].rows)["caltech101: euphonium"]
    assert row[2].measured is None and row[3].measured is None


def test_records_of_the_suite_are_read_from_the_folder(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    store.write(original(0.5, 0.5))
    answer = command("tables", "lip", "--results", tmp_path)
    assert answer.status == 0 and not answer.err and "78.95 / 50.00 (-28.95 ≠)" in answer.out


@pytest.mark.parametrize(
    ("published", "measured", "shown"),
    [
        (None, None, NOT_KNOWN),
        (None, 12.0, f"{NOT_KNOWN} / 12.00"),
        (0.0, None, f"0.00 / {NOT_MEASURED}"),
        (0.0, 0.0, "0.00 / 0.00 (+0.00)"),
        (50.0, 55.0, "50.00 / 55.00 (+5.00)"),
        (50.0, 55.01, "50.00 / 55.01 (+5.01 ≠)"),
    ],
)
def test_a_cell(published: float | None, measured: float | None, shown: str) -> None:
    assert str(PaperComparison(published, measured)) == shown


def test_rows_have_a_cell_a_column() -> None:
    with pytest.raises(ValueError, match="2 cells for 1 columns"):
        PaperTable("t", "s", ("a",), (("row", (PaperComparison(1.0, 1.0), PaperComparison(1.0, 1.0))),))


def test_the_file_of_published_numbers(tmp_path: Path) -> None:
    content = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    grades = {section["grade"] for section in content.values()}
    assert set(PAPERS) <= set(content) and grades <= {"code", "paper", "secondary"}
    with pytest.raises(BenchmarkError, match="no section 'x'"):
        published("x")
    with pytest.raises(BenchmarkError, match="is missing"):
        published("lip", tmp_path / "none.yaml")


def test_an_unknown_paper() -> None:
    assert "lip" in command("tables", "lips").error
