"""Options that take paths and lists: items are separated by commas where none can hold one, or given several times."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmark.models.registry import architecture_name
from datamodules.common.documents import MOST_NUMBER
from datamodules.common.errors import BenchmarkError

_OPENING, _CLOSING = "([{", ")]}"
_SETTING = re.compile(r"\s*[\w-]+\.\w+\s*=")


def file_or_folder(text: str) -> Path:
    """A path, in which `~` is the user's folder.

    Raises:
        BenchmarkError: If it is in the folder of a user who does not exist.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise BenchmarkError(f"{text!r} is in the folder of a user who is not on this machine") from error


def words(texts: Iterable[str]) -> tuple[str, ...]:
    """The items of a list, none of which can hold a comma: names, keys.

    Raises:
        BenchmarkError: If an item is empty.
    """
    return tuple(_item(text, item) for text in texts for item in text.split(","))


def paths(texts: Iterable[str]) -> tuple[Path, ...]:
    """The files of a list; a file whose name holds a comma is given by an option of its own."""
    return tuple(Path(item) for text in texts for item in ([text] if Path(text).exists() else words([text])))


def models(texts: Iterable[str]) -> tuple[str, ...]:
    """The models of a list; a file or folder whose name holds a comma is given by an option of its own."""
    return tuple(item for text in texts for item in ([text] if _is_file(text) else words([text])))


def settings(texts: Iterable[str]) -> tuple[str, ...]:
    """The hyperparameters of a list as METHOD.NAME=VALUE; commas within a value belong to it."""
    return tuple(item for text in texts for item in _settings(text))


def seeds(texts: Iterable[str]) -> tuple[int, ...]:
    """The seeds of a list: whole numbers from 0 to what 64 bits hold.

    Raises:
        BenchmarkError: If an item is anything else.
    """
    items = words(texts)
    for item in items:
        if not (item.isascii() and item.isdecimal()) or len(item) > 20 or int(item) > MOST_NUMBER:
            raise BenchmarkError(f"--seeds takes whole numbers separated by commas, such as 0,1,2; not {item[:40]!r}")
    return tuple(int(item) for item in items)


def _is_file(model: str) -> bool:
    _, colon, file = model.partition(":")
    return bool(architecture_name(model)) and Path(file if colon else model).expanduser().exists()


def _settings(text: str) -> Iterator[str]:
    """The settings between those commas of a text that stand in no bracket or quote and after which one begins."""
    depth, quote, start = 0, "", 0
    for place, sign in enumerate(text):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'" and sign in text[place + 1 :]:
            quote = sign
        elif sign in _OPENING:
            depth += 1
        elif sign in _CLOSING:
            depth = max(0, depth - 1)
        elif sign == "," and not depth and (_SETTING.match(text, place + 1) or not text[place + 1 :].strip()):
            yield _item(text, text[start:place])
            start = place + 1
    yield _item(text, text[start:])


def _item(text: str, item: str) -> str:
    if not item.strip():
        raise BenchmarkError(f"the list {text!r} has an empty item: is a shell variable unset?")
    return item.strip()
