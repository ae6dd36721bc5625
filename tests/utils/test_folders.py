"""Where the cache lies: as named, by the environment, or below the home; and what is said where it cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
from world import command

from benchmark.cli.options import RunSelection
from benchmark.utils.folders import CACHE_VARIABLE, cache_folder, check_cache
from datamodules.common.errors import BenchmarkError


def test_the_nearest_word_says_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    assert cache_folder(None) == tmp_path / "home" / ".cache" / "clip-unlearning-benchmark"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder(None) == tmp_path / "xdg" / "clip-unlearning-benchmark"
    monkeypatch.setenv(CACHE_VARIABLE, "~/variable")
    assert cache_folder(None) == tmp_path / "home" / "variable"
    assert cache_folder("~/named") == tmp_path / "home" / "named"


def test_a_cache_that_cannot_be_made_is_one_line_that_names_the_option(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BenchmarkError) as caught:
        check_cache(tmp_path / "file" / "cache")
    message = str(caught.value)
    assert str(tmp_path / "file" / "cache") in message and "--cache-dir" in message and "\n" not in message
    check_cache(tmp_path / "new" / "cache")
    assert (tmp_path / "new" / "cache").is_dir()


def test_a_run_says_it_once_before_it_plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan keeps digests in the cache and would tell of it a second time."""
    monkeypatch.setattr(RunSelection, "plan", lambda *_, **__: pytest.fail("planned without a cache"))
    (tmp_path / "file").write_text("in the way")
    answer = command("run", "--suite", "quick", "--results", tmp_path, "--cache-dir", tmp_path / "file" / "cache")
    (line,) = answer.err.splitlines()
    assert answer.status == 2 and "--cache-dir" in line and not answer.out
