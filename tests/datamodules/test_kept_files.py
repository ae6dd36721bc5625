"""Files are written whole or not at all, and sealed ones say whether they are whole."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from datamodules.common import kept_files
from datamodules.common.cache import cached_array, cached_bytes, cached_rows, ensure
from datamodules.common.errors import BenchmarkError
from datamodules.common.kept_files import (
    BLOCK_BYTES,
    CannotWriteError,
    DiskFullError,
    is_whole,
    move_aside,
    new_file,
    read_sealed,
    remove_damaged,
    replace_file,
    replace_sealed,
    sealed_file,
    sweep,
    temporary_name,
)
from datamodules.common.locks import alone, has_locks


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, 2 * BLOCK_BYTES + 1])
def test_a_sealed_file_comes_back_and_one_bit_anywhere_is_seen(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    path = tmp_path / "new" / "file"
    replace_sealed(path, content)
    assert read_sealed(path) == content
    stored = path.read_bytes()
    for place in {0, size // 2, len(stored) - 1, len(stored) - 40}:
        damaged = bytearray(stored)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        assert not is_whole(path) and read_sealed(path) is None, place


def test_a_check_is_made_once_and_again_after_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, read = tmp_path / "file", []
    replace_sealed(path, b"content")
    seal = kept_files._seal
    monkeypatch.setattr(kept_files, "_seal", lambda *of: read.append(of) or seal(*of))
    assert is_whole(path) and is_whole(path) and len(read) == 2, "a file written just now may change in the same tick"
    os.utime(path, ns=(0, time.time_ns() - 10**10))
    assert is_whole(path) and is_whole(path) and len(read) == 3
    path.write_bytes(path.read_bytes().replace(b"content", b"contend"))
    assert not is_whole(path) and not is_whole(path) and len(read) == 5, "what is damaged is never remembered"


def test_ordinary_readers_pass_over_the_seal(tmp_path: Path) -> None:
    array = np.arange(12).reshape(3, 4)
    assert (cached_array(tmp_path / "a.npy", lambda: array) == array).all()
    assert (np.load(tmp_path / "a.npy") == array).all()
    rows = cached_rows(tmp_path / "b.npy", (3, 4), np.int64, lambda: iter(array))
    assert isinstance(rows, np.memmap) and not rows.flags.writeable and (rows == array).all()


def test_a_writer_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace_file(path, b"old")
    with pytest.raises(FileNotFoundError), new_file(path) as stream:  # an error of the caller's own stays what it is
        stream.write(b"new")
        (tmp_path / "elsewhere").read_bytes()
    with pytest.raises(ValueError, match="instead of 5"), sealed_file(path, size_bytes=5) as stream:
        stream.write(b"four")
    with pytest.raises(KeyboardInterrupt), new_file(path, size_bytes=9):
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_less_than_was_claimed_is_no_zeroed_tail(tmp_path: Path) -> None:
    with new_file(tmp_path / "file", size_bytes=1000) as stream:
        stream.write(b"short")
    assert (tmp_path / "file").read_bytes() == b"short"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("where", ["posix_fallocate", "fsync"])
def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, where: str) -> None:
    def full(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(kept_files.os, where, full, raising=False)
    with pytest.raises(DiskFullError, match="is full") as caught:
        replace_file(tmp_path / "file", b"content")
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []


def test_where_space_cannot_be_claimed_it_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "not here")

    monkeypatch.setattr(kept_files.os, "posix_fallocate", never, raising=False)
    replace_file(tmp_path / "file", b"content")
    with pytest.raises(DiskFullError), new_file(tmp_path / "huge", size_bytes=1 << 60):
        raise AssertionError("the disk is not so large")
    assert (tmp_path / "file").read_bytes() == b"content"


def test_a_folder_in_the_way_is_an_error_and_a_file_that_is_no_folder_too(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "below", tmp_path / "folder"):
        with pytest.raises(CannotWriteError, match="cannot write") as caught:
            replace_file(path, b"content")
        assert isinstance(caught.value, BenchmarkError) and not isinstance(caught.value, DiskFullError)


def test_old_temporary_files_are_swept_and_nothing_else(tmp_path: Path) -> None:
    old, new, folder = (temporary_name(tmp_path / name) for name in ("old", "new", "folder"))
    mine = [tmp_path / ".mine.tmp", tmp_path / f".mine.{'g' * 32}.tmp", tmp_path / "notes"]
    for path in (old, new, *mine):
        path.write_text("x")
    folder.mkdir()
    (folder / "part").write_text("x")
    for path in (old, folder, *mine):
        os.utime(path, (0, 0))
    assert sweep(tmp_path) == 2
    assert sorted(tmp_path.iterdir()) == sorted([new, *mine])
    os.utime(new, (0, 0))
    kept_files._swept.discard(tmp_path)
    replace_file(tmp_path / "file", b"")  # the first writing into a folder sweeps it
    assert not new.exists()


def test_names_of_temporary_files_are_those_of_no_other_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 1)
    long = tmp_path / ("é" * 100 + "x" * 40)
    names = {temporary_name(long) for _ in range(100)}
    assert len(names) == 100
    replace_file(long, b"content")  # 240 bytes: a temporary name must not be too long for the file system


def test_what_is_set_aside_is_kept_under_a_free_name(tmp_path: Path) -> None:
    for content in ("one", "two"):
        (tmp_path / "file").write_text(content)
        move_aside(tmp_path / "file")
    assert (tmp_path / "file.corrupt").read_text() == "one" and (tmp_path / "file.corrupt1").read_text() == "two"
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "thesis.tex").write_text("ten years of work")
    assert remove_damaged(tmp_path / "file") == "set aside as file.corrupt2"
    assert (tmp_path / "file.corrupt2" / "thesis.tex").read_text() == "ten years of work"


# -- the cache ---------------------------------------------------------------------------------------------


def test_a_damaged_file_is_made_again_with_one_note(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, made = tmp_path / "a.npz", []

    def make() -> bytes:
        made.append(1)
        return b"content"

    assert cached_bytes(path, make) == (b"content", False) and cached_bytes(path, make) == (b"content", True)
    path.write_bytes(b"dust")
    assert cached_bytes(path, make) == (b"content", False) and len(made) == 2
    assert [record.getMessage() for record in caplog.records] == [
        f"note: {path} is damaged or of another version: removed, it is made again"
    ]


def test_one_process_makes_a_file_and_the_others_find_it(tmp_path: Path) -> None:
    path, made = tmp_path / "file", []

    def make() -> None:
        made.append(1)
        time.sleep(0.1)
        replace_sealed(path, b"content")

    found = []
    threads = [threading.Thread(target=lambda: found.append(ensure(path, make))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1 and sorted(found) == [False, True, True, True]
    assert list(tmp_path.iterdir()) == [path], "the lock's file is gone too"


def test_who_waits_is_asked_and_may_give_up(tmp_path: Path) -> None:
    other = FileLock(tmp_path / ".file.lock")
    asked = []

    def waiting() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise KeyboardInterrupt

    waits = alone(tmp_path / "file", waiting=waiting, ask_seconds=0.01)
    with other, pytest.raises(KeyboardInterrupt), waits:
        raise AssertionError("another process holds the lock")
    assert len(asked) == 3


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM])
def test_where_there_are_no_locks_the_work_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    import fcntl

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert not has_locks(tmp_path / "lock")
    assert not ensure(tmp_path / "file", lambda: replace_sealed(tmp_path / "file", b"x")) and is_whole(
        tmp_path / "file"
    )


def test_where_no_lock_can_be_made_the_work_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with alone(tmp_path / "file" / "below"):
        assert not has_locks(tmp_path / "file" / ".below.lock")
