from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from datamodules.common.download import extract, fetch
from datamodules.common.errors import BenchmarkError, DatasetCorruptError

CONTENT = b"a tiny file\n" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def address(tmp_path: Path) -> str:
    source = tmp_path / "there" / "file.bin"
    source.parent.mkdir()
    source.write_bytes(CONTENT)
    return source.as_uri()


def test_fetch_verifies_and_moves_into_place(tmp_path: Path, address: str) -> None:
    seen: list[tuple[int, int | None]] = []
    target = tmp_path / "here" / "file.bin"
    fetched = fetch(address, target, sha256=SHA256, advice="-", progress=lambda done, all_: seen.append((done, all_)))
    assert fetched == target and target.read_bytes() == CONTENT
    assert seen == [(len(CONTENT), len(CONTENT))]
    assert [p.name for p in target.parent.iterdir()] == ["file.bin"]


def test_fetch_keeps_a_whole_file_without_asking_the_network(tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    target.write_bytes(CONTENT)
    assert fetch("file:///nowhere/file.bin", target, md5=MD5, advice="-") == target


def test_fetch_replaces_a_damaged_file(tmp_path: Path, address: str) -> None:
    target = tmp_path / "file.bin"
    target.write_bytes(CONTENT[:-1])
    fetch(address, target, md5=MD5, advice="-")
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_a_wrong_checksum_deletes_what_arrived(tmp_path: Path, address: str, algorithm: str) -> None:
    target = tmp_path / "here" / "file.bin"
    with pytest.raises(DatasetCorruptError, match=f"{algorithm} .*expected 0000.*put it there"):
        fetch(address, target, **{algorithm: "0000"}, advice="put it there")
    assert not any(target.parent.iterdir())


@pytest.mark.parametrize("url", ["file:///nowhere/at-all.bin", "http://127.0.0.1:9/x", "no address"])
def test_an_unreachable_address_is_one_line_with_advice(tmp_path: Path, url: str) -> None:
    with pytest.raises(BenchmarkError) as caught:
        fetch(url, tmp_path / "x.bin", sha256=SHA256, advice="put x.bin into the data folder")
    message = str(caught.value)
    assert url in message and "could not be reached" in message and "\n" not in message
    assert message.endswith("by hand: put x.bin into the data folder")
    assert not any(tmp_path.iterdir())


def test_exactly_one_checksum(tmp_path: Path, address: str) -> None:
    for both in ({}, {"sha256": SHA256, "md5": MD5}):
        with pytest.raises(ValueError, match="exactly one"):
            fetch(address, tmp_path / "x", **both, advice="-")


def _tar(path: Path, name: str) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(CONTENT)
        tar.addfile(member, io.BytesIO(CONTENT))
    return path


def _zip(path: Path, name: str) -> Path:
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr(name, CONTENT)
    return path


@pytest.mark.parametrize("pack", [_tar, _zip])
def test_extract(tmp_path: Path, pack: object) -> None:
    archive = pack(tmp_path / "archive", "folder/file.bin")  # type: ignore[operator]
    extract(archive, tmp_path / "out")
    assert (tmp_path / "out" / "folder" / "file.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("pack", [_tar, _zip])
def test_extract_writes_nothing_outside(tmp_path: Path, pack: object) -> None:
    archive = pack(tmp_path / "archive", "../outside.bin")  # type: ignore[operator]
    with pytest.raises(DatasetCorruptError, match="outside"):
        extract(archive, tmp_path / "out")
    assert not (tmp_path / "outside.bin").exists()


@pytest.mark.parametrize("pack", [_tar, _zip])
def test_extract_names_a_damaged_archive(tmp_path: Path, pack: object) -> None:
    archive = pack(tmp_path / "archive", "file.bin")  # type: ignore[operator]
    archive.write_bytes(archive.read_bytes()[:40])
    with pytest.raises(DatasetCorruptError, match=r"archive cannot be unpacked .*fetch it again"):
        extract(archive, tmp_path / "out")
