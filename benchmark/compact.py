"""Small CLIPs in one small file: half-precision tensors, and only those token embeddings that training touched.

The architecture stands in the file's metadata, so a file is a model. Loaded, it is an ordinary `open_clip.CLIP` with
CLIP's own tokenizer and full vocabulary: rows that training never touched are zero.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from benchmark.kept_tensors import DIGEST, DamagedError, read_metadata, read_tensors, tensors_to_bytes
from datamodules.errors import BenchmarkError
from datamodules.images import Preprocessing
from datamodules.kept_files import checked_once, replace_file
from methods.clip import Clip

TOKEN_ROWS, TOKEN_IDS = "token_embedding.weight", "token_ids"
VOCABULARY = 49408
KEPT_AS = "kept_as"
"""What a model kept in the cache says of itself: the name of its file."""


class WeightsError(BenchmarkError):
    """A weights file that is missing, unreadable or does not fit the architecture."""


@dataclass(frozen=True)
class Architecture:
    """An open_clip architecture as data.

    Attributes:
        embed_dim: D, the width of the joint space.
        vision: `open_clip.CLIPVisionCfg` fields.
        text: `open_clip.CLIPTextCfg` fields without the vocabulary size.
        preprocessing: Mean and standard deviation by channel; the size is the vision configuration's.
    """

    embed_dim: int
    vision: dict[str, Any]
    text: dict[str, Any]
    preprocessing: dict[str, Any] = field(default_factory=dict)

    def build(self, *, vocabulary: int = VOCABULARY) -> nn.Module:
        """A new, randomly initialised model."""
        from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

        text = CLIPTextCfg(vocab_size=vocabulary, **self.text)
        model = CLIP(self.embed_dim, CLIPVisionCfg(**self.vision), text)
        return cast(nn.Module, model.to(memory_format=torch.channels_last))

    @property
    def image_input(self) -> Preprocessing:
        """The preprocessing that the model expects."""
        return Preprocessing(image_size=self.vision["image_size"], **self.preprocessing)


@cache
def tokenizer(context_length: int) -> partial[Tensor]:
    """CLIP's own tokenizer at a context length."""
    from open_clip.tokenizer import SimpleTokenizer

    return partial(SimpleTokenizer(), context_length=context_length)


def save_compact(
    path: Path, model: nn.Module, token_ids: Tensor, architecture: Architecture, about: dict[str, Any]
) -> None:
    """Write a model whose token embedding holds the rows of `token_ids` only.

    Args:
        path: The file; replaced as a whole or not at all.
        model: A model built with `vocabulary=len(token_ids)`.
        token_ids: The vocabulary ids of its rows, ascending.
        architecture: Of the model.
        about: What the file's reader should know (recipe, seed, measured accuracy): anything JSON can hold.
    """
    tensors = {
        name: value.detach().to("cpu", torch.float16 if value.is_floating_point() else value.dtype).contiguous()
        for name, value in model.state_dict().items()
        if name != "attn_mask"
    }
    tensors[TOKEN_IDS] = token_ids.to(torch.int32).contiguous()
    metadata = {"architecture": json.dumps(asdict(architecture)), "about": json.dumps(about)}
    replace_file(path, tensors_to_bytes(tensors, metadata))


def read_architecture(path: Path, name: str) -> Architecture:
    """The architecture of a file written by `save_compact`, without its weights.

    Raises:
        WeightsError: If the file is missing or is not such a file.
    """
    return _read(path, name, tensors=False)[0]


def _read(path: Path, name: str, *, tensors: bool = True) -> tuple[Architecture, dict[str, Tensor]]:
    try:
        found, metadata = read_tensors(path, sealed=False) if tensors else ({}, read_metadata(path))
    except (OSError, DamagedError) as error:
        raise WeightsError(
            f"model {name!r}: cannot read weights from {path} ({error}); train them with "
            "`python -m benchmark pretrain` or name another model"
        ) from error
    if "architecture" not in metadata:
        raise WeightsError(
            f"{path} was not written by `python -m benchmark pretrain`: name its architecture, "
            f"as in --model ViT-B-32:{path}"
        )
    unknown = set(metadata) - {"architecture", "about", DIGEST}
    if unknown:  # a digest of another name would not have been checked
        raise _damaged(path, ValueError(f"unknown entry {min(unknown)!r}"))
    try:
        return Architecture(**json.loads(metadata["architecture"])), found
    except (TypeError, ValueError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> WeightsError:
    return WeightsError(
        f"{path} is damaged or from another version ({type(error).__name__}: {str(error).splitlines()[0]}); "
        "train it again with `python -m benchmark pretrain`"
    )


def is_whole_compact(path: Path) -> bool:
    """Whether a compact file is what `save_compact` wrote as this file; it is read at its first use in a process."""

    def as_written(file: Path) -> bool:
        try:
            _, metadata = read_tensors(file)
            return bool(json.loads(metadata["about"]).get(KEPT_AS) == file.name)
        except (DamagedError, KeyError, ValueError, AttributeError):
            return False

    return checked_once(path, as_written)


def load_compact(path: Path, name: str) -> Clip:
    """Load a file written by `save_compact`.

    Raises:
        WeightsError: If the file is missing or is not such a file.
    """
    architecture, tensors = _read(path, name)
    try:
        model = architecture.build()
        ids = tensors.pop(TOKEN_IDS).long()
        rows = torch.zeros(VOCABULARY, architecture.text["width"])
        rows[ids] = tensors[TOKEN_ROWS].float()
        state = {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}
        model.load_state_dict({**state, TOKEN_ROWS: rows}, strict=True)
    except (KeyError, TypeError, ValueError, RuntimeError, IndexError) as error:
        raise _damaged(path, error) from error
    model.eval()
    context = architecture.text["context_length"]
    return Clip(model, tokenizer(context), architecture.image_input, name, scale="small")


def file_sha256(path: Path) -> str:
    """The sha256 of a file's content, as hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
