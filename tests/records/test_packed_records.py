"""Many records in one file: they come back as they were, the same records give the same bytes, damage stops nothing."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest
from test_records import make, older
from world import command

from benchmark.records.compact import SUFFIX, read_compact, write_compact
from benchmark.records.lookup import find_record
from benchmark.records.record import Record, RecordError
from benchmark.records.store import REFERENCE, RecordStore
from datamodules.common.errors import BenchmarkError

RECORDS = [make(seed=seed) for seed in range(8)]
SORTED = sorted(RECORDS, key=lambda record: record.key)


def packed(folder: Path, records: list[Record] = RECORDS, suite: str = "quick") -> Path:
    path = folder / f"{suite}{SUFFIX}"
    write_compact(path, records)
    return path


def rewrite(path: Path, lines: list[str]) -> None:
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))


def lines_of(path: Path) -> list[str]:
    return gzip.decompress(path.read_bytes()).decode().splitlines()


def test_records_come_back_and_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    path = packed(tmp_path)
    assert list(read_compact(path).records.values()) == SORTED and read_compact(path).damaged == []
    assert packed(tmp_path / "again", RECORDS[::-1]).read_bytes() == path.read_bytes()
    assert path.read_bytes()[3:8] == bytes(5), "neither a name nor a time in the header"
    assert json.loads(lines_of(path)[0]) == SORTED[0].to_dict(), "a line is what a record's own file holds"


def test_a_store_reads_both_forms_and_the_single_file_counts(tmp_path: Path) -> None:
    path = packed(tmp_path)
    before = path.read_bytes()
    store = RecordStore(tmp_path)
    mine = replace(RECORDS[3], cost={"unlearn_seconds": 99.0})
    store.write(mine)
    store.write(make(suite="other"))
    assert store.all("quick") == [mine if record.key == mine.key else record for record in SORTED]
    assert store.all() == [make(suite="other"), *store.all("quick")]
    assert store.read(mine.key) == mine and store.read(RECORDS[0].key, "quick") == RECORDS[0]
    assert store.read(RECORDS[0].key, "other") is None and not store.has("quick", "ab" * 32)
    assert find_record(RECORDS[0].key[:12], tmp_path) == RECORDS[0]
    assert path.read_bytes() == before and store.notes == []


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    packed(tmp_path, RECORDS[:2])
    store = RecordStore(tmp_path)
    assert len(store.all()) == 2
    packed(tmp_path)
    assert len(store.all()) == 8 and store.read(RECORDS[7].key) == RECORDS[7]
    (tmp_path / f"quick{SUFFIX}").unlink()
    assert store.all() == [] and store.read(RECORDS[7].key) is None


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"schema": 2', "line 3: Expecting ',' delimiter"),
        ("", "line 3: Expecting value"),
        (json.dumps(SORTED[2].to_dict()).replace("0.25", "0.99"), "line 3: its digest is not that of its content"),
        (json.dumps(SORTED[2].to_dict()).replace("0.25", "NaN"), "line 3: NaN is not JSON"),
        (json.dumps(SORTED[1].to_dict()), "line 3: the key of line 2 once more"),
        (json.dumps(make(suite="full").to_dict()), "line 3: a record of suite 'full'"),
        ("[" * 100_000, "line 3: "),
    ],
    ids=["half", "empty", "tampered", "nan", "twice", "suite", "deep"],
)
def test_a_damaged_line_is_told_and_the_rest_is_read(tmp_path: Path, line: str, reason: str, read_only: bool) -> None:
    path = packed(tmp_path)
    rewrite(path, [line if number == 2 else text for number, text in enumerate(lines_of(path))])
    before = path.read_bytes()
    store = RecordStore(tmp_path, read_only=read_only)
    for _ in range(2):
        assert store.all() == [record for record in SORTED if record != SORTED[2]]
    (note,) = store.notes
    assert note.startswith(f"{path} is damaged ({reason}") and "\n" not in note
    assert [place for place, _ in store.damaged] == [path]
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == [path.name]


def test_many_damaged_lines_are_not_told_one_by_one(tmp_path: Path) -> None:
    path = packed(tmp_path)
    rewrite(path, [*lines_of(path), *(["no record"] * 1000)])
    store = RecordStore(tmp_path)
    assert store.all() == SORTED and len(store.notes) == 21
    assert store.notes[-1] == f"{path} is damaged (980 further lines are no records): not read"


def many(count: int = 300) -> list[Record]:
    return [make(seed=seed) for seed in range(count)]


@pytest.mark.parametrize("kind", ["truncated", "flipped", "followed", "empty", "no gzip"])
def test_of_a_damaged_stream_what_came_before_is_read(tmp_path: Path, kind: str) -> None:
    whole = packed(tmp_path, many()).read_bytes()
    middle = len(whole) // 2
    broken = {
        "truncated": whole[:middle],
        "flipped": whole[:middle] + bytes(byte ^ 0xFF for byte in whole[middle : middle + 40]) + whole[middle + 40 :],
        "followed": whole + b"something else",
        "empty": b"",
        "no gzip": b'{"schema": 2}\n' * 50,
    }[kind]
    path = tmp_path / f"quick{SUFFIX}"
    path.write_bytes(broken)
    store = RecordStore(tmp_path, read_only=False)
    read = store.all()
    expected = sorted(many(), key=lambda record: record.key)
    assert read == expected[: len(read)], "nothing that was not written"
    if kind in ("truncated", "flipped"):
        assert 100 < len(read) < 200
    else:
        assert len(read) == (300 if kind == "followed" else 0)
    (note,) = store.notes
    assert f"from line {len(read) + 1} on: " in note and note.endswith(": not read")
    assert path.read_bytes() == broken


def test_files_joined_by_their_bytes_are_one(tmp_path: Path) -> None:
    first, second = packed(tmp_path / "a", RECORDS[:4]), packed(tmp_path / "b", RECORDS[4:])
    joined = tmp_path / f"quick{SUFFIX}"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    assert RecordStore(tmp_path).all() == SORTED


def test_records_of_other_versions(tmp_path: Path) -> None:
    path = packed(tmp_path)
    lines = lines_of(path)
    rewrite(path, [older(SORTED[0]), json.dumps({"schema": 3, "news": []}), *lines[2:]])
    store = RecordStore(tmp_path)
    assert store.all() == SORTED[2:]
    assert store.notes == [f"2 records of another version are left alone in {tmp_path}: not read"]
    known = RecordStore(tmp_path, older=True)
    assert [record.key for record in known.all()] == [r.key for r in (SORTED[0], *SORTED[2:])]
    assert len(known.left_alone) == 1

    # Without a digest only gzip's checksum says that a record is whole.
    rewrite(path, [older(record) for record in SORTED])
    assert len(RecordStore(tmp_path, older=True).all()) == 8
    path.write_bytes(path.read_bytes()[:-3])
    damaged = RecordStore(tmp_path, older=True)
    assert damaged.all() == [] and "8 lines have no digest" in damaged.notes[1]


def test_what_may_not_be_packed(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="is of suite 'full'"):
        packed(tmp_path, [make(suite="full")])
    with pytest.raises(RecordError, match="comes twice"):
        packed(tmp_path, [make(), make()])
    assert not list(tmp_path.iterdir())


def test_pack_keeps_or_drops_what_the_file_holds_only_when_it_is_told(tmp_path: Path) -> None:
    store, out = RecordStore(tmp_path / "runs"), tmp_path / "packed"
    for record in RECORDS[:3]:
        store.write(record)
    path, count = store.pack("quick", out)
    assert count == 3 and RecordStore(out).all() == store.all()
    store.path("quick", RECORDS[0].key).unlink()
    changed = replace(RECORDS[1], cost={"unlearn_seconds": 99.0})
    store.write(changed)
    before = path.read_bytes()
    with pytest.raises(BenchmarkError, match=r"holds 1 records that .* does not: keep them with --add, or drop them"):
        store.pack("quick", out)
    assert path.read_bytes() == before
    assert store.pack("quick", out, add=True)[1] == 3
    assert RecordStore(out).read(RECORDS[1].key) == changed and RecordStore(out).read(RECORDS[0].key) == RECORDS[0]
    assert store.pack("quick", out, replace=True)[1] == 2 and RecordStore(out).all() == store.all()


def test_pack_refuses_damage(tmp_path: Path) -> None:
    store, out = RecordStore(tmp_path / "runs"), tmp_path / "packed"
    with pytest.raises(BenchmarkError, match="no records of suite 'quick'"):
        store.pack("quick", out)
    place = store.write(RECORDS[0])
    store.write(RECORDS[1])
    path, _ = store.pack("quick", out)
    place.write_text("{", encoding="utf-8")
    with pytest.raises(BenchmarkError, match=r"is not a whole record .* before its records are packed"):
        RecordStore(tmp_path / "runs").pack("quick", out, replace=True)
    assert place.read_text(encoding="utf-8") == "{"
    place.unlink()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BenchmarkError, match="restore it, or overwrite it with --replace"):
        RecordStore(tmp_path / "runs").pack("quick", out, add=True)


def test_the_command(tmp_path: Path) -> None:
    RecordStore(tmp_path / "runs").write(RECORDS[0])
    where = ("--results", tmp_path / "runs", "--out", tmp_path)
    answer = command("pack", "quick", *where)
    assert answer.status == 0 and f"quick{SUFFIX}: 1 records" in answer.out
    assert command("pack", "quick", *where, "--add", "--replace").status == 2
    assert "no records of suite 'fast'" in command("pack", "fast", *where).error
    shown = command("leaderboard", "--results", tmp_path, "--format", "csv")
    assert shown.status == 0 and "lip" in shown.out, "a compact file in a folder of records is on its leaderboard"


def test_the_reference_records_are_whole_and_in_the_form_that_pack_gives() -> None:
    store = RecordStore(REFERENCE, older=True)
    assert len(store.all()) > 500 and store.notes == []
    assert not [path for path in REFERENCE.iterdir() if path.is_dir()], "single files are for results/runs"
    for path in REFERENCE.glob(f"*{SUFFIX}"):
        keys = [json.loads(line)["key"] for line in lines_of(path)]
        assert keys and keys == sorted(keys)
        assert path.read_bytes()[3:8] == bytes(5)
