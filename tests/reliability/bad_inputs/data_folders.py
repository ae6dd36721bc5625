"""Data: folders of one's own images, and the annotation files of data sets."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.layouts import plain_picture, write_flickr30k
from tests.reliability.bad_inputs.asking import Arguments, Bad, run_text

SUITE = "title: x\nmodels: [MODEL]\nseeds: [0]\nmethods: [original]\ntasks: [{dataset: DATA, requests: [REQUEST]}]\n"
Change = Callable[[Path], object]


def _pets(folder: Path) -> Path:
    """Two classes with two train and two test images each."""
    root = folder / "data" / "pets"
    for part in ("train", "test"):
        for number, kind in enumerate(("cat", "dog")):
            for index in range(2):
                plain_picture(root / part / kind / f"{index}.jpg", 60 * number + 20 * index)
    return root


def _folder_case(folder: Path, change: Change, request: str, name: str = "pets") -> Arguments:
    change(_pets(folder))
    text = SUITE.replace("DATA", f"'folder:{name}'").replace("REQUEST", request)
    return run_text(folder, text, "--data-dir", folder / "data")


def _rename(old: str, new: str) -> Change:
    def change(root: Path) -> None:
        for part in ("train", "test"):
            (root / part / old).rename(root / part / new)

    return change


def _remove(path: str) -> Change:
    def change(root: Path) -> None:
        target = root / path
        for file in target.rglob("*") if target.is_dir() else []:
            file.unlink() if file.is_file() else None
        for each in sorted(target.rglob("*"), reverse=True) if target.is_dir() else []:
            each.rmdir()
        target.rmdir() if target.is_dir() else target.unlink()

    return change


def _templates(content: str | bytes) -> Change:
    return lambda root: (root / "templates.txt").write_bytes(content.encode() if isinstance(content, str) else content)


def _image(content: bytes) -> Change:
    return lambda root: (root / "train" / "cat" / "0.jpg").write_bytes(content)


FOLDERS: dict[str, Change] = {
    "no train": _remove("train"),
    "no test": _remove("test"),
    "a class in train alone": _remove("test/dog"),
    "an empty class": lambda root: [_remove(f"train/dog/{index}.jpg")(root) for index in range(2)],
    "one class": lambda root: [_remove(f"{part}/dog")(root) for part in ("train", "test")],
    "one name twice": lambda root: [
        plain_picture(root / part / kind / "0.jpg", 5) for part in ("train", "test") for kind in ("a_b", "a b")
    ],
    "an escape character in a class": _rename("dog", "do\x1b[31mg"),
    "a line break in a class": _rename("dog", "do\ng"),
    "a direction sign in a class": _rename("dog", "\u202edog"),
    "a class that is no UTF-8": _rename("dog", os.fsdecode(b"d\xffg")),
    "templates: no place": _templates("a photo\n"),
    "templates: two places": _templates("{} and {}\n"),
    "templates: a name for the place": _templates("a photo of a {c}.\n"),
    "templates: two kinds of places": _templates("a {type} of {}.\n"),
    "templates: place 1": _templates("a photo of a {1}.\n"),
    "templates: an open brace": _templates("a photo { of {}.\n"),
    "templates: a closing brace": _templates("a photo of {} }.\n"),
    "templates: an attribute": _templates("a photo of {0.__class__}.\n"),
    "templates: a conversion": _templates("a photo of {!r}.\n"),
    "templates: not UTF-8": _templates(b"caf\xe9 {}\n"),
    "templates: UTF-16": _templates("a photo of a {}.\n".encode("utf-16")),
    "templates: an escape character": _templates("a \x1b[31m photo of a {}.\n"),
    "templates: a megabyte": _templates("a photo of a {}.\n" * 60_000),
    "templates: a folder": lambda root: (root / "templates.txt").mkdir(),
    "an empty image": _image(b""),
    "a text for an image": _image(b"no image"),
    "half an image": lambda root: _image((root / "train/cat/0.jpg").read_bytes()[:200])(root),
    "an image of 60,000 pixels a side": lambda root: _image(_large_png())(root),
    "an image that is a folder": lambda root: (root / "train/cat/2.jpg").mkdir(),
    "an image that is a pipe": lambda root: os.mkfifo(root / "train/cat/2.jpg"),
    "an image that is a device": lambda root: (root / "train/cat/2.jpg").symlink_to("/dev/zero"),
    "an image that is a dead link": lambda root: (root / "train/cat/2.jpg").symlink_to("nowhere"),
}
REQUESTS = ("{classes: [bird]}", "{classes: [cat, dog]}", "{concept: cat}", "{classes: [Cat]}")
NAMES = ("", "nowhere", "..", "../data/pets", "/tmp", "pets/../..", ".", "pe\\0ts", "x" * 300)


def _large_png() -> bytes:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


# -- captions ------------------------------------------------------------------------------------------------


def _karpathy(change: Callable[[Any], Any]) -> Change:
    def rewrite(root: Path) -> None:
        file = root / "dataset_flickr30k.json"
        content = json.loads(file.read_text())
        changed = change(content)
        file.write_bytes(changed if isinstance(changed, bytes) else json.dumps(changed).encode())

    return rewrite


def _first(**changes: Any) -> Change:
    def change(content: Any) -> Any:
        content["images"][0].update(changes)
        return content

    return _karpathy(change)


CAPTIONS: dict[str, Change] = {
    "empty": _karpathy(lambda _: b""),
    "no JSON": _karpathy(lambda _: b"{'images': []}"),
    "a list": _karpathy(lambda _: []),
    "no images": _karpathy(lambda _: {"images": []}),
    "images of numbers": _karpathy(lambda _: {"images": [1]}),
    "images as text": _karpathy(lambda _: {"images": "x"}),
    "a key twice": _karpathy(lambda content: b'{"images": [], "images": []}'),
    "NaN": _karpathy(lambda _: b'{"images": NaN}'),
    "a huge number": _karpathy(lambda _: b'{"images": ' + b"9" * 5000 + b"}"),
    "deep lists": _karpathy(lambda _: b'{"images": ' + b"[" * 100_000 + b"}"),
    "not UTF-8": _karpathy(lambda _: b'{"images": "\xe9"}'),
    "UTF-16": _karpathy(lambda content: json.dumps(content).encode("utf-16")),
    "half a surrogate pair": _first(sentences=[{"raw": "\ud800"}]),
    "an unknown split": _first(split="dev"),
    "a split that is a number": _first(split=1),
    "no captions": _first(sentences=[]),
    "captions as text": _first(sentences="a dog"),
    "an image above the folder": _first(filename="../../../../etc/passwd"),
    "an absolute image": _first(filename="/etc/passwd"),
    "an image without a name": _first(filename=""),
    "a null character in a name": _first(filename="a\0b.jpg"),
    "an escape character in a name": _first(filename="a\x1b[31m.jpg"),
    "a name of 5,000 signs": _first(filename="x" * 5000),
    "an image that is not there": _first(filename="nowhere.jpg"),
    "a folder for the file": lambda root: [(root / KARPATHY).unlink(), (root / KARPATHY).mkdir()],
    "no file": lambda root: (root / KARPATHY).unlink(),
    "a token file of other lines": lambda root: [
        (root / KARPATHY).unlink(),
        (root / "results_20130124.token").write_text("a b c\n"),
    ],
    "a token file that is not UTF-8": lambda root: [
        (root / KARPATHY).unlink(),
        (root / "results_20130124.token").write_bytes(b"a.jpg#0\t\xe9\n"),
    ],
}
KARPATHY = "dataset_flickr30k.json"


def _captions_case(folder: Path, change: Change) -> Arguments:
    images = []
    for index in range(12):
        split = "train" if index < 8 else "val" if index < 10 else "test"
        images.append((f"{index}.jpg", split, ["a dog ." if index % 2 else "a cat ."] * 5))
        plain_picture(folder / "data" / "flickr30k" / "flickr30k-images" / f"{index}.jpg", 20 * index)
    write_flickr30k(folder / "data", images)
    change(folder / "data" / "flickr30k")
    text = SUITE.replace("DATA", "flickr30k").replace("REQUEST", "{concept: dog}")
    return run_text(folder, text, "--data-dir", folder / "data")


def bad_inputs() -> Iterator[Bad]:
    for name, change in FOLDERS.items():
        yield Bad(f"folder: {name}", lambda f, change=change: _folder_case(f, change, "{classes: [cat]}"))
    for request in REQUESTS:
        yield Bad(f"folder: {request}", lambda f, request=request: _folder_case(f, lambda _: None, request))
    for name in NAMES:
        short = name[:20]
        yield Bad(f"folder named {short!r}", lambda f, n=name: _folder_case(f, lambda _: None, "{classes: [cat]}", n))
    for name, change in CAPTIONS.items():
        yield Bad(f"captions: {name}", lambda f, change=change: _captions_case(f, change))
    for name in ("cifar100", "flickr30k", "stanford_cars", "tiny_imagenet"):
        yield Bad(f"{name} without a folder", lambda f, n=name: _missing(f, n))
        yield Bad(f"{name} in an empty folder", lambda f, n=name: _missing(f, n, "--data-dir", f))


def _missing(folder: Path, name: str, *options: object) -> Arguments:
    return run_text(folder, SUITE.replace("DATA", name).replace("REQUEST", "{classes: [apple]}"), *options)
