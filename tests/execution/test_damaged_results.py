"""Commands on a results folder with damage: those that read leave it as it is, those that own it mend it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from world import World, command, metrics_of, small_world

from benchmark.evaluation.families import FAMILIES
from benchmark.records.store import RecordStore

pytest_plugins = ("world",)


@pytest.fixture
def mine(finished: World, tmp_path: Path) -> Iterator[World]:
    """A finished run of one's own, to be damaged."""
    shutil.copytree(finished.results, tmp_path / "results")
    with small_world():
        yield finished.with_results(tmp_path / "results")


def chosen(world: World, method: str) -> Path:
    """The file of a method's record, of a request by class."""
    records = world.records().values()
    record = next(r for r in records if r.cell["method"] == method and "classes" in r.cell["request"])
    return RecordStore(world.results).path("tiny", record.key)


def damage(world: World) -> tuple[Path, Path, Path]:
    """A record cut short, outputs with a bit flipped, and a record of the first version."""
    record, outputs, older = (chosen(world, method) for method in ("random_noise", "nullspace", "original"))
    record.write_text(record.read_text()[:300])
    outputs = outputs.with_suffix(".npz")
    content = bytearray(outputs.read_bytes())
    content[len(content) // 2] ^= 1
    outputs.write_bytes(content)
    was = RecordStore(world.results).read(older.stem)
    assert was is not None
    older.write_text(json.dumps(replace(was, schema=1).to_dict()))
    return record, outputs, older


def test_commands_that_read_change_nothing(mine: World, tmp_path: Path) -> None:
    damaged, outputs, older = damage(mine)
    before = {path: path.read_bytes() for path in mine.results.rglob("*") if path.is_file()}
    key = chosen(mine, "nullspace").stem
    answers = {
        "plan": mine("plan"),
        "leaderboard": command("leaderboard", "--results", mine.results),
        "tables": command("tables", "lip", "--results", mine.results),
        "report": command("report", "--results", mine.results, "--own", "--out", tmp_path / "page.html"),
        "export": command("export", key[:12], tmp_path / "model", "--results", mine.results, "--cache-dir", mine.cache),
        "list": command("list", "suites"),
    }
    assert {name: answer.status for name, answer in answers.items()} == dict.fromkeys(answers, 0), answers
    for name in ("plan", "leaderboard", "report"):
        assert damaged.name in answers[name].err and "1 record of another version is left alone" in answers[name].err
    assert outputs.name in answers["report"].err
    assert {path: path.read_bytes() for path in mine.results.rglob("*") if path.is_file()} == before
    assert older in before and damaged in before


def test_run_makes_again_what_is_damaged_and_loses_nothing(finished: World, mine: World) -> None:
    damaged, _, older = damage(mine)
    cut, first = damaged.read_bytes(), older.read_bytes()
    answer = mine.run()
    assert answer.status == 0 and "2 cells run, 6 were done, 0 failed" in answer.out.replace("\n", " "), answer
    found, were = mine.records(), finished.records()
    assert {key: metrics_of(record) for key, record in found.items()} == {k: metrics_of(r) for k, r in were.items()}
    assert damaged.with_name(f"{damaged.name}.corrupt").read_bytes() == cut
    assert older.with_name(f"{older.name}.other-version").read_bytes() == first


def test_measure_sets_damaged_outputs_aside_and_unlearns_again(mine: World) -> None:
    _, outputs, _ = damage(mine)
    changed = outputs.read_bytes()
    answer = command("measure", "confusion_audit", "--results", mine.results, "--cache-dir", mine.cache)
    assert answer.status == 0 and outputs.name in answer.err, answer
    assert outputs.with_name(f"{outputs.name}.corrupt").read_bytes() == changed and not outputs.exists()
    measured = RecordStore(mine.results).read(outputs.stem)
    assert measured is not None and set(FAMILIES["confusion_audit"].metrics) <= set(measured.metrics)


def test_a_damaged_cache_costs_a_note_and_nothing_else(
    finished: World, mine: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = tmp_path / "cache"
    shutil.copytree(finished.cache, cache)
    own = World(mine.suite, cache, tmp_path / "again")
    kept = [*(cache / "images").glob("*.npy"), *(cache / "features").glob("*.npy")]
    assert len(kept) >= 4
    for path in kept:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    assert own.run("--methods", "original", "--seeds", "0").status == 0
    notes = [record.getMessage() for record in caplog.records if "it is made again" in record.getMessage()]
    assert len(notes) == len(set(notes)) >= 4
    again = own.records()
    assert again and all(metrics_of(finished.records()[key]) == metrics_of(record) for key, record in again.items())
