"""Small CLIPs in one small file: half-precision tensors, and only those token embeddings that training touched.

The architecture stands in the file's metadata, so a file is a model. Loaded, it is an ordinary `open_clip.CLIP` with
CLIP's own tokenizer and full vocabulary: rows that training never touched are zero.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from benchmark.models.open_clip_import import import_open_clip
from benchmark.models.tensor_files import WeightsError, read_header
from benchmark.utils.kept_tensors import DIGEST, DamagedError, read_metadata, read_tensors, tensors_to_bytes
from datamodules.common.documents import SMALL, DocumentError, parse_json
from datamodules.common.kept_files import checked_once, replace_file
from datamodules.common.text import one_line
from datamodules.common.validation import STRICT

if TYPE_CHECKING:
    from torch import Tensor, nn

    from datamodules.common.images import Preprocessing
    from methods.common.clip import Clip

TOKEN_ROWS, TOKEN_IDS = "token_embedding.weight", "token_ids"
VOCABULARY = 49408
MOST_WIDTH = 4096
"""Of any size in the architecture of a small CLIP."""
_VISION = {"layers", "width", "head_width", "mlp_ratio", "patch_size", "image_size", "ls_init_value", "patch_dropout"}
_TEXT = {"context_length", "width", "heads", "layers", "mlp_ratio", "ls_init_value"}
TRUNK = "timm_model_name"
TRUNKS = ("clip_micro_trunk",)
"""The trunks that a file may name, all of them in `trunks.py`: timm has others that are far too large."""
_TIMM = {"timm_pool": "", "timm_proj": "linear"}
"""What else stands in the vision configuration of such a tower: the trunk pools, a linear layer follows."""
KEPT_AS = "kept_as"
"""What a model kept in the cache says of itself: the name of its file."""


@dataclass(frozen=True)
class Architecture:
    """An open_clip architecture as data.

    Attributes:
        embed_dim: D, the width of the joint space.
        vision: `open_clip.CLIPVisionCfg` fields.
        text: `open_clip.CLIPTextCfg` fields without the vocabulary size.
        preprocessing: Mean and standard deviation by channel; the size is the vision configuration's.
    """

    __pydantic_config__: ClassVar = STRICT

    embed_dim: int
    vision: dict[str, Any]
    text: dict[str, Any]
    preprocessing: dict[str, Any] = field(default_factory=dict)

    def build(self, *, vocabulary: int = VOCABULARY) -> nn.Module:
        """A new, randomly initialised model."""
        import torch
        from torch import nn

        import_open_clip()
        from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

        if TRUNK in self.vision:
            from benchmark.models.trunks import register_trunks

            register_trunks()
        text = CLIPTextCfg(vocab_size=vocabulary, **self.text)
        model = CLIP(self.embed_dim, CLIPVisionCfg(**self.vision), text)
        return cast(nn.Module, model.to(memory_format=torch.channels_last))

    def check(self) -> None:
        """Check that the fields are those of a small CLIP, before anything is allocated by them.

        Raises:
            ValueError: If one is unknown, or is no number of a small CLIP.
        """
        for part, fields, known in (("vision", self._vision_sizes(), _VISION), ("text", self.text, _TEXT)):
            for name, value in fields.items():
                if name not in known:
                    raise ValueError(f"{part}.{name} is no field of a small CLIP")
                sizes = value if isinstance(value, list) else [value]
                if not all(isinstance(size, (int, float)) and 0 <= size <= MOST_WIDTH for size in sizes):
                    raise ValueError(f"{part}.{name}={str(value)[:40]} is no number of a small CLIP")
        if type(self.embed_dim) is not int or not 1 <= self.embed_dim <= MOST_WIDTH:
            raise ValueError(f"embed_dim={str(self.embed_dim)[:40]} is no width of a small CLIP")
        for name, values in self.preprocessing.items():
            numbers = isinstance(values, (list, tuple)) and all(isinstance(value, (int, float)) for value in values)
            if name not in ("mean", "std") or not numbers or len(values) != 3 or 0 in (name == "std") * list(values):
                raise ValueError(f"preprocessing.{name} is not three numbers")
        layers = (self.text["layers"], *([] if TRUNK in self.vision else [self.vision["layers"]]))
        if any(not 0 < layer <= 48 for depth in layers for layer in (depth if isinstance(depth, list) else [depth])):
            raise ValueError("a tower has 1 to 48 layers")

    def _vision_sizes(self) -> dict[str, Any]:
        """The fields of the vision configuration that hold sizes; a trunk of timm brings its own but for the images.

        Raises:
            ValueError: If the trunk is not known, or its tower is put together otherwise.
        """
        if TRUNK not in self.vision:
            return self.vision
        fields = dict(self.vision)
        if (name := fields.pop(TRUNK)) not in TRUNKS:
            raise ValueError(f"vision.{TRUNK}={str(name)[:40]} is no trunk of a small CLIP")
        for field_name, value in _TIMM.items():
            if fields.pop(field_name, None) != value:
                raise ValueError(f"vision.{field_name} of a small CLIP with a trunk is {value!r}")
        if set(fields) != {"image_size"}:
            raise ValueError(f"vision.{min(set(fields) ^ {'image_size'})} is missing or no field beside a trunk")
        return fields

    @property
    def image_input(self) -> Preprocessing:
        """The preprocessing that the model expects."""
        from datamodules.common.images import Preprocessing

        return Preprocessing(image_size=self.vision["image_size"], **self.preprocessing)


@dataclass(frozen=True)
class ClipTokenizer:
    """CLIP's own tokenizer at a context length; it travels to another process as that number alone.

    Attributes:
        context_length: Tokens of a text; longer texts are cut.
    """

    context_length: int

    def __call__(self, texts: list[str]) -> Tensor:
        """Token ids, shape (texts, context length), int64."""
        from torch import Tensor

        return cast(Tensor, _vocabulary()(texts, context_length=self.context_length))


@cache
def _vocabulary() -> Any:
    """CLIP's merges, read once a process: that takes 0.2 s, which a process that is forked from another one saves."""
    import_open_clip()
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()


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
    import torch

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


