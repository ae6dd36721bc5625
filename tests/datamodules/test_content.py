"""Data enter keys by content: whatever shows or hides a change, other bytes are another revision."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from layouts import plain_picture, write_flickr30k

from datamodules.common import content
from datamodules.common.content import content_digest, forget_digests
from datamodules.common.dataset import Dataset
from datamodules.common.registry import open_dataset


def folder_set(data: Path) -> Path:
    for part in ("train", "test"):
        for shade, kind in ((40, "cat"), (200, "dog")):
            plain_picture(data / "pets" / part / kind / "a.png", shade)
            plain_picture(data / "pets" / part / kind / "b.png", shade + 5)
    return data / "pets" / "test" / "cat" / "a.png"


def captioned_set(data: Path) -> Path:
    images = [(f"{n}.png", split, ["a dog", "a man"]) for n, split in enumerate(("train", "train", "test", "val"))]
    folder = write_flickr30k(data, images)
    for n in range(4):
        plain_picture(folder / "flickr30k-images" / f"{n}.png", 50 * n)
    return folder / "flickr30k-images" / "2.png"


SETS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "folder": (folder_set, "folder:pets"),
    "captioned": (captioned_set, "flickr30k"),
}


def in_place(path: Path, pixels: bytes) -> None:
    """Overwritten, with the times that the file had."""
    status = path.stat()
    with path.open("r+b") as stream:
        stream.write(pixels)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def by_copy(path: Path, pixels: bytes) -> None:
    """Replaced by a file with the times that the old one had, as `cp -p` and `rsync -t` leave it."""
    status = path.stat()
    other = path.with_name("other")
    other.write_bytes(pixels)
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)


def same_size(path: Path) -> bytes:
    """Another image in as many bytes."""
    twin = path.with_name("twin.png")
    plain_picture(twin, 123)
    found = twin.read_bytes()
    twin.unlink()
    size = path.stat().st_size
    assert len(found) <= size + 64
    return found + bytes(max(0, size - len(found)))


@pytest.mark.parametrize("settled", [False, True])
@pytest.mark.parametrize("change", [in_place, by_copy])
@pytest.mark.parametrize("kind", SETS)
def test_other_pixels_are_another_revision_and_are_decoded_anew(
    kind: str, change: Callable[[Path, bytes], None], settled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "RECENT_SECONDS", -60.0 if settled else 60.0)  # remembered at once, or never
    make, name = SETS[kind]
    image = make(tmp_path)

    def opened() -> Dataset:
        return open_dataset(name, tmp_path, tmp_path / "cache", 16)

    def red() -> int:
        return int(opened().split("test").images.read([0])[0, 0, 0, 0])

    revision, before = opened().revision, red()
    assert opened().revision == revision
    pixels = same_size(image)
    image.write_bytes(image.read_bytes().ljust(len(pixels), b"\0"))
    revision = opened().revision
    change(image, pixels)
    assert opened().revision != revision
    assert red() == 123 != before


def test_unchanged_files_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "RECENT_SECONDS", -60.0)
    for n in range(5):
        (tmp_path / f"{n}").write_bytes(bytes([n]) * 1000)
    names, read = [str(n) for n in range(5)], []
    original = content.hashlib.file_digest
    monkeypatch.setattr(
        content.hashlib, "file_digest", lambda stream, kind: read.append(stream.name) or original(stream, kind)
    )
    first = content_digest(tmp_path, names, tmp_path / "cache")
    assert len(read) == 5
    assert content_digest(tmp_path, names[::-1], tmp_path / "cache") == first and len(read) == 5
    (tmp_path / "2").write_bytes(b"x" * 1000)
    assert content_digest(tmp_path, names, tmp_path / "cache") != first
    assert read[5:] == [str(tmp_path / "2")]
    forget_digests(tmp_path / "cache")
    (tmp_path / "2").write_bytes(bytes([2]) * 1000)
    assert content_digest(tmp_path, names, tmp_path / "cache") == first and len(read) == 11


def test_a_file_of_this_second_is_not_believed_next_time(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")
    content_digest(tmp_path, ["a"], tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
    old = time.time() - 3600
    os.utime(tmp_path / "a", (old, old))  # but it was changed just now, and the inode says so
    content_digest(tmp_path, ["a"], tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_damaged_memory_and_missing_files_are_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "RECENT_SECONDS", -60.0)
    (tmp_path / "a").write_bytes(b"one")
    first = content_digest(tmp_path, ["a", "gone"], tmp_path / "cache")
    (kept,) = (tmp_path / "cache" / "digests").glob("*.json")
    kept.write_bytes(b"{}" + kept.read_bytes())
    assert content_digest(tmp_path, ["a", "gone"], tmp_path / "cache") == first
    assert content_digest(tmp_path, ["a"], tmp_path / "cache") != first
