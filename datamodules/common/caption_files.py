"""Files that list images with their captions, in the forms that people have them, as entries: image, split, captions.

| form | recognised by |
|---|---|
| table: `.csv`, `.tsv`, `.txt` | a head with columns for the image, the caption, and perhaps the split |
| token file of Flickr8k and Flickr30K | lines `name.jpg#i<TAB>caption` |
| JSON lines: `.jsonl`, `.ndjson` | an object a line with the same keys as a table's columns |
| JSON list | objects with the same keys |
| Karpathy's JSON | `images` with `sentences` |
| COCO captions | `images` and `annotations` |
| JSON object | a caption or a list of captions by image |

Tables are parted by comma, tab, semicolon or bar, whichever finds the columns in their head. A caption's field may hold
a JSON list of several. White space in captions, line ends included, becomes one space.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from datamodules.common.documents import LARGE, DocumentError, parse_json, read_bytes, read_text
from datamodules.common.errors import DatasetCorruptError
from datamodules.common.request import composed

Entry = tuple[str, str, tuple[str, ...]]
"""Of each image: its path below the image folder, its split ("" where none is said), its captions."""
IMAGE_KEYS = (
    *("image", "filename", "file_name", "image_name", "filepath", "file_path", "image_path", "path"),
    *("img", "img_path", "image_file", "file"),
)
CAPTION_KEYS = ("caption", "captions", "sentence", "sentences", "raw", "comment", "text", "texts", "title")
SPLIT_KEYS = ("split", "part", "subset")
SPLITS = {
    **{"train": "train", "training": "train", "restval": "train"},
    **{"val": "val", "valid": "val", "validation": "val", "dev": "val", "test": "test", "testing": "test"},
}
"""By what files call it the split. `restval` are COCO's images that Karpathy's split adds to train."""
_TOKEN = re.compile(r"(.+?)#\d+\t(.*)")
_NUMBERED = re.compile(r"\s*\d+\s+(.*)")
"""A row of the Flickr30K table that is widely copied lacks the bar between number and caption."""


def read_captions(path: Path) -> list[Entry]:
    """The images of a caption file, each once, in its order.

    Raises:
        DatasetCorruptError: If it is of no known form; the message gives the line where there is one.
    """
    try:
        rows = _rows(path)
        return _entries(rows, path)
    except DocumentError as error:
        raise DatasetCorruptError(str(error)) from error


def one_caption(text: str) -> str:
    """A caption on one line, each accented letter as one sign."""
    return " ".join(composed(text).split())


Row = tuple[str, Mapping[str, Any]]
"""Where it stands, for messages, and what it says."""


def _rows(path: Path) -> Iterable[Row]:
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".ndjson"):
        lines = read_text(path, LARGE).split("\n")
        return [(f"line {n}", parse_json(line, f"{path}, line {n}")) for n, line in enumerate(lines, 1) if line.strip()]
    if suffix == ".json":
        return _json_rows(parse_json(read_bytes(path, LARGE), str(path), LARGE), path)
    text = read_text(path, LARGE)
    first = text.partition("\n")[0]
    return _token_rows(text, path) if _TOKEN.fullmatch(first.rstrip("\r")) else _table_rows(text, path)


def _json_rows(content: Any, path: Path) -> Iterable[Row]:
    if isinstance(content, dict) and isinstance(content.get("annotations"), list):
        return _coco_rows(content, path)
    if isinstance(content, dict) and isinstance(content.get("images"), list):
        return [(f"image {n}", _karpathy_row(row)) for n, row in enumerate(content["images"])]
    if isinstance(content, dict):
        return [(repr(name), {"image": name, "captions": texts}) for name, texts in content.items()]
    if isinstance(content, list):
        return [(f"entry {n}", row) for n, row in enumerate(content)]
    raise DatasetCorruptError(f"{path} lists no images: it is {content!r:.40}")


def _karpathy_row(row: Any) -> Any:
    """An image of Karpathy's files; COCO's stand in the folder that `filepath` names."""
    if isinstance(row, dict) and {"filepath", "filename"} <= set(row):
        rest = {key: value for key, value in row.items() if key not in ("filepath", "filename")}
        return {"image": f"{row['filepath']}/{row['filename']}", **rest}
    return row


def _coco_rows(content: Mapping[str, Any], path: Path) -> Iterator[Row]:
    try:
        name_of = {image["id"]: image["file_name"] for image in content["images"]}
        for number, annotation in enumerate(content["annotations"]):
            yield (
                f"annotation {number}",
                {"image": name_of[annotation["image_id"]], "caption": annotation["caption"]},
            )
    except (KeyError, TypeError) as error:
        raise DatasetCorruptError(
            f"{path} is no file of COCO captions: {error} is missing; take the file captions_*.json, not instances_*"
        ) from error


def _token_rows(text: str, path: Path) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        match = _TOKEN.fullmatch(line.rstrip("\r"))
        if match is None:
            raise DatasetCorruptError(f"{path}, line {number} is not of the form name.jpg#i<TAB>caption")
        yield f"line {number}", {"image": match[1], "caption": match[2]}


def _table_rows(text: str, path: Path) -> Iterator[Row]:
    head = text.partition("\n")[0]
    for mark in (",", "\t", "|", ";"):
        columns = [name.strip().strip('"').lower() for name in head.split(mark)]
        image, caption = _first(columns, IMAGE_KEYS), _first(columns, CAPTION_KEYS)
        if image and caption:
            break
    else:
        raise DatasetCorruptError(
            f"{path}, line 1: no column for images ({', '.join(IMAGE_KEYS[:4])}, ...) and for captions "
            f"({', '.join(CAPTION_KEYS[:4])}, ...) in the head {head[:60]!r}: name them so"
        )
    lines = io.StringIO(text, newline="")
    if mark == "|":  # captions there hold quotation marks of their own
        reader = csv.reader(lines, delimiter=mark, quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(lines, delimiter=mark)
    next(reader)
    try:
        for fields in reader:
            if not any(field.strip() for field in fields):
                continue
            row = dict(zip(columns, fields, strict=False))
            if caption not in row and (numbered := _NUMBERED.fullmatch(fields[-1])):
                row[caption] = numbered[1]
            yield f"line {reader.line_num}", row
    except csv.Error as error:
        raise DatasetCorruptError(f"{path}, line {reader.line_num}: {error}") from error


def _entries(rows: Iterable[Row], path: Path) -> list[Entry]:
    captions: dict[str, list[str]] = {}
    splits: dict[str, str] = {}
    for place, row in rows:
        if not isinstance(row, Mapping):
            raise DatasetCorruptError(f"{path}, {place} is no object with an image and a caption: {row!r:.40}")
        image, texts = _image_of(row), _captions_of(row)
        if not image or not texts:
            lacking = "image" if not image else "caption"
            raise DatasetCorruptError(
                f"{path}, {place} has no {lacking}; it has {', '.join(map(str, row)) or 'nothing'}"
            )
        split = str(row.get(_first(row, SPLIT_KEYS) or "") or "").strip().lower()
        if split and split not in SPLITS:
            raise DatasetCorruptError(f"{path}, {place}: the split {split!r} is none of {', '.join(SPLITS)}")
        if splits.setdefault(image, SPLITS.get(split, "")) != SPLITS.get(split, ""):
            raise DatasetCorruptError(f"{path}, {place}: the image {image} is in two splits")
        captions.setdefault(image, []).extend(texts)
    if not captions:
        raise DatasetCorruptError(f"{path} lists no image")
    if len(set(splits.values())) > 1 and "" in splits.values():
        odd = next(image for image, split in splits.items() if not split)
        raise DatasetCorruptError(f"{path}: the image {odd} is in no split, others are: give each image one")
    return [(image, splits[image], tuple(dict.fromkeys(texts))) for image, texts in captions.items()]


def _first(columns: Iterable[str], known: Iterable[str]) -> str:
    there = set(columns)
    return next((name for name in known if name in there), "")


def _image_of(row: Mapping[str, Any]) -> str:
    value = row.get(_first(row, IMAGE_KEYS))
    return str(value).strip() if isinstance(value, str) else ""


def _captions_of(row: Mapping[str, Any]) -> list[str]:
    value = row.get(_first(row, CAPTION_KEYS))
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = parse_json(value, "captions")
        except DocumentError:
            value = [value]  # a caption that begins with a bracket
    texts = value if isinstance(value, list) else [value]
    raw = [text.get("raw") if isinstance(text, Mapping) else text for text in texts]
    return [caption for text in raw if isinstance(text, str) and (caption := one_caption(text))]
