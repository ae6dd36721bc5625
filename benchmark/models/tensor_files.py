"""Files of tensors from outside, checked before anything of them is believed: safetensors and zip archives.

A file says how large its parts are; a damaged or hostile one says more than is there, or less than it unpacks to. The
checks here read the beginning and the directory of a file alone, so they take no time whatever it claims.
"""

from __future__ import annotations

import math
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datamodules.common.documents import DocumentError, Limits, parse_json, regular_file
from datamodules.common.errors import BenchmarkError
from datamodules.common.text import one_line

HEADER = Limits(16 * 1024 * 1024, depth=8, items=1_000_000)
"""Of a safetensors header: a hundred bytes a tensor."""
MOST_ENTRIES = 20_000
"""Of an archive: a large CLIP has some hundred tensors."""
_BYTES = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2}
_BYTES |= {"I32": 4, "U32": 4, "F32": 4, "F64": 8, "I64": 8, "U64": 8}
_LFS = b"version https://git-lfs"


class WeightsError(BenchmarkError):
    """A weights file that is missing, unreadable or does not fit the architecture."""


@dataclass(frozen=True)
class Header:
    """What a safetensors file says of itself.

    Attributes:
        shapes: Of each tensor, by name.
        metadata: Its texts by name.
    """

    shapes: Mapping[str, tuple[int, ...]]
    metadata: Mapping[str, str]


def file_start(path: Path, count: int = 64) -> tuple[int, bytes]:
    """The size of a weights file and its first bytes.

    Raises:
        WeightsError: If it is no file, is empty, or is the pointer to a large file that was not fetched.
    """
    try:
        size = regular_file(path)
        with path.open("rb") as stream:
            start = stream.read(count)
    except DocumentError as error:
        raise WeightsError(str(error)) from error
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error
    if not start:
        raise WeightsError(f"{path} is empty: copy it again")
    if start.startswith(_LFS):
        raise WeightsError(f"{path} is the pointer of a file that was not fetched: run `git lfs pull` where it is from")
    return size, start


def is_safetensors(path: Path) -> bool:
    """Whether a file is, or calls itself, safetensors."""
    size, start = file_start(path)
    return path.suffix == ".safetensors" or (start[8:9] == b"{" and struct.unpack("<Q", start[:8])[0] <= size)


def read_header(path: Path) -> Header:
    """The header of a safetensors file, each entry of which fits the file.

    Raises:
        WeightsError: If one does not.
    """
    size, start = file_start(path)
    length = struct.unpack("<Q", start[:8])[0] if len(start) >= 8 else size
    if length > min(HEADER.size_bytes, size - 8):
        raise WeightsError(f"{path} is truncated or no safetensors file: its header would have {length:,} bytes")
    with path.open("rb") as stream:
        stream.seek(8)
        content = stream.read(length)
    try:
        header = parse_json(content, "its header", HEADER)
    except DocumentError as error:
        raise WeightsError(f"{path} is damaged or no safetensors file: {error}") from error
    try:
        return _checked(header, size - 8 - length)
    except ValueError as error:
        raise WeightsError(f"{path} is damaged or no safetensors file: {one_line(str(error))}") from error


def _checked(header: Any, data_bytes: int) -> Header:
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError("its metadata are not texts")
    spans: list[tuple[int, int, str]] = []
    shapes: dict[str, tuple[int, ...]] = {}
    for name, entry in header.items():
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"the entry of {name!r} is not {{dtype, shape, data_offsets}}")
        shape, offsets = entry["shape"], entry["data_offsets"]
        if not isinstance(entry["dtype"], str) or entry["dtype"] not in _BYTES:
            raise ValueError(f"{name!r} is of an unknown type {entry['dtype']!r}")
        if not (_naturals(shape) and _naturals(offsets) and len(offsets) == 2):
            raise ValueError(f"the shape or the place of {name!r} is not made of whole numbers")
        if offsets[1] - offsets[0] != math.prod(shape) * _BYTES[entry["dtype"]]:
            raise ValueError(f"the place of {name!r} does not fit its shape")
        spans.append((offsets[0], offsets[1], name))
        shapes[name] = tuple(shape)
    end = 0
    for first, last, name in sorted(spans):
        if first != end:
            raise ValueError(f"{name!r} {'overlaps the tensor before it' if first < end else 'leaves a gap before it'}")
        end = last
    if end != data_bytes:
        raise ValueError(f"its tensors take {end:,} bytes, but it holds {data_bytes:,}: it is truncated or too long")
    return Header(shapes, metadata)


def _naturals(value: Any) -> bool:
    return isinstance(value, list) and all(type(number) is int and number >= 0 for number in value)


def open_archive(path: Path) -> zipfile.ZipFile:
    """A zip archive whose parts are no larger together than the file: what PyTorch writes is not compressed.

    Raises:
        WeightsError: If it is damaged, has too many parts, or unpacks to more than it is.
    """
    size, _ = file_start(path)
    count = _entries(path, size)
    if count > MOST_ENTRIES:
        raise WeightsError(f"{path} has {count:,} parts, more than any checkpoint: it is no checkpoint")
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise damaged(path, error) from error
    parts = archive.infolist()
    names = [part.filename for part in parts]
    if len(set(names)) < len(names):
        raise WeightsError(f"{path} has two parts of one name: it is damaged")
    packed = [part for part in parts if part.compress_type != zipfile.ZIP_STORED and not _is_code(part.filename)]
    if packed or sum(part.file_size for part in parts if not _is_code(part.filename)) > size:
        raise WeightsError(
            f"{path} unpacks to more than it is: PyTorch does not compress tensors; save the state dict with torch.save"
        )
    return archive


def _is_code(name: str) -> bool:
    """Whether a part of an archive is TorchScript's code, which is never read here."""
    return "/code/" in name


def _entries(path: Path, size: int) -> int:
    """How many parts an archive says that it has, from its end alone."""
    with path.open("rb") as stream:
        stream.seek(max(0, size - 65_600))
        tail = stream.read()
        place = tail.rfind(b"PK\x05\x06")
        if place < 0 or len(tail) < place + 22:
            raise damaged(path, ValueError("the directory at its end is missing, so it is truncated"))
        count = int(struct.unpack("<H", tail[place + 10 : place + 12])[0])
        locator = tail[max(0, place - 20) : place]
        if locator.startswith(b"PK\x06\x07"):
            stream.seek(min(size, struct.unpack("<Q", locator[8:16])[0]))
            wide = stream.read(56)
            count = int(struct.unpack("<Q", wide[32:40])[0]) if len(wide) == 56 else count
    return count


def damaged(path: Path, error: BaseException) -> WeightsError:
    """The error of a file that its reader refused, with the reader's first line."""
    lines = str(error).strip().splitlines()
    reason = one_line(lines[0])[:160].rstrip(".") if lines else type(error).__name__
    return WeightsError(f"{path} is not a checkpoint that can be read safely ({reason}): copy it again or save it anew")


def first_line(error: BaseException) -> str:
    """The first line of an error of another library, without its full stop; its class where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
