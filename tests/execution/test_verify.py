"""`verify` across machines: equal, within rounding, within the spread of seeds, or different."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from world import Answer, World, command, small_world, write_suite

from benchmark.cli import verify as module
from benchmark.execution.verification import (
    TOLERANCE,
    Gap,
    families_of,
    gaps,
    rounding_of,
    siblings_of,
    spread_of,
    worst_of,
)
from benchmark.records import lookup
from benchmark.records.record import Metric, Record
from benchmark.records.store import RecordStore

pytest_plugins = ("world",)
METRICS = {
    "forget/acc1": Metric(0.5, 100),
    "retain/acc1": Metric(0.9, 2300),
    "forget/probe_acc1": Metric(0.8),
    "retain/worst10_drop": Metric(0.1),
    "score/kravets": Metric(0.2),
}


@pytest.mark.parametrize(
    ("name", "bound"),
    [
        ("forget/acc1", 0.01),  # one of a hundred
        ("retain/acc1", TOLERANCE),  # more than one of 2300
        ("forget/probe_acc1", 0.05),  # five, since the probe learns
        ("retain/worst10_drop", TOLERANCE),  # two of 2300
        ("score/kravets", 0.02),  # two of the hundred that it is made from
    ],
)
def test_rounding_explains_a_test_item_and_no_more(name: str, bound: float) -> None:
    assert rounding_of(name, METRICS) == pytest.approx(bound)
    value = METRICS[name].value
    assert value is not None
    assert Gap(name, value, value + bound, bound).verdict == "rounding"
    assert Gap(name, value, value + 1.1 * bound, bound).verdict == "different"


def test_the_spread_of_seeds_is_that_of_two_runs_and_needs_three_seeds() -> None:
    assert spread_of([Metric(0.1), Metric(0.2)]) is None
    assert spread_of([Metric(0.1), Metric(0.2), Metric(None), None]) is None
    # deviation 0.1, t(2) = 4.3027, times the root of two
    assert spread_of([Metric(0.1), Metric(0.2), Metric(0.3)]) == pytest.approx(0.43027 * math.sqrt(2), rel=1e-4)
    assert spread_of([Metric(0.1)] * 3) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("now", "spread", "verdict"),
    [
        (0.5, None, "equal"),
        (0.505, None, "rounding"),
        (0.6, 0.2, "spread"),
        (0.6, None, "different"),
        (0.6, 0.05, "different"),
        (None, 1.0, "different"),
    ],
)
def test_a_number_is_one_of_four(now: float | None, spread: float | None, verdict: str) -> None:
    gap = Gap("forget/acc1", 0.5, now, 0.005, spread)
    assert gap.verdict == verdict == worst_of([Gap("a", 0.1, 0.1), gap])
    assert Gap("a", None, None).verdict == "equal"


@pytest.fixture(scope="module")
def seeds(tiny_world: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A method with chance at three seeds; not to be changed."""
    folder = tmp_path_factory.mktemp("seeds")
    made = World(write_suite(folder, tiny_world.model), tiny_world.cache, folder / "results")
    with small_world():
        answer = made.run("--methods", "original,random_noise", "--seeds", "0,1,2")
    assert answer.status == 0, answer.err
    return made


@pytest.fixture
def mine(seeds: World, tmp_path: Path) -> Iterator[World]:
    """A copy, to be changed."""
    shutil.copytree(seeds.results, tmp_path / "results")
    with small_world():
        yield seeds.with_results(tmp_path / "results")


def _verify(world: World, *what: object) -> Answer:
    return command("verify", *what, "--results", world.results, "--cache-dir", world.cache)


def _noise(world: World, seed: int = 0) -> Record:
    records = (r for r in world.records().values() if r.cell["method"] == "random_noise" and r.cell["seed"] == seed)
    return next(record for record in records if "classes" in record.cell["request"])


def _with(world: World, folder: Path, record: Record, **changed: float) -> Path:
    """A file of a record with other numbers."""
    metrics = {name: replace(record.metrics[name], value=value) for name, value in changed.items()}
    path = folder / "changed.json"
    path.write_text(json.dumps(replace(record, metrics=record.metrics | metrics).to_dict()))
    return path


def test_of_two_families_that_share_a_metric_the_one_that_was_measured_is_run_again() -> None:
    named = {"measures": ["relearning_alone"], "method": "uce"}
    metrics = {"forget/relearn_acc1@0": Metric(0.2), "forget/image_map": Metric(0.5)}
    digests = {"relearning_alone": "a", "image_retrieval_map": "b"}
    record = Record(2, "k", named, metrics, {}, {}, {}, measures=digests)
    assert families_of(record) == ("relearning_alone", "image_retrieval_map")
    assert {"relearning", "relearning_alone"} <= {*families_of(replace(record, measures={}))}, "told by metrics alone"


