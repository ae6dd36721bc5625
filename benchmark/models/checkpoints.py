"""Checkpoints from outside: read without running any code of them, and checked before they go into a model.

| file | how it is read |
|---|---|
| safetensors | its header is checked, then the library reads it |
| TorchScript archive (OpenAI's) | `benchmark.models.torchscript`; never `torch.jit.load`, which runs the archive's code
| | file of `torch.save` | its parts are counted and measured, then `torch.load(weights_only=True)` |
"""

from __future__ import annotations

import argparse
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.models.tensor_files import WeightsError, damaged, file_start, is_safetensors, open_archive, read_header

if TYPE_CHECKING:
    from torch import Tensor

_ZIP, _PICKLE = b"PK", b"\x80"
_OF_LIGHTNING = (
    "lightning.fabric.utilities.data",
    "pytorch_lightning.utilities.parsing",
    "lightning_fabric.utilities.data",
)
"""Where Lightning's dictionary of hyperparameters is or was defined."""


def check_checkpoint(path: Path) -> None:
    """Check the beginning and the directory of a checkpoint, in no time whatever its size.

    Raises:
        WeightsError: If it is no file, empty, of no known kind, or says more of itself than is there.
    """
    _, start = file_start(path)
    if is_safetensors(path):
        read_header(path)
    elif start.startswith(_ZIP):
        open_archive(path).close()
    elif not start.startswith(_PICKLE):
        raise WeightsError(
            f"{path} is not a checkpoint that can be read safely: it is neither safetensors, nor a file of torch.save, "
            "nor a TorchScript archive; copy it again, or save the model's state_dict() as safetensors"
        )


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint without running any code of it: safetensors, a state dict, or OpenAI's JIT archive.

    Raises:
        WeightsError: If the file is none of these.
    """
    import torch

    from benchmark.models.state_dicts import tensors_of

    check_checkpoint(path)
    content = tensors_of(_content(path), path)
    for name, value in content.items():
        if value.layout != torch.strided or value.device.type != "cpu":
            raise WeightsError(f"{path}: {name!r} is no ordinary tensor: save the model's state_dict() as safetensors")
        if value.is_quantized or value.is_complex():
            raise WeightsError(f"{path}: {name!r} is of type {value.dtype}, which no CLIP has: save it as real numbers")
    return content


def check_finite(path: Path, state: Mapping[str, Tensor]) -> None:
    """Check that all weights are finite numbers.

    Raises:
        WeightsError: Naming the first tensor that holds others.
    """
    import torch

    for name, value in state.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise WeightsError(f"{path}: {name} holds NaN or infinities: it is of a training that failed, or damaged")


def _data_types() -> list[Any]:
    """What training scripts write beside tensors and what is nothing but data: none of it runs code when it is read."""
    numbers = [np.dtype, *(type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.int32, np.bool_))]
    scalar = np.float64(0).__reduce__()[0]
    modules = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    settings = [(dict, f"{module}.AttributeDict") for module in _OF_LIGHTNING]
    return [*numbers, *((scalar, name) for name in modules), argparse.Namespace, *settings]


def _content(path: Path) -> Any:
    import torch

    from benchmark.models.torchscript import is_torchscript, read_torchscript

    try:
        if is_safetensors(path):
            from safetensors.torch import load_file

            return dict(load_file(path))
        if file_start(path)[1].startswith(_ZIP):
            with open_archive(path) as archive:
                scripted = is_torchscript(archive)
            if scripted:
                return read_torchscript(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an unusual protocol: what cannot be read is an error all the same
            with torch.serialization.safe_globals(_data_types()):
                return torch.load(path, map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} is not a checkpoint that can be read safely: it holds Python objects, and reading them could run "
            "code; save the model's state_dict() alone, best as safetensors"
        ) from error
    except Exception as error:
        raise damaged(path, error) from error
