"""Fetching files: to a temporary name, verified on arrival, moved into place; archives unpacked safely."""

from __future__ import annotations

import hashlib
import http.client
import lzma
import tarfile
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from datamodules.common.errors import BenchmarkError, DatasetCorruptError
from datamodules.common.files import Algorithm, checksum
from datamodules.common.kept_files import new_file

TIMEOUT_SECONDS = 60.0
CHUNK_BYTES = 1 << 20

DownloadProgress = Callable[[int, int | None], None]


def fetch(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    md5: str | None = None,
    advice: str,
    progress: DownloadProgress | None = None,
) -> Path:
    """Fetch one file and verify it; a file that is already there and whole is kept.

    Args:
        url: The address: https, or file for a local mirror.
        target: Where the file goes; its folder is made.
        sha256: The expected SHA-256, hexadecimal. Exactly one of `sha256` and `md5` is given.
        md5: The expected MD5, hexadecimal, where the publisher gives no better one.
        advice: What to put where by hand, said when the address cannot be reached.
        progress: Called after each chunk with the bytes so far and the total, None if unknown.

    Returns:
        `target`.

    Raises:
        BenchmarkError: If the address cannot be reached, with `advice`.
        DatasetCorruptError: If what arrived is not the expected file; it is deleted.
        ValueError: If not exactly one checksum is given.
    """
    if (sha256 is None) == (md5 is None):
        raise ValueError("give exactly one of sha256 and md5")
    algorithm: Algorithm = "md5" if sha256 is None else "sha256"
    expected = md5 if sha256 is None else sha256
    if target.is_file() and checksum(target, algorithm) == expected:
        return target
    digest = hashlib.new(algorithm)
    with new_file(target) as stream:
        for chunk in _chunks(url, advice, progress):
            digest.update(chunk)
            stream.write(chunk)
        if digest.hexdigest() != expected:
            raise DatasetCorruptError(
                f"{url} did not give the expected file ({algorithm} {digest.hexdigest()}, expected "
                f"{expected}); it was deleted; try again, or by hand: {advice}"
            )
    return target


def _chunks(url: str, advice: str, progress: DownloadProgress | None) -> Iterator[bytes]:
    """The content of an address, piece by piece; failures of the network become one clear line."""
    try:
        response = urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _unreachable(url, error, advice) from error
    with response:
        length = response.headers.get("Content-Length")
        done, total = 0, int(length) if length else None
        while True:
            try:
                chunk: bytes = response.read(CHUNK_BYTES)
            except (OSError, http.client.HTTPException) as error:
                raise _unreachable(url, error, advice) from error
            if not chunk:
                return
            yield chunk
            done += len(chunk)
            if progress is not None:
                progress(done, total)


def _unreachable(url: str, error: Exception, advice: str) -> BenchmarkError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return BenchmarkError(f"{url} could not be reached ({reason}); by hand: {advice}")


def extract(archive: Path, target: Path) -> None:
    """Unpack a tar (plain or compressed) or zip archive below `target`; nothing is written outside it.

    Raises:
        DatasetCorruptError: If the archive is damaged, of another kind, or holds a path that leads outside.
    """
    target.mkdir(parents=True, exist_ok=True)
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as packed:
                _refuse_outside(archive, packed.namelist())
                packed.extractall(target)
        else:
            with tarfile.open(archive) as tar:
                tar.extractall(target, filter="data")
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise DatasetCorruptError(f"{archive} cannot be unpacked ({reason}); delete it and fetch it again") from error


def _refuse_outside(archive: Path, names: list[str]) -> None:
    for name in names:
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts:
            raise DatasetCorruptError(f"{archive} holds {name!r}, which leads out of its folder; delete it")
