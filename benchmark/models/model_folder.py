"""A model as a folder: in open_clip's format, which `export` writes, or transformers' CLIP and SigLIP.

| file | what |
|---|---|
| `open_clip_config.json` | the architecture and the preprocessing of open_clip |
| `config.json`, `preprocessor_config.json` | the same of transformers, where there is none of open_clip |
| `open_clip_model.safetensors`, `model.safetensors`, ... | the weights; several files with an index |
| `tokenizer.json`, ... | the tokenizer, where it is not CLIP's own |
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.models.checkpoints import check_checkpoint, read_state_dict
from benchmark.models.compact import file_sha256
from benchmark.models.tensor_files import WeightsError
from benchmark.models.tokenizers import CONFIG, hub_tokenizer, is_tokenizer, tokenizer_files
from benchmark.models.transformers_config import kind_of, open_clip_images, open_clip_model
from datamodules.common.documents import LARGE, SMALL, DocumentError, load_json

if TYPE_CHECKING:
    from torch import Tensor

LOCAL, HUB = "local-dir", "hf-hub"
OPEN_CLIP, IMAGES = "open_clip_config.json", "preprocessor_config.json"
WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)
"""Names of the weights, the first that is there is taken: open_clip's order."""
ENDINGS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
SCALE = "scale"
"""What an exported folder says beside open_clip's own entries: which defaults its methods take."""


@dataclass(frozen=True)
class ModelFolder:
    """A folder whose configuration was read.

    Attributes:
        name: The model as the user named it, for messages.
        config: open_clip's `model_cfg`.
        images: open_clip's `preprocess_cfg`.
        weights: The files of the weights.
        read: All files that can change a number.
        tokenizer: The folder of the tokenizer's files; None for CLIP's own, and for one of the hub that is not here.
        scale: "published", or "small" where the folder was exported from one of the small CLIPs.
    """

    name: str
    config: dict[str, Any]
    images: dict[str, Any]
    weights: tuple[Path, ...]
    read: tuple[Path, ...]
    tokenizer: Path | None
    scale: str

    @property
    def identity(self) -> str:
        """What identifies the model in a cell's key: 16 digits over the files that can change a number."""
        lines = "".join(f"{file.name} {file_sha256(file)}\n" for file in sorted(self.read))
        return f"{LOCAL}:{hashlib.sha256(lines.encode()).hexdigest()[:16]}"

    def state(self) -> dict[str, Tensor]:
        """The state dict, as it is in the files.

        Raises:
            WeightsError: If they cannot be read.
        """
        return {name: value for file in self.weights for name, value in read_state_dict(file).items()}


def is_model_folder(path: Path) -> bool:
    """Whether a folder says that it is a model."""
    return any((path / file).is_file() for file in (OPEN_CLIP, CONFIG))


def model_folder(name: str, path: Path, config: Path | None = None) -> ModelFolder:
    """Read the configuration of a folder, and find its weights.

    Args:
        name: The model as the user named it, for messages.
        path: The folder, or its file of weights.
        config: An `open_clip_config.json` of another name or place.

    Raises:
        WeightsError: If something is missing or cannot be read: with what is there and what is needed.
    """
    folder, file = (path, None) if path.is_dir() else (path.parent, path)
    if not path.exists():
        raise WeightsError(f"model {name!r}: there is no {path}: check the path after the colon")
    settings = settings_of(name, folder, config)
    weights = _weights(name, folder) if file is None else (file,)
    for part in weights:
        check_checkpoint(part)
    read = (*settings.files, *weights, *(tokenizer_files(folder) if settings.tokenizer else ()))
    files = tuple(dict.fromkeys(read))
    return ModelFolder(name, settings.model, settings.images, weights, files, settings.tokenizer, settings.scale)


