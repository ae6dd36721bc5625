"""Records come back as stored, whole or not at all; nothing is ever lost."""

from __future__ import annotations

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

from benchmark.record_store import RecordStore
from benchmark.records import Metric, Record, RecordError
from datamodules.errors import BenchmarkError

KEY = "ab" * 32


def make(key: str = KEY, *, suite: str = "quick", value: float | None = 0.25, **cell: Any) -> Record:
    cells = {
        "suite": suite,
        "method": "lip",
        "dataset": "shapes",
        "request": {"classes": ["apple"]},
        "model": "mini",
        "seed": 0,
        "hparams": {},
    }
    return Record(
        1,
        key,
        {**cells, **cell},
        {"forget/acc1": Metric(value, 100, (0.1, 0.4)), "score/kravets": Metric(None)},
        {"original": "cd" * 32, "retrain": None},
        {"unlearn_seconds": 1.5, "flops": 10, "peak_memory_bytes": None},
        {"device": "cpu", "precision": "fp32", "regime": "names"},
    )


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
    Record,
    st.just(1),
    st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
    CELL,
    METRICS,
    st.dictionaries(st.text(), st.none() | st.text()),
    st.dictionaries(st.text(), st.none() | FINITE | st.integers(-(10**12), 10**12)),
    st.dictionaries(st.text(), JSON),
    st.dictionaries(st.text(), JSON),
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
    assert len(store.all()) == 2 and store.all("quick") == [record]
    assert not list(tmp_path.rglob("*.tmp"))
    text = path.read_text()
    assert text == json.dumps(json.loads(text), sort_keys=True, indent=1) + "\n"


def test_a_tampered_score_is_what_is_read(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    path = store.write(make())
    data = json.loads(path.read_text())
    data["metrics"]["forget/acc1"]["value"] = 0.987
    path.write_text(json.dumps(data))
    record = RecordStore(tmp_path).read(KEY)
    assert record is not None and record.metrics["forget/acc1"].value == 0.987


CORRUPT: dict[str, Any] = {
    "empty": lambda text: "",
    "half": lambda text: text[: len(text) // 2],
    "list": lambda text: "[]",
    "nan": lambda text: text.replace("0.25", "NaN"),
    "huge": lambda text: text.replace("0.25", "1e999"),
    "word": lambda text: text.replace("0.25", '"good"'),
    "true": lambda text: text.replace("0.25", "true"),
    "schema": lambda text: text.replace('"schema": 1', '"schema": 2'),
    "key": lambda text: text.replace(KEY, "cd" * 32),
    "cell": lambda text: text.replace('"seed"', '"sead"'),
    "request": lambda text: text.replace('"classes"', '"class"'),
    "missing": lambda text: text.replace('"provenance"', '"origin"'),
    "deep": lambda text: "[" * 100_000,
}


@pytest.mark.parametrize("kind", CORRUPT)
def test_a_corrupt_file_is_set_aside(tmp_path: Path, kind: str) -> None:
    store = RecordStore(tmp_path)
    other = store.write(make("cd" * 32, suite="quick"))
    contents = []
    for number in range(3):
        path = store.write(make())
        damaged = CORRUPT[kind](path.read_text())
        path.write_text(damaged)
        contents.append(damaged)
        assert [record.key for record in store.all()] == ["cd" * 32]
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
    leftovers = [path.with_name(f".{KEY}.123.abc.tmp"), path.with_name("notes.json")]
    for file in leftovers:
        file.write_text("{")
    assert len(store.all()) == 1 and store.set_aside == [] and all(file.exists() for file in leftovers)


@pytest.mark.parametrize(
    "bad",
    [
        make(key="AB" * 32),
        make(key="ab"),
        make(suite="../elsewhere"),
        make(suite=".."),
        make(value=float("nan")),
        make(value=float("inf")),
        make(request={"classes": []}),
        make(seed="0"),
        make(hparams={"rate": float("nan")}),
        make(hparams={"rate": object()}),
    ],
)
def test_what_is_no_record_is_not_written(tmp_path: Path, bad: Record) -> None:
    with pytest.raises(RecordError):
        RecordStore(tmp_path).write(bad)
    assert not list(tmp_path.rglob("*"))


def test_errors_name_the_file() -> None:
    with pytest.raises(RecordError, match=r"here\.json: no 'key'"):
        Record.from_dict({"schema": 1}, "here.json")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    RecordStore(tmp_path / "new" / "deep").check_writable()
    assert list((tmp_path / "new" / "deep").iterdir()) == []
    (tmp_path / "file").touch()
    store = RecordStore(tmp_path / "file" / "below")
    with pytest.raises(BenchmarkError, match="cannot be written") as caught:
        store.check_writable()
    assert "\n" not in str(caught.value)
    with pytest.raises(RecordError, match="cannot write"):
        store.write(make())


def test_a_failed_write_keeps_the_old_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RecordStore(tmp_path)
    store.write(make())

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RecordError, match="No space left"):
        store.write(make(value=0.5))
    assert store.read(KEY) == make() and not list(tmp_path.rglob("*.tmp"))


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.benchmark.test_records import make
from benchmark.record_store import RecordStore
store = RecordStore(Path(sys.argv[1]))
number = 0
while True:
    number += 1
    store.write(make(f"{number % 5:064x}", hparams={"note": "x" * 50_000}))
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
        "import sys, benchmark.records, benchmark.ledger, benchmark.leaderboard, benchmark.tables; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'lightning', 'open_clip', 'pandas', 'scipy')))"
    )
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0
