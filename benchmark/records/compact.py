"""Many records in one file: `SUITE.jsonl.gz`, one record a line, each the same JSON as in a record's own file.

The records that come with the project are committed and shipped in this form. The same records give the same bytes:
lines are sorted by key and the gzip header holds neither a time nor a name.

A damaged line never stops the others. Where the gzip stream itself is damaged or cut off, the lines before are read,
but only those that a digest of their own proves whole: records of schema 1 have none and rely on gzip's checksum.
"""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.records.record import FIRST_SCHEMA, OtherSchemaError, Record, RecordError, parse_record
from datamodules.common.kept_files import read_file, replace_file

SUFFIX = ".jsonl.gz"
_MOST_BYTES = 512 << 20
"""Of the unpacked text: a hundred thousand records; a file that unpacks to more is no file of records."""
_BLOCK_BYTES = 512
"""How much is unpacked at once: of a damaged stream so much is lost before the damage, about one record."""

_MOST_TOLD = 20
"""How many damaged lines are told one by one; our choice."""


@dataclass
class CompactRecords:
    """What a compact file holds.

    Attributes:
        records: By key.
        damaged: What is wrong, with the line's number, one text for each line or stretch that cannot be read.
        other_versions: Numbers of the lines whose records are of another version of the project.
    """

    records: dict[str, Record] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
    other_versions: list[int] = field(default_factory=list)


def suite_of(path: Path) -> str:
    """The suite that a compact file is named after."""
    return path.name.removesuffix(SUFFIX)


def write_compact(path: Path, records: Iterable[Record]) -> None:
    """Write a compact file, whole or not at all.

    Args:
        path: `SUITE.jsonl.gz`.
        records: Of that suite, each key once.

    Raises:
        RecordError: If a record is of another suite or comes twice.
        CannotWriteError: If the disk is full or refuses it.
    """
    lines: dict[str, str] = {}
    for record in records:
        if record.cell["suite"] != suite_of(path):
            raise RecordError(f"record {record.key[:12]} is of suite {record.cell['suite']!r}, not for {path.name}")
        if record.key in lines:
            raise RecordError(f"record {record.key[:12]} comes twice")
        lines[record.key] = json.dumps(record.to_dict(), sort_keys=True, separators=(",", ":"), allow_nan=False)
    stream = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=stream, mtime=0) as packed:
        packed.write("".join(f"{lines[key]}\n" for key in sorted(lines)).encode())
    replace_file(path, stream.getvalue())


def read_compact(path: Path, *, older: bool = False) -> CompactRecords:
    """Read a compact file; what is damaged is told and left where it is.

    Args:
        path: The file.
        older: Read records of schema 1 too.
    """
    content = CompactRecords()
    try:
        text, problem = _unpacked(read_file(path))
    except OSError as error:
        content.damaged.append(f"it cannot be read: {error.strerror or error}")
        return content
    lines = text.split(b"\n")
    last = lines.pop()  # empty after a whole last line
    if last and not problem:
        lines.append(last)
    wrong: dict[int, str] = {}
    met: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        try:
            record = parse_record(line, f"line {number}")
            if record.schema == FIRST_SCHEMA and not older:
                raise OtherSchemaError
            if record.cell["suite"] != suite_of(path):
                raise RecordError(f"line {number}: a record of suite {record.cell['suite']!r}")
            if record.key in met:
                raise RecordError(f"line {number}: the key of line {met[record.key]} once more")
        except OtherSchemaError:
            content.other_versions.append(number)
            continue
        except RecordError as error:
            wrong[number] = " ".join(str(error).split())
            continue
        met[record.key] = number
        content.records[record.key] = record
    if problem:
        content.damaged.append(f"from line {min(wrong, default=len(lines) + 1)} on: {problem}")
        unproven = [key for key, record in content.records.items() if record.schema == FIRST_SCHEMA]
        for key in unproven:
            del content.records[key]
        if unproven:
            content.damaged.append(f"{len(unproven)} lines have no digest that would prove them whole")
        return content
    content.damaged += list(wrong.values())[:_MOST_TOLD]
    if len(wrong) > _MOST_TOLD:
        content.damaged.append(f"{len(wrong) - _MOST_TOLD} further lines are no records")
    return content


def _unpacked(packed: bytes) -> tuple[bytes, str]:
    """The text of a gzip stream as far as it can be unpacked, and what ends it before its time; empty for nothing."""
    text = bytearray()
    stream = zlib.decompressobj(wbits=31)  # 31: with gzip's header and checksum
    for start in range(0, len(packed), _BLOCK_BYTES):
        block = packed[start : start + _BLOCK_BYTES]
        while block:
            try:
                text += stream.decompress(block)
            except zlib.error as error:
                return bytes(text), f"the gzip stream is damaged ({error})"
            if len(text) > _MOST_BYTES:
                return bytes(text[:_MOST_BYTES]), f"the text is larger than {_MOST_BYTES:,} bytes"
            block = stream.unused_data
            if block:
                stream = zlib.decompressobj(wbits=31)
    return bytes(text), "" if stream.eof else "the file ends too early"
