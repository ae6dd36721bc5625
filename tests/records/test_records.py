"""Records come back as stored, whole or not at all; nothing is ever lost."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.records.record import SCHEMA, Metric, Record, RecordError, json_digest, key_of
from benchmark.records.store import RecordStore
from datamodules.common.errors import BenchmarkError
from datamodules.common.kept_files import CannotWriteError, DiskFullError


def make(key: str | None = None, *, suite: str = "quick", value: float | None = 0.25, **cell: Any) -> Record:
    cells: dict[str, Any] = {
        "suite": suite,
        "method": "lip",
        "dataset": "shapes",
        "request": {"classes": ["apple"]},
        "model": "mini",
        "seed": 0,
        "hparams": {},
        **cell,
    }
    return Record(
        SCHEMA,
        key or key_of(cells),
        cells,
        {"forget/acc1": Metric(value, 100, (0.1, 0.4)), "score/kravets": Metric(None)},
        {"original": "cd" * 32, "retrain": None},
        {"unlearn_seconds": 1.5, "flops": 10, "peak_memory_bytes": None},
        {"device": "cpu", "precision": "fp32", "regime": "names"},
    )


KEY = make().key
FINITE = st.floats(allow_nan=False, allow_infinity=False)
ENDS = st.none() | st.tuples(FINITE, FINITE)
METRICS = st.dictionaries(st.text(), st.builds(Metric, st.none() | FINITE, st.none() | st.integers(0, 10**9), ENDS))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FINITE | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
CELL = st.fixed_dictionaries(
    {
        "suite": st.just("quick"),
        "method": st.text(),
        "dataset": st.text(),
        "request": st.sampled_from([{"classes": ["a", "b"]}, {"concept": "dog", "words": ["hound"]}]),
        "model": st.text(),
        "seed": st.integers(),
        "hparams": st.dictionaries(st.text(), JSON),
    }
)
RECORDS = st.builds(
    lambda cell, *parts: Record(SCHEMA, key_of(cell), cell, *parts),
    CELL,
    METRICS,
    st.dictionaries(st.text(), st.none() | st.text()),
    st.dictionaries(st.text(), st.none() | FINITE | st.integers(-(10**12), 10**12)),
    st.dictionaries(st.text(), JSON),
    st.dictionaries(st.text(), JSON),
    st.dictionaries(st.text(), st.text()),
)


@settings(max_examples=40, deadline=None)
@given(RECORDS)
def test_round_trip(record: Record) -> None:
    text = json.dumps(record.to_dict(), sort_keys=True, allow_nan=False)
    assert Record.from_dict(json.loads(text)) == record


def test_store_round_trip_and_layout(tmp_path: Path) -> None:
    store, record = RecordStore(tmp_path), make()
    path = store.write(record)
    assert path == tmp_path / "quick" / f"{KEY}.json"
    assert store.read(KEY) == record == store.read(KEY, "quick")
    assert store.has("quick", KEY) and not store.has("other", KEY) and not store.has("quick", "cd" * 32)
    store.write(make(suite="full"))
    assert make(suite="full").key != KEY and len(store.all()) == 2 and store.all("quick") == [record]
    assert not list(tmp_path.rglob("*.tmp"))
    text = path.read_text()
    assert text == json.dumps(json.loads(text), sort_keys=True, indent=1) + "\n"


@pytest.mark.parametrize("read_only", [True, False])
def test_a_tampered_score_is_never_believed(tmp_path: Path, read_only: bool) -> None:
    path = RecordStore(tmp_path).write(make())
    data = json.loads(path.read_text())
    data["metrics"]["forget/acc1"]["value"] = 0.987
    path.write_text(json.dumps(data))
    store = RecordStore(tmp_path, read_only=read_only)
    assert store.read(KEY) is None and "its digest is not that of its content" in store.notes[0]
    assert path.exists() == read_only and path.with_name(f"{path.name}.corrupt").exists() != read_only


def test_the_key_is_that_of_the_cell(tmp_path: Path) -> None:
    """A record whose maker changed its cell, digest and all, does not stand for another cell."""
    data = make().to_dict()
    data["cell"]["seed"] = 1
    data["digest"] = json_digest({name: value for name, value in data.items() if name != "digest"})
    with pytest.raises(RecordError, match="its key is not that of its cell"):
        Record.from_dict(data)
    RecordStore(tmp_path).write(make(seed=1)).rename(tmp_path / "quick" / f"{KEY}.json")
    store = RecordStore(tmp_path)
    assert store.read(KEY) is None and "holds the record of another key" in store.notes[0]


def older(record: Record) -> str:
    """As the first version wrote a record."""
    return json.dumps(dataclasses.replace(record, schema=1).to_dict())


@pytest.mark.parametrize("read_only", [True, False])
def test_records_of_other_versions_are_left_alone_and_counted(tmp_path: Path, read_only: bool) -> None:
    store = RecordStore(tmp_path, read_only=read_only)
    kept = store.write(make(seed=1))
    texts = {make().key: older(make()), make(seed=2).key: json.dumps({"schema": 3, "news": []})}
    for key, text in texts.items():
        kept.with_name(f"{key}.json").write_text(text)
    for _ in range(2):
        assert [record.cell["seed"] for record in store.all()] == [1] and store.read(KEY) is None
    assert store.notes == [f"2 records of another version are left alone in {tmp_path}: not read"]
    assert {key: kept.with_name(f"{key}.json").read_text() for key in texts} == texts
    assert [record.key for record in RecordStore(tmp_path, older=True).all()] == sorted([KEY, make(seed=1).key])


def test_a_new_record_in_the_place_of_one_of_another_version_loses_nothing(tmp_path: Path) -> None:
    path = RecordStore(tmp_path).write(make())
    path.write_text(older(make()))
    assert RecordStore(tmp_path).write(make()) == path
    assert RecordStore(tmp_path).read(KEY) == make()
    assert path.with_name(f"{path.name}.other-version").read_text() == older(make())


CORRUPT: dict[str, Any] = {
    "empty": lambda text: "",
    "half": lambda text: text[: len(text) // 2],
    "list": lambda text: "[]",
    "nan": lambda text: text.replace("0.25", "NaN"),
    "huge": lambda text: text.replace("0.25", "1e999"),
    "word": lambda text: text.replace("0.25", '"good"'),
    "true": lambda text: text.replace("0.25", "true"),
    "schema": lambda text: text.replace(f'"schema": {SCHEMA}', '"schema": "2"'),
    "older": lambda text: text.replace(f'"schema": {SCHEMA}', '"schema": 1'),
    "digest": lambda text: text.replace('"digest": "', '"digest": "0'),
    "measures": lambda text: text.replace('"measures": {}', '"measures": []'),
    "key": lambda text: text.replace(KEY, "cd" * 32),
    "cell": lambda text: text.replace('"seed"', '"sead"'),
    "request": lambda text: text.replace('"classes"', '"class"'),
    "missing": lambda text: text.replace('"provenance"', '"origin"'),
    "deep": lambda text: "[" * 100_000,
}


@pytest.mark.parametrize("kind", CORRUPT)
def test_a_corrupt_file_is_set_aside(tmp_path: Path, kind: str) -> None:
    store = RecordStore(tmp_path, read_only=False)
    other = store.write(make(seed=1))
    contents = []
    for number in range(3):
        path = store.write(make())
        damaged = CORRUPT[kind](path.read_text())
        path.write_text(damaged)
        contents.append(damaged)
        assert [record.key for record in store.all()] == [make(seed=1).key]
        assert not path.exists() and not store.has("quick", KEY)
        assert len(store.set_aside) == number + 1
        line = store.set_aside[-1]
        assert "\n" not in line and path.name in line and "will run again" in line
    kept = [path.with_name(f"{path.name}.corrupt{n}") for n in ("", 1, 2)]
    assert [file.read_text() for file in kept] == contents
    assert other.exists()
    store.write(make())
    assert store.has("quick", KEY)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    store.write(make()).write_bytes(b"\xff\xfe\x00")
    assert store.read(KEY) is None and len(store.set_aside) == 1


def test_leftovers_of_dead_writers_and_strangers_files_are_left_alone(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    path = store.write(make())
    leftovers = [path.with_name(f".{KEY}.{'a' * 32}.tmp"), path.with_name("notes.json")]
    for file in leftovers:
        file.write_text("{")
    assert len(store.all()) == 1 and store.set_aside == [] and all(file.exists() for file in leftovers)


@pytest.mark.parametrize(
    "bad",
    [
        make(key="AB" * 32),
        make(key="ab" * 32),
        make(key="ab"),
        make(suite="../elsewhere"),
        make(suite=".."),
        make(value=float("nan")),
        make(value=float("inf")),
        make(request={"classes": []}),
        make(seed="0"),
        make(hparams={"rate": float("nan")}),
        make("cd" * 32, hparams={"rate": object()}),
    ],
)
def test_what_is_no_record_is_not_written(tmp_path: Path, bad: Record) -> None:
    with pytest.raises(RecordError):
        RecordStore(tmp_path).write(bad)
    assert not list(tmp_path.rglob("*"))


def test_errors_name_the_file() -> None:
    with pytest.raises(RecordError, match=r"here\.json: the key 'key' is missing"):
        Record.from_dict({"schema": 1}, "here.json")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    RecordStore(tmp_path / "new" / "deep").check_writable()
    assert list((tmp_path / "new" / "deep").iterdir()) == []
    (tmp_path / "file").touch()
    store = RecordStore(tmp_path / "file" / "below")
    with pytest.raises(BenchmarkError, match="cannot be written") as caught:
        store.check_writable()
    assert "\n" not in str(caught.value)
    with pytest.raises(CannotWriteError, match="cannot write"):
        store.write(make())


def test_a_failed_write_keeps_the_old_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RecordStore(tmp_path)
    store.write(make())

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError, match="No space left"):
        store.write(make(value=0.5))
    assert store.read(KEY) == make() and not list(tmp_path.rglob("*.tmp"))


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.records.test_records import make
from benchmark.records.store import RecordStore
store = RecordStore(Path(sys.argv[1]))
number = 0
while True:
    number += 1
    store.write(make(seed=number % 5, hparams={"note": "x" * 50_000}))
"""


def test_a_killed_writer_leaves_only_whole_records(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    for pause in (0.0, 0.013):
        child = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(root)])
        try:
            deadline = time.monotonic() + 60
            while not list(tmp_path.glob("*/*.json")) and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.2 + pause)
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
        store = RecordStore(tmp_path)
        files = list(tmp_path.glob("*/*.json"))
        assert files and len(store.all()) == len(files) and store.set_aside == []
        for file in files:
            file.unlink()


def test_records_and_leaderboard_import_nothing_heavy() -> None:
    code = (
        "import sys, benchmark.records.record, benchmark.records.failures, benchmark.leaderboards.tables; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'lightning', 'open_clip', 'pandas', 'scipy')))"
    )
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0
