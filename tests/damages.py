"""What befalls a file: damages by kind, each repeatable from a seed."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

Damage = Callable[[Path, Path, random.Random], None]
"""Of a file, given another whole file of the same kind, which it may use."""


def _flip(path: Path, _: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def _flip_near_the_end(path: Path, _: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[-1 - chance.randrange(min(96, len(content)))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def _truncate(path: Path, _: Path, chance: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: chance.randrange(1, len(content))])


def _cut_a_few_bytes(path: Path, _: Path, chance: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: -chance.randrange(1, 9)])


def _zero_the_tail(path: Path, _: Path, chance: random.Random) -> None:
    """What a crash leaves of a file whose size was written and whose last blocks were not."""
    content = path.read_bytes()
    start = chance.randrange(len(content) // 4, len(content) - 1)
    path.write_bytes(content[:start] + bytes(len(content) - start))


def _zero_a_block(path: Path, _: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    start = chance.randrange(len(content))
    end = min(len(content), start + chance.randrange(8, 512))
    if content[start:end] == bytes(end - start):  # zeros already: put something there
        content[start:end] = b"\xff" * (end - start)
    else:
        content[start:end] = bytes(end - start)
    path.write_bytes(content)


def _append(path: Path, _: Path, chance: random.Random) -> None:
    path.write_bytes(path.read_bytes() + chance.randbytes(chance.randrange(1, 200)))


def _double(path: Path, _: Path, chance: random.Random) -> None:
    path.write_bytes(path.read_bytes() * 2)


def _garbage(path: Path, _: Path, chance: random.Random) -> None:
    path.write_bytes(chance.randbytes(len(path.read_bytes())))


def _empty(path: Path, _: Path, chance: random.Random) -> None:
    path.write_bytes(b"")


def _swap(path: Path, other: Path, _: random.Random) -> None:
    """The whole file of another key under this one's name."""
    path.write_bytes(other.read_bytes())


def _swap_the_tail(path: Path, other: Path, chance: random.Random) -> None:
    """The head of one file and the tail of another, as two writers at one temporary name leave it."""
    mine, theirs = path.read_bytes(), other.read_bytes()
    for _ in range(20):
        cut = chance.randrange(1, min(len(mine), len(theirs)))
        if mine[:cut] + theirs[cut:] not in (mine, theirs):
            break
    path.write_bytes(mine[:cut] + theirs[cut:])


def _folder(path: Path, _: Path, chance: random.Random) -> None:
    path.unlink()
    path.mkdir()
    if chance.random() < 0.5:
        (path / "thesis.tex").write_text("ten years of work")


def _unreadable(path: Path, _: Path, chance: random.Random) -> None:
    """Reading gives an input/output error, as from a dying disk: nobody can read another's memory at address 0."""
    path.unlink()
    path.symlink_to("/proc/self/mem")


def _loop(path: Path, _: Path, chance: random.Random) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _dangling(path: Path, _: Path, chance: random.Random) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def _pipe(path: Path, _: Path, chance: random.Random) -> None:
    """A pipe that nobody writes to: opening it waits for ever."""
    path.unlink()
    os.mkfifo(path)


DAMAGES: dict[str, Damage] = {
    "a bit flipped": _flip,
    "a bit flipped near the end": _flip_near_the_end,
    "truncated": _truncate,
    "a few bytes cut": _cut_a_few_bytes,
    "a zeroed tail": _zero_the_tail,
    "a zeroed block": _zero_a_block,
    "bytes appended": _append,
    "written twice": _double,
    "garbage": _garbage,
    "empty": _empty,
    "the file of another key": _swap,
    "the tail of another file": _swap_the_tail,
    "a folder in its place": _folder,
    "unreadable": _unreadable,
    "a loop of links": _loop,
    "a link to nowhere": _dangling,
    "a pipe in its place": _pipe,
}
DRAWN = tuple(name for name in DAMAGES if name not in ("empty", "written twice", "the file of another key"))[:8]
"""Damages that differ from seed to seed."""


def clear(path: Path) -> None:
    """Remove whatever a damage left."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