@dataclass(frozen=True)
class Settings:
    """What the configuration of a folder says, and where it stands.

    Attributes:
        model: open_clip's `model_cfg`.
        images: open_clip's `preprocess_cfg`.
        scale: Which defaults methods take.
        files: Of the configuration.
        tokenizer: The folder of the tokenizer's files, if it is here.
    """

    model: dict[str, Any]
    images: dict[str, Any]
    scale: str
    files: tuple[Path, ...]
    tokenizer: Path | None


def settings_of(name: str, folder: Path, config: Path | None = None) -> Settings:
    """What a folder says of its model; its weights need not be there.

    Raises:
        WeightsError: If its configuration is missing or cannot be read.
    """
    source = config or folder / OPEN_CLIP
    if source.is_file():
        content = _json(source)
        model, images = content.get("model_cfg"), content.get("preprocess_cfg", {})
        parts = [model.get(part) for part in ("text_cfg", "vision_cfg")] if isinstance(model, dict) else []
        if not isinstance(model, dict) or not all(isinstance(part, dict) for part in [*parts, images]):
            raise WeightsError(f"{source} has no model_cfg of open_clip: copy it again from where the model is from")
        scale = str(content.get(SCALE, "published"))
        return Settings(model, images, scale, (source,), _tokenizer_in(folder, model))
    if config is not None:
        raise WeightsError(f"model {name!r}: no configuration {config}")
    if not (folder / CONFIG).is_file():
        raise WeightsError(
            f"model {name!r}: {folder} holds neither {OPEN_CLIP} nor {CONFIG} of transformers, but "
            f"{_listed(folder)}: name the architecture, as in --model ViT-B-32:FILE"
        )
    theirs, images_file = _json(folder / CONFIG), folder / IMAGES
    about = _json(images_file) if images_file.is_file() else {}
    model, images = open_clip_model(theirs, name), open_clip_images(about, kind_of(theirs), name)
    files = (folder / CONFIG, *([images_file] if about else []))
    return Settings(model, images, "published", files, _tokenizer_in(folder, model))


def _tokenizer_in(folder: Path, model: Mapping[str, Any]) -> Path | None:
    return folder if hub_tokenizer(model["text_cfg"]) and is_tokenizer(folder) else None


def weights_among(files: Iterable[str]) -> list[str]:
    """The file of the weights among the names in a folder or on the hub, or their index; empty where there is none."""
    names = set(files)
    if known := [name for name in WEIGHTS if name in names]:
        return known[:1]
    others = sorted(name for name in names if name.endswith(ENDINGS))
    return others if len(others) == 1 else []


def shards_of(index: Path) -> list[str]:
    """The files that an index names.

    Raises:
        WeightsError: If it names none, or one in another folder.
    """
    shards = _json(index).get("weight_map")
    names = sorted(set(map(str, shards.values()))) if isinstance(shards, dict) else []
    if not names or any(Path(name).name != name for name in names):
        raise WeightsError(f"{index} names no weights beside it: copy it again")
    return names


def _weights(name: str, folder: Path) -> tuple[Path, ...]:
    names_there = weights_among(file.name for file in folder.iterdir())
    if not names_there:
        raise WeightsError(
            f"model {name!r}: of weights such as {WEIGHTS[0]} or {WEIGHTS[4]} there is nothing in {folder}, but "
            f"{_listed(folder)}"
        )
    names = shards_of(folder / names_there[0]) if names_there[0].endswith(".json") else names_there
    if missing := [shard for shard in names if not (folder / shard).is_file()]:
        raise WeightsError(f"model {name!r}: {missing[0]} is missing in {folder}: copy it there")
    return tuple(folder / shard for shard in names)


def _listed(folder: Path) -> str:
    names = sorted(file.name for file in folder.iterdir())
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") if names else "nothing"


def _json(file: Path) -> Mapping[str, Any]:
    try:
        content = load_json(file, LARGE if file.name.endswith(".index.json") else SMALL)
    except DocumentError as error:
        raise WeightsError(str(error)) from error
    if not isinstance(content, dict):
        raise WeightsError(f"{file} holds no JSON object: copy it again")
    return content
