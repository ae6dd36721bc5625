"""The tensors of a TorchScript archive, such as OpenAI's CLIPs, read without running the archive's code.

`torch.jit.load` runs code of the archive's choice. Here its list of objects (`data.pkl`) is read by an unpickler that
knows no class and no function: modules become plain holders, tensors become descriptions (which storage, which place in
it), everything else is refused. Then each description is checked against its storage and made a tensor.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmark.models.tensor_files import damaged, open_archive

_MOST_OBJECTS, _MOST_STEPS = 2 * 1024 * 1024, 200_000
"""Bytes and steps of `data.pkl`: a CLIP's has about 50 steps a tensor."""
_DEEPEST = 64
_OPCODES = {
    *(
        "PROTO",
        "FRAME",
        "STOP",
        "MARK",
        "POP",
        "POP_MARK",
        "DUP",
        "GLOBAL",
    ),
    *("STACK_GLOBAL", "NEWOBJ", "REDUCE", "BUILD"),
    *("BINPUT", "LONG_BINPUT", "MEMOIZE", "BINGET", "LONG_BINGET", "BINPERSID", "NONE", "NEWTRUE", "NEWFALSE"),
    *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "LIST", "APPEND", "APPENDS"),
    *("EMPTY_DICT", "DICT", "SETITEM", "SETITEMS", "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}
"""What a list of modules and tensors is written with."""
_STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def is_torchscript(archive: zipfile.ZipFile) -> bool:
    """Whether an archive is TorchScript's and not a file of `torch.save`."""
    return any(name.count("/") == 1 and name.endswith("/constants.pkl") for name in archive.namelist())


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """The parameters and buffers of an archive's module by their state-dict names, on the CPU.

    Raises:
        WeightsError: If the archive is damaged or holds anything else than modules, tensors and plain values.
    """
    with open_archive(path) as archive:
        try:
            root = _objects(archive)
            if not isinstance(root, _Module):
                raise ValueError("it holds no module")
            storages = _Storages(archive)
            return {name: storages.tensor(stub) for name, stub in _tensors(root)}
        except Exception as error:  # a damaged list of objects raises almost anything
            raise damaged(path, error) from error


class _Module:
    """Stands for an object of any class of the archive: it holds attributes and does nothing."""

    def __init__(self) -> None:
        self.attributes: Mapping[str, Any] = {}

    def __new__(cls) -> _Module:
        """Without `__init__`, as pickle makes objects."""
        module = super().__new__(cls)
        module.attributes = {}
        return module

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.attributes = state


@dataclass(frozen=True, slots=True)
class _Stub:
    """A tensor that is not read yet."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Storage:
    """A storage that is not read yet."""

    key: str
    dtype: torch.dtype
    count: int


@dataclass(frozen=True, slots=True)
class _Builder:
    """Stands for one of the few functions of PyTorch that an archive names; nothing can be set on it."""

    name: str

    def __call__(self, *arguments: Any) -> Any:
        """What the function would give, as a description."""
        if self.name == "_rebuild_tensor_v2":
            storage, offset, shape, stride = arguments[:4]
            natural = all(type(number) is int and number >= 0 for number in (offset, *shape, *stride))
            if not isinstance(storage, _Storage) or not natural or len(shape) != len(stride) or len(shape) > 8:
                raise ValueError("a tensor's description is not one")
            return _Stub(storage, offset, tuple(shape), tuple(stride))
        if self.name == "_rebuild_parameter":
            return arguments[0]
        if self.name == "restore_type_tag" or self.name.startswith("build_"):
            return arguments[0]
        return {}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return _Module
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) in (("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_parameter")):
            return _Builder(name)
        if (module, name) == ("collections", "OrderedDict"):
            return _Builder(name)
        lists = ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist", "restore_type_tag")
        if module == "torch.jit._pickle" and name in lists:
            return _Builder(name)
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is neither a module nor a tensor")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, count = pid
        if (
            kind != "storage"
            or not isinstance(dtype, torch.dtype)
            or not isinstance(key, str)
            or type(count) is not int
        ):
            raise pickle.UnpicklingError("a storage's description is not one")
        return _Storage(key, dtype, count)


def _objects(archive: zipfile.ZipFile) -> Any:
    content = archive.read(_part(archive, "data.pkl", _MOST_OBJECTS))
    for step, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        if step > _MOST_STEPS:
            raise pickle.UnpicklingError(f"its list of objects has more than {_MOST_STEPS:,} steps")
        if opcode.name not in _OPCODES:
            raise pickle.UnpicklingError(f"its list of objects holds {opcode.name}, which no module needs")
        if opcode.name == "LONG_BINPUT" and isinstance(argument, int) and argument > len(content):
            raise pickle.UnpicklingError("its list of objects counts wrongly")
    return _Unpickler(io.BytesIO(content)).load()


def _part(archive: zipfile.ZipFile, name: str, most: int | None = None) -> zipfile.ZipInfo:
    """A part of an archive below its one folder."""
    folders = {part.partition("/")[0] for part in archive.namelist() if part.endswith("/data.pkl")}
    if len(folders) != 1:
        raise ValueError("its list of objects, data.pkl, is missing or there twice")
    part = archive.getinfo(f"{folders.pop()}/{name}")
    if most is not None and part.file_size > most:
        raise ValueError(f"{name} has {part.file_size:,} bytes, more than any CLIP's")
    return part


def _tensors(root: _Module) -> Iterator[tuple[str, _Stub]]:
    """The tensors of a module and of those within it, by their names; a module within itself is an error."""
    queue: list[tuple[str, _Module, frozenset[int]]] = [("", root, frozenset())]
    while queue:
        prefix, module, above = queue.pop()
        if id(module) in above or len(above) > _DEEPEST:
            raise ValueError("a module contains itself, or modules within each other are too deep")
        for name, value in module.attributes.items():
            if not isinstance(name, str):
                raise ValueError("an attribute's name is no text")
            if isinstance(value, _Stub):
                yield prefix + name, value
            elif isinstance(value, _Module):
                queue.append((f"{prefix}{name}.", value, above | {id(module)}))


class _Storages:
    """The storages of an archive, each read once."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._read: dict[str, Tensor] = {}

    def tensor(self, stub: _Stub) -> Tensor:
        """A tensor, which must lie within its storage and use no element of it twice."""
        flat = self._flat(stub.storage)
        last = sum((size - 1) * step for size, step in zip(stub.shape, stub.stride, strict=True))
        elements = torch.Size(stub.shape).numel()
        if elements and (stub.offset + last >= len(flat) or elements > len(flat)):
            raise ValueError(f"a tensor of shape {stub.shape} does not lie within its {len(flat):,} numbers")
        if not elements:
            return torch.empty(stub.shape, dtype=stub.storage.dtype)
        return flat.as_strided(stub.shape, stub.stride, stub.offset)

    def _flat(self, storage: _Storage) -> Tensor:
        if storage.key not in self._read:
            content = bytearray(self._archive.read(_part(self._archive, f"data/{storage.key}")))
            if len(content) != storage.count * storage.dtype.itemsize:
                raise ValueError(f"storage {storage.key} has {len(content):,} bytes, not {storage.count:,} numbers")
            empty = torch.empty(0, dtype=storage.dtype)
            self._read[storage.key] = torch.frombuffer(content, dtype=storage.dtype) if content else empty
        flat = self._read[storage.key]
        if flat.dtype != storage.dtype:
            raise ValueError(f"storage {storage.key} is of two types")
        return flat
