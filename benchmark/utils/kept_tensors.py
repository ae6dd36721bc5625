"""Safetensors files that say whether they are whole: a digest of tensors and metadata stands in the metadata."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

if TYPE_CHECKING:
    from torch import Tensor

DIGEST = "digest"


class DamagedError(Exception):
    """A file that is no safetensors file, or not the one that was written."""


def tensors_to_bytes(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> bytes:
    """As the file holds it.

    Args:
        tensors: By name, on the CPU and contiguous.
        about: The metadata, without a digest.
    """
    from safetensors.torch import save

    content: bytes = save(dict(tensors), metadata={**about, DIGEST: _digest(tensors, about)})
    return content


def read_tensors(path: Path, *, sealed: bool = True) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file and its metadata without the digest.

    Args:
        path: The file.
        sealed: Refuse a file without a digest; such files came before there were digests.

    Raises:
        OSError: If it cannot be read.
        DamagedError: If it is damaged.
    """
    about = read_metadata(path)
    try:
        with safe_open(path, framework="pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedError(" ".join(str(error).split())) from error
    digest = about.pop(DIGEST, None)
    if digest is None and sealed:
        raise DamagedError("it has no digest")
    if digest is not None and digest != _digest(tensors, about):
        raise DamagedError("its digest is not that of its content")
    return tensors, about


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a file, its digest included; nothing of it is checked.

    Raises:
        OSError: If it cannot be read.
        DamagedError: If it is no safetensors file.
    """
    if not path.is_file():
        path.stat()
        raise DamagedError("it is not a file")
    try:
        with safe_open(path, framework="np") as stored:
            return dict(stored.metadata() or {})
    except (SafetensorError, RuntimeError, ValueError, TypeError) as error:
        raise DamagedError(" ".join(str(error).split())) from error


def _digest(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> str:
    import torch

    digest = hashlib.sha256(json.dumps(dict(about), sort_keys=True).encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"\n{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
