"""Checkpoints: truncated, damaged and hostile ones, of each kind that is read."""

from __future__ import annotations

import json
import os
import pickle
import random
import struct
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from tests.openai_weights import write_archive
from tests.reliability.bad_inputs.asking import RAN, Arguments, Bad, run, tiny

ARCHITECTURE = "RN50"


class Attack:
    """Makes a folder when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


def _safetensors(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _entry(dtype: str = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


HEADERS: dict[str, bytes] = {
    "empty": b"",
    "three bytes": b"abc",
    "a header of nothing": _safetensors({}, b""),
    "a header beyond the file": _safetensors({}, b"", 10_000),
    "a header of 2**63 bytes": _safetensors({}, b"", 2**63),
    "a header that is no JSON": _safetensors(b"{'a'}"),
    "a header that is a list": _safetensors([1, 2]),
    "a header that is not UTF-8": _safetensors(b'{"\xe9": 1}'),
    "a header of deep lists": _safetensors(b'{"a": ' + b"[" * 100_000),
    "a header with a key twice": _safetensors(b'{"a": 1, "a": 2}'),
    "a header with NaN": _safetensors(b'{"a": NaN}'),
    "a large header": _safetensors(b'{"a": "' + b"x" * 20_000_000 + b'"}'),
    "an entry that is a number": _safetensors({"a": 3}),
    "an entry without a shape": _safetensors({"a": {"dtype": "F32", "data_offsets": [0, 8]}}, bytes(8)),
    "an unknown type": _safetensors({"a": _entry("F33")}, bytes(8)),
    "a type that is a list": _safetensors({"a": {**_entry(), "dtype": ["F32"]}}, bytes(8)),
    "a shape below zero": _safetensors({"a": _entry(shape=[-2])}, bytes(8)),
    "a shape of fractions": _safetensors({"a": _entry(shape=[2.0])}, bytes(8)),
    "a shape too large": _safetensors({"a": _entry(shape=[2**62])}, bytes(8)),
    "offsets that overlap": _safetensors({"a": _entry(), "b": _entry(offsets=[4, 12])}, bytes(12)),
    "offsets with a gap": _safetensors({"a": _entry(), "b": _entry(offsets=[12, 20])}, bytes(20)),
    "offsets in reverse": _safetensors({"a": _entry(offsets=[8, 0])}, bytes(8)),
    "offsets beyond the file": _safetensors({"a": _entry(offsets=[0, 8])}, bytes(4)),
    "offsets before the end": _safetensors({"a": _entry()}, bytes(100)),
    "metadata that is a list": _safetensors({"__metadata__": [1], "a": _entry()}, bytes(8)),
    "no architecture": save({"a": torch.zeros(2)}),
    "a pointer to a large file": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
    "an HTML page": b"<!DOCTYPE html><html>not found</html>",
    "zeros": bytes(4096),
    "noise": random.Random(1).randbytes(4096),
}


def _compact(architecture: Any) -> bytes:
    text = architecture if isinstance(architecture, str) else json.dumps(architecture)
    return save({"a": torch.zeros(2)}, metadata={"architecture": text, "about": "{}"})


@cache
def _good() -> dict[str, Any]:
    from benchmark.models.tensor_files import read_header

    found: dict[str, Any] = json.loads(read_header(tiny() / "tiny.safetensors").metadata["architecture"])
    return found


def _changed(part: str, name: str, value: Any) -> Callable[[], bytes]:
    return lambda: _compact({**_good(), part: {**_good()[part], name: value}})


ARCHITECTURES: dict[str, Callable[[], bytes]] = {
    "no JSON": lambda: _compact("{"),
    "a list": lambda: _compact([1]),
    "a field too many": lambda: _compact({**_good(), "colour": 1}),
    "a field too few": lambda: _compact({"embed_dim": 3}),
    "a huge width": _changed("vision", "width", 10**9),
    "a width that is text": _changed("vision", "width", "8"),
    "a billion layers": _changed("text", "layers", 10**9),
    "no layers": _changed("text", "layers", 0),
    "layers below zero": _changed("vision", "layers", [-1, 1, 1, 1]),
    "a model of another package": _changed("vision", "timm_model_name", "resnet50"),
    "a trunk of ours in another tower": _changed("vision", "timm_model_name", "clip_micro_trunk"),
    "a trunk without a name": _changed("vision", "timm_model_name", None),
    "a text model of the hub": _changed("text", "hf_model_name", "nobody/nothing"),
    "other sizes than its tensors": lambda: _compact(_good()),
    "a preprocessing of text": lambda: _compact({**_good(), "preprocessing": {"mean": "x"}}),
    "an embedding of 10**9": lambda: _compact({**_good(), "embed_dim": 10**9}),
}


def bad_inputs() -> Iterator[Bad]:
    for name, content in HEADERS.items():
        yield Bad(f"model: {name}", lambda folder, c=content: _model(folder, c, "bad.safetensors"))
        yield Bad(f"checkpoint: {name}", lambda folder, c=content: _checkpoint(folder, c, "bad.safetensors"))
    for name, make in ARCHITECTURES.items():
        yield Bad(f"architecture: {name}", lambda folder, make=make: _model(folder, make(), "bad.safetensors"))
    for name, write in (*ARCHIVES.items(), *PICKLES.items()):
        yield Bad(f"archive: {name}", lambda folder, write=write: _written(folder, write))
    for share in (0.1, 0.5, 0.99):
        yield Bad(f"model: the first {share:.0%}", lambda folder, s=share: _cut(folder, s))
    yield Bad("model: NaN weights", _not_finite)
    for kind, make in (("a pipe", os.mkfifo), ("a folder", os.mkdir), ("a device", _device)):
        for name in ("bad.safetensors", "bad.pt"):
            yield Bad(f"checkpoint {name}: {kind}", lambda folder, n=name, make=make: _special(folder, n, make))


def _model(folder: Path, content: bytes, name: str) -> Arguments:
    (folder / name).write_bytes(content)
    return [*_plan(folder), "--model", folder / name]


def _checkpoint(folder: Path, content: bytes, name: str) -> Arguments:
    (folder / name).write_bytes(content)
    return [*_plan(folder), "--model", f"{ARCHITECTURE}:{folder / name}"]


def _plan(folder: Path) -> Arguments:
    """A command that loads its model: `check` of a method on it."""
    from tests.world import write_plugin

    return ["check", write_plugin(folder), "--cache-dir", tiny() / "cache"]


def _written(folder: Path, write: Callable[[Path], None]) -> Arguments:
    path = folder / "bad.pt"
    write(path)
    return [*_plan(folder), "--model", f"{ARCHITECTURE}:{path}"]


def _cut(folder: Path, share: float) -> Arguments:
    content = (tiny() / "tiny.safetensors").read_bytes()
    return _model(folder, content[: int(share * len(content))], "bad.safetensors")


def _not_finite(folder: Path) -> Arguments:
    from safetensors import safe_open

    with safe_open(tiny() / "tiny.safetensors", framework="pt") as stored:
        state, metadata = {name: stored.get_tensor(name) for name in stored.keys()}, stored.metadata()  # noqa: SIM118
    name = next(name for name, value in state.items() if value.is_floating_point() and value.numel() > 1)
    state[name].view(-1)[0] = float("nan")
    return _model(folder, save(state, metadata=metadata), "bad.safetensors")


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _special(folder: Path, name: str, make: Callable[[Path], None]) -> Arguments:
    make(folder / name)
    model = folder / name if name.endswith("safetensors") else f"{ARCHITECTURE}:{folder / name}"
    return run(folder, "--model", model)


# -- archives ------------------------------------------------------------------------------------------------


def _repacked(path: Path, change: Callable[[str, bytes], bytes | None], compression: int = zipfile.ZIP_STORED) -> None:
    """A TorchScript archive, each part of which is changed; None leaves it out."""
    write_archive({"visual.proj": torch.ones(4, 4), "logit_scale": torch.tensor(4.6)}, path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in parts.items():
            changed = change(name, content)
            if changed is not None:
                archive.writestr(name, changed)


def _objects(content: bytes) -> Callable[[Path], None]:
    return lambda path: _repacked(path, lambda name, old: content if name.endswith("/data.pkl") else old)


def _replaced(old: bytes, new: bytes) -> Callable[[Path], None]:
    return lambda path: _repacked(
        path, lambda name, content: content.replace(old, new) if name.endswith("/data.pkl") else content
    )


def _many(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(30_000):
            archive.writestr(f"a/data/{number}", b"")


def _bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}.")
        archive.writestr("a/data/0", bytes(200_000_000))


def _half(path: Path) -> None:
    write_archive({"visual.proj": torch.ones(64, 64)}, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flipped(path: Path) -> None:
    write_archive({"visual.proj": torch.ones(64, 64)}, path)
    content = bytearray(path.read_bytes())
    content[2000] ^= 0xFF
    path.write_bytes(bytes(content))


ARCHIVES: dict[str, Callable[[Path], None]] = {
    "of another model": lambda path: write_archive({"visual.proj": torch.ones(4, 4)}, path),
    "half": _half,
    "a byte flipped": _flipped,
    "a zip of nothing": lambda path: zipfile.ZipFile(path, "w").close(),
    "a zip of texts": lambda path: _zip_of(path, {"a.txt": b"x"}),
    "30,000 parts": _many,
    "a zip bomb": _bomb,
    "compressed": lambda path: _repacked(path, lambda name, old: old, zipfile.ZIP_DEFLATED),
    "no list of objects": lambda path: _repacked(path, lambda name, old: None if name.endswith("data.pkl") else old),
    "no storages": lambda path: _repacked(path, lambda name, old: None if "/data/" in name else old),
    "storages too short": lambda path: _repacked(path, lambda name, old: old[:2] if "/data/" in name else old),
    "an empty list of objects": _objects(b""),
    "a number for a module": _objects(b"\x80\x02K\x01."),
    "a call of os.system": _objects(b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R."),
    "a call of eval": _objects(b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R."),
    "an object of this project": _objects(b"\x80\x02cbenchmark.cli\nParser\n)\x81."),
    "a pickle of protocol 0": _objects(b"cos\nsystem\n(S'true'\ntR."),
    "a memo of 2**31": _objects(b"\x80\x02}r\xff\xff\xff\x7f."),
    "a text of 2**32": _objects(b"\x80\x02X\xff\xff\xff\xff."),
    "deep tuples": _objects(b"\x80\x02" + b")" + b"\x85" * 1_000_000 + b"."),
    "noise for objects": _objects(b"\x80\x02" + bytes(range(256))),
    "a shape beyond the storage": _replaced(b"K\x04K\x04t", b"K\x7fK\x04t"),
    "a stride of nothing": _replaced(b"K\x04K\x01t", b"K\x00K\x00t"),
    "another storage": _replaced(b"X\x01\x00\x00\x000", b"X\x01\x00\x00\x009"),
    "a path for a storage": _replaced(b"X\x01\x00\x00\x000", b"X\x03\x00\x00\x00../"),
}


def _zip_of(path: Path, parts: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def _saved(content: Any) -> Callable[[Path], None]:
    return lambda path: torch.save(content(path) if callable(content) else content, path)


def _plain(content: Callable[[Path], bytes]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(content(path))

    return write


PICKLES: dict[str, Callable[[Path], None]] = {
    "a number": _saved(3),
    "an empty dictionary": _saved({}),
    "a list of tensors": _saved([torch.zeros(2)]),
    "texts": _saved({"a": "b"}),
    "dictionaries within each other": _saved({"model": {"visual": {"proj": torch.zeros(2)}}}),
    "numbers for names": _saved({1: torch.zeros(2)}),
    "another model": _saved({"weight": torch.zeros(2)}),
    "a sparse tensor": _saved({"weight": torch.zeros(2, 2).to_sparse()}),
    "a complex tensor": _saved({"weight": torch.zeros(2, dtype=torch.complex64)}),
    "a tensor without data": _saved({"weight": torch.zeros(2, device="meta")}),
    "a tensor of 10**12": _saved({"weight": torch.zeros(1).expand(10**12)}),
    "a model's wrong shapes": _saved(lambda _: _wrong_shapes()),
    "an attack": _saved(lambda path: {"a": Attack(path.with_name(RAN))}),
    "an attack without a zip": _plain(lambda path: pickle.dumps({"a": Attack(path.with_name(RAN))})),
    "a plain pickle of numbers": _plain(lambda _: pickle.dumps(list(range(1000)))),
    "a plain pickle cut": _plain(lambda _: pickle.dumps({"a": list(range(1000))})[:100]),
    "a tar": _plain(lambda _: b"ustar" * 1000),
}


@cache
def _wrong_shapes() -> dict[str, torch.Tensor]:
    from benchmark.models.loading import _untrained

    with torch.device("meta"):
        names = list(_untrained(ARCHITECTURE, "meta").state_dict())
    return {name: torch.zeros(3) for name in names}
