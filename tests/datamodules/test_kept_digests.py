"""Digests of code that are taken from the cache: those of the files as they are, and no others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from datamodules.common.code_closure import Code
from datamodules.common.kept_digests import remembered

START = "methods.one:f"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project of two files."""
    folder = tmp_path / "project"
    for package in ("benchmark", "methods", "datamodules"):
        (folder / package).mkdir(parents=True)
    (folder / "methods" / "one.py").write_text("from methods.two import g\n\ndef f():\n    return g()\n")
    (folder / "methods" / "two.py").write_text("def g():\n    return 1\n")
    return folder


def _digests(root: Path, cache: Path, *starts: str | Path) -> tuple[list[str], int]:
    """The digests, and how many of them were made."""
    code, made = Code(root), 0

    def counted(*arguments: object) -> set[str]:
        nonlocal made
        made += 1
        return lines(*arguments)  # type: ignore[arg-type]

    lines, code._lines = code._lines, counted  # type: ignore[assignment, method-assign]
    with remembered(code, cache):
        return [code.digest(start) for start in starts], made


def test_a_digest_is_made_once_for_the_files_as_they_are(root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = _digests(root, cache, START)
    assert first == (first[0], 1) and _digests(root, cache, START) == (first[0], 0)
    assert first[0] == [Code(root).digest(START)]
    two = root / "methods" / "two.py"
    two.write_text("def g():\n    return 2\n")
    changed = _digests(root, cache, START)
    assert changed[1] == 1 and changed[0] == [Code(root).digest(START)] != first[0]
    assert _digests(root, cache, START, root / "methods" / "two.py") == ([*changed[0], Code(root).digest(two)], 1)


def test_a_change_within_the_process_is_seen(root: Path, tmp_path: Path) -> None:
    _digests(root, tmp_path / "cache", START)
    code, two = Code(root), root / "methods" / "two.py"
    with remembered(code, tmp_path / "cache"):
        before = code.digest(START)
        two.write_text("def g():\n    return 34\n")
        os.utime(two, ns=(1, 1))
        assert code.digest(START) != before


def test_files_outside_the_project_and_sources_that_are_not_on_the_disk_are_read_each_time(
    root: Path, tmp_path: Path
) -> None:
    plugin, cache = tmp_path / "plugin.py", tmp_path / "cache"
    plugin.write_text("x = 1\n")
    assert [_digests(root, cache, plugin)[1] for _ in range(2)] == [1, 1]
    before = Code(root).digest(START)
    other = Code(root, {root / "methods" / "two.py": "def g():\n    return 5\n"})
    _digests(root, cache, START)
    with remembered(other, cache):
        assert other.digest(START) != before


def test_a_damaged_file_is_made_again(root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    (digest,), _ = _digests(root, cache, START)
    (file,) = (cache / "code").iterdir()
    content = file.read_bytes().replace(digest.encode(), b"0" * len(digest))
    file.write_bytes(content)
    assert _digests(root, cache, START) == ([digest], 1)
