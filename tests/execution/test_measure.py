"""`measure` adds a family to records: from kept outputs at once, or by unlearning again, to the same numbers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from world import World, command, metrics_of, small_world

from benchmark.records.kept_outputs import Outputs
from benchmark.records.store import RecordStore

pytest_plugins = ("world",)


@pytest.fixture
def mine(finished: World, tmp_path: Path) -> Iterator[World]:
    """A finished run of one's own, to be added to."""
    shutil.copytree(finished.results, tmp_path / "results")
    with small_world():
        yield finished.with_results(tmp_path / "results")


def test_outputs_lie_beside_each_record_and_are_those_of_the_model(mine: World) -> None:
    store = RecordStore(mine.results)
    for record in store.all():
        kept = store.outputs(record.cell["suite"], record.key)
        assert kept is not None and len(kept.images) > 0
        assert kept.refused == (("ring",) if record.cell["method"] == "logit_mask" else ())


def test_damaged_outputs_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK half a file")
    assert Outputs.read(tmp_path / "a.npz") is None and Outputs.read(tmp_path / "b.npz") is None


def test_a_family_from_kept_outputs_and_by_unlearning_again_agree(mine: World) -> None:
    first = command("measure", "true_name_rank", "--results", mine.results, "--cache-dir", mine.cache)
    assert first.status == 0 and "by unlearning again" in first.out
    kept = {r.key: metrics_of(r) for r in RecordStore(mine.results).all()}
    assert command("measure", "true_name_rank", "--results", mine.results).out.startswith("nothing to do")
    for path in mine.results.rglob("*.npz"):
        path.unlink()
    second = command("measure", "true_name_rank", "--again", "--results", mine.results, "--cache-dir", mine.cache)
    assert second.status == 0 and ": 0 records from kept outputs" in second.out
    for record in RecordStore(mine.results).all():
        for name in ("forget/true_name_rank", "forget/true_name_margin", "forget/acc5"):
            was, now = kept[record.key][name]["value"], record.metrics[name].value
            assert (was is None) == (now is None)
            if was is not None:
                assert now == pytest.approx(was, abs=0.5 if name.endswith("rank") else 2e-3)


def test_the_rest_of_a_record_stays_as_it_was(mine: World) -> None:
    before = {r.key: r for r in RecordStore(mine.results).all()}
    assert command("measure", "confusion_audit", "--results", mine.results, "--cache-dir", mine.cache).status == 0
    for record in RecordStore(mine.results).all():
        old = before[record.key]
        assert set(record.metrics) - set(old.metrics) == {"forget/confusion_entropy"}
        assert {name: record.metrics[name] for name in old.metrics} == old.metrics
        assert (record.cell, record.cost, record.provenance) == (old.cell, old.cost, old.provenance)


def test_unknown_families_and_empty_folders_are_one_clear_line(mine: World, tmp_path: Path) -> None:
    unknown = command("measure", "true_name", "--results", mine.results)
    assert unknown.status == 2 and "true_name_rank" in unknown.err
    empty = command("measure", "cka", "--results", tmp_path / "none")
    assert empty.status == 2 and "make some with" in empty.err
