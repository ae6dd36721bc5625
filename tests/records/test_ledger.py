"""Failures are written down whole, whoever else writes or dies."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.records.failures import Ledger
from datamodules.common.errors import BenchmarkError

CELL = {"method": "lip", "seed": 0}


def fail(message: str) -> BaseException:
    try:
        try:
            raise KeyError("the cause")
        except KeyError as cause:
            raise ValueError(message) from cause
    except ValueError as error:
        return error


def test_the_whole_traceback_is_kept(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "new")
    assert ledger.failures() == {}
    written = ledger.append("k1", CELL, fail("two\nlines"))
    found = ledger.failures()
    assert found == {"k1": written}
    assert (written.error, written.message, written.cell) == ("ValueError", "two\nlines", CELL)
    assert "KeyError: 'the cause'" in written.traceback and "raise ValueError(message)" in written.traceback
    lines = (tmp_path / "new" / "failures.jsonl").read_text().splitlines()
    assert len(lines) == 1
    assert set(json.loads(lines[0])) == {"time", "key", "cell", "error", "message", "traceback", "digest"}


def test_latest_by_key_and_nothing_erased(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for key, message in (("a", "first"), ("b", "other"), ("a", "second")):
        ledger.append(key, CELL, fail(message))
    assert {key: failure.message for key, failure in ledger.failures().items()} == {
        "a": "second",
        "b": "other",
    }
    assert len(ledger.path.read_text().splitlines()) == 3


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_a_torn_last_line_is_skipped_and_not_continued(tmp_path: Path, cut: int) -> None:
    ledger = Ledger(tmp_path)
    ledger.append("a", CELL, fail("whole"))
    ledger.append("b", CELL, fail("torn"))
    ledger.path.write_bytes(ledger.path.read_bytes()[: -1 - cut])
    assert set(ledger.failures()) == {"a"}
    ledger.append("c", CELL, fail("after"))
    assert set(ledger.failures()) == {"a", "c"}


def test_values_that_json_does_not_know(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.append("a", {"path": Path("x"), "rate": float("nan")}, fail("\ud800 odd"))
    assert ledger.failures()["a"].cell["path"] == "x"


def test_several_writers_at_once(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from benchmark.records.failures import Ledger\n"
        "ledger, name = Ledger(Path(sys.argv[1])), sys.argv[2]\n"
        "for n in range(50): ledger.append(f'{name}-{n}', {}, ValueError('x' * 5000))"
    )
    root = Path(__file__).resolve().parents[2]
    writers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name], cwd=root) for name in "pqr"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert len(Ledger(tmp_path).failures()) == 150


def test_a_ledger_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BenchmarkError, match="cannot write"):
        Ledger(tmp_path / "file").append("a", CELL, fail("x"))