def about_of(path: Path) -> dict[str, Any]:
    """What a file written by `save_compact` says of its making; empty where it says nothing.

    Raises:
        WeightsError: If it is no such file.
    """
    try:
        about = parse_json(read_header(path).metadata.get("about", "{}"), f"{path}: about", SMALL)
    except DocumentError as error:
        raise WeightsError(str(error)) from error
    return about if isinstance(about, dict) else {}


def _read(path: Path, name: str, *, tensors: bool = True) -> tuple[Architecture, dict[str, Tensor]]:
    if not path.exists():
        raise WeightsError(
            f"model {name!r}: no file {path}; train it with `python -m benchmark pretrain` or name another model"
        )
    read_header(path)
    try:
        weights, metadata = read_tensors(path, sealed=False) if tensors else ({}, read_metadata(path))
    except (OSError, DamagedError) as error:
        raise WeightsError(
            f"model {name!r}: cannot read weights from {path} ({one_line(str(error))}); train them with "
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
        architecture = Architecture(**parse_json(metadata["architecture"], "its architecture", SMALL))
        architecture.check()
        return architecture, weights
    except (TypeError, ValueError, KeyError, AttributeError, DocumentError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> WeightsError:
    reason = one_line((str(error).strip() or type(error).__name__).splitlines()[0])
    return WeightsError(
        f"{path} is damaged or from another version ({type(error).__name__}: {reason}); "
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
    import torch

    from benchmark.models.checkpoints import check_finite
    from methods.common.clip import Clip

    architecture, tensors = _read(path, name)
    try:
        _check_size(architecture, tensors)
        check_finite(path, tensors)
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
    return Clip(model, ClipTokenizer(context), architecture.image_input, name, scale="small")


def _check_size(architecture: Architecture, tensors: Mapping[str, Tensor]) -> None:
    """Check that the file's tensors are the architecture's, before memory is taken for it."""
    import torch

    with torch.device("meta"):
        wanted = architecture.build(vocabulary=len(tensors[TOKEN_IDS])).state_dict()
    for name, value in wanted.items():
        if name != "attn_mask" and tensors[name].shape != value.shape:
            raise ValueError(f"{name} has shape {tuple(tensors[name].shape)}, not {tuple(value.shape)}")


def file_sha256(path: Path) -> str:
    """The sha256 of a file's content, as hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