def test_a_family_that_measure_added_is_compared_too(mine: World) -> None:
    record = _noise(mine)
    done = command("measure", "confusion_audit", "--results", mine.results, "--cache-dir", mine.cache)
    assert done.status == 0, done.err
    measured = mine.records()[record.key]
    assert families_of(measured) == ("confusion_audit",) and families_of(record) == ()
    answer = _verify(mine, record.key)
    assert answer.status == 0 and "forget/confusion_entropy" in answer.out and "inf" not in answer.out, answer.out
    assert f"equal: all {len(measured.metrics)} numbers" in answer.out
    kept = mine.run("--methods", "original,random_noise", "--seeds", "0", "--save-weights")
    assert kept.status == 0, kept.err  # the cell's own numbers are compared, not those that were added


def test_the_spread_of_seeds_counts_where_three_seeds_have_records(mine: World, tmp_path: Path) -> None:
    record = _noise(mine)
    values = [_noise(mine, seed).metrics["retain/acc1"].value for seed in (0, 1, 2)]
    assert len(set(values)) > 1 and values[0] is not None
    moved = _with(mine, tmp_path, record, **{"retain/acc1": values[0] + (max(values) - min(values)) / 2 + 0.02})
    answer = _verify(mine, moved)
    assert answer.status == 0 and "within the spread of seeds: 1 of" in answer.out, answer.out
    assert "(3 seeds)" in answer.out
    assert _verify(mine, moved, "--strict").status == 1
    far = _with(mine, tmp_path, record, **{"retain/acc1": values[0] + 40.0})
    assert "two of its seeds differ by less (3 seeds)" in _verify(mine, far).out


def test_fewer_seeds_do_not_tell_a_spread_but_further_ones_can_be_run(mine: World, tmp_path: Path) -> None:
    record, others = _noise(mine), [_noise(mine, seed) for seed in (1, 2)]
    spread = spread_of([each.metrics["retain/acc1"] for each in (record, *others)])
    assert spread is not None and record.metrics["retain/acc1"].value is not None
    for other in others:
        for path in mine.results.rglob(f"{other.key}.*"):
            path.unlink()
    moved = _with(mine, tmp_path, record, **{"retain/acc1": record.metrics["retain/acc1"].value + spread / 2})
    before = mine.files()
    answer = _verify(mine, moved)
    assert answer.status == 1 and "the spread of this method's seeds is not known: that takes 3 seeds" in answer.out
    answer = _verify(mine, moved, "--spread")
    assert answer.status == 0 and "within the spread of seeds" in answer.out and mine.files() == before, answer.out


def test_several_records_and_a_sample_are_counted(mine: World) -> None:
    keys = [_noise(mine, seed).key[:16] for seed in (0, 1)]
    answer = _verify(mine, *keys)
    assert answer.status == 0
    assert "2 records: 2 equal, 0 within rounding, 0 within the spread of seeds, 0 different, 0 not run" in answer.out
    drawn = [_verify(mine, "--sample", 2, "--suite", "tiny", "--sample-seed", 3).out for _ in range(2)]
    assert "[2/2]" in drawn[0] and drawn[0] == drawn[1]
    assert "leave out the keys" in _verify(mine, keys[0], "--sample", 2).error
    assert "--sample takes a number from 1 to" in _verify(mine, "--sample", 0).error
    assert (
        "name a record's key" in _verify(mine).error
        and "no records of suite" in _verify(mine, "--sample", 1, "--suite", "none").error
    )


def test_reference_names_the_committed_record_of_two(
    mine: World, seeds: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "REFERENCE", seeds.results)
    monkeypatch.setattr(module, "REFERENCE", seeds.results)
    record = _noise(mine)
    store = RecordStore(mine.results)
    store.write(replace(record, metrics=record.metrics | {"retain/acc1": Metric(77.0, 3)}))
    assert _verify(mine, record.key).status == 1
    answer = _verify(mine, record.key, "--reference")
    assert answer.status == 0 and "equal: all" in answer.out
    assert "in the reference records" in _verify(mine, "feed", "--reference").error


def test_siblings_are_the_other_seeds_of_the_same_cell_once_each(seeds: World) -> None:
    records = list(seeds.records().values())
    record = _noise(seeds)
    found = siblings_of(record, [*records, *records])
    assert [each.cell["seed"] for each in found] == [1, 2]
    assert {json.dumps(each.cell["request"]) for each in found} == {json.dumps(record.cell["request"])}
    other: dict[str, Any] = {**record.cell, "hparams": {"scale": 9.0}, "seed": 5}
    assert siblings_of(record, [replace(record, key="0" * 64, cell=other)]) == []
    assert all(gap.verdict == "equal" for gap in gaps(record, record))
