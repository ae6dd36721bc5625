"""How the weights of a local file want their images: as a tag or a configuration says, else as is assumed, and told.

| what the model's name says | taken from |
|---|---|
| `ViT-L-14/laion2b_s32b_b82k:FILE` | the weights tag |
| `ViT-L-14:FILE`, and `open_clip_config.json` stands beside the file | that file |
| `ViT-B-16-SigLIP:FILE` | the tags of the architecture, where all of them say the same |
| `ViT-L-14:FILE` | assumed: OpenAI's mean and standard deviation, which is told before the run |
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.models.model_folder import OPEN_CLIP
from benchmark.models.open_clip_import import import_open_clip
from benchmark.models.tensor_files import WeightsError
from datamodules.common.documents import SMALL, DocumentError, load_json
from datamodules.common.images import OPENAI_MEAN, OPENAI_STD

_KEYS = ("mean", "std", "interpolation", "resize_mode")
_OPENAI = {"mean": OPENAI_MEAN, "std": OPENAI_STD, "interpolation": "bicubic", "resize_mode": "shortest"}


@dataclass(frozen=True)
class ImagesOfFile:
    """How images come to the weights of a file.

    Attributes:
        images: Of open_clip's `preprocess_cfg`: mean, std, interpolation, resize mode.
        note: What was assumed, in one line; empty where the file, its tag or its architecture says it.
    """

    images: dict[str, Any]
    note: str = ""


def images_of_file(architecture: str, tag: str, path: Path) -> ImagesOfFile:
    """How the weights of a file want their images.

    Args:
        architecture: As it was named.
        tag: Of the weights; empty where none was named.
        path: The file.

    Raises:
        WeightsError: If the configuration beside the file cannot be read, or has the other activation.
    """
    if tag:
        return ImagesOfFile(_of_tag(architecture, tag))
    if (beside := path.parent / OPEN_CLIP).is_file():
        return ImagesOfFile(_beside(beside, architecture, path))
    tags = import_open_clip().list_pretrained_tags_by_model(architecture)
    by_tag = {name: _of_tag(architecture, name) for name in tags}
    if len({json.dumps(images, sort_keys=True) for images in by_tag.values()}) == 1:
        return ImagesOfFile(next(iter(by_tag.values())))
    others = [name for name, images in by_tag.items() if images != _plain(_OPENAI)]
    advice = f" (weights {others[0]!r} have others: {architecture}/{others[0]}:FILE)" if others else ""
    return ImagesOfFile(
        _plain(_OPENAI),
        f"model {architecture}:{path.name}: nothing says how its images are normalised; OpenAI's mean and standard "
        f"deviation are assumed: name the tag of the weights{advice}, or put {OPEN_CLIP} beside the file",
    )


def input_digest(architecture: str, tag: str, path: Path) -> str:
    """What the images of a file's weights add to its identity: nothing where they are as OpenAI's."""
    images = images_of_file(architecture, tag, path).images
    if images == _plain(_OPENAI):
        return ""
    return f"+images:{hashlib.sha256(json.dumps(images, sort_keys=True).encode()).hexdigest()[:8]}"


def _of_tag(architecture: str, tag: str) -> dict[str, Any]:
    return _plain({**_OPENAI, **_said(import_open_clip().get_pretrained_cfg(architecture, tag) or {})})


def _beside(file: Path, architecture: str, path: Path) -> dict[str, Any]:
    try:
        content = load_json(file, SMALL)
    except DocumentError as error:
        raise WeightsError(str(error)) from error
    parts = [content.get(key, {}) if isinstance(content, dict) else None for key in ("model_cfg", "preprocess_cfg")]
    model, images = parts
    if not isinstance(model, dict) or not isinstance(images, dict):
        raise WeightsError(f"{file} has no model_cfg: it is no configuration of open_clip; correct or remove it")
    named = import_open_clip().get_model_config(architecture) or {}
    if model and bool(model.get("quick_gelu")) != bool(named.get("quick_gelu")):
        has = "has" if model.get("quick_gelu") else "has not"
        raise WeightsError(
            f"model {architecture}:{path.name}: {file.name} beside it {has} quick_gelu, {architecture} is otherwise: "
            f"use --model local-dir:{path.parent}"
        )
    return _plain({**_OPENAI, **_said(images)})


def _said(images: Mapping[str, Any]) -> dict[str, Any]:
    return {key: images[key] for key in _KEYS if images.get(key) is not None}


def _plain(images: Mapping[str, Any]) -> dict[str, Any]:
    """With lists in the place of tuples, so that equal ones are equal."""
    return {key: list(value) if isinstance(value, (list, tuple)) else value for key, value in images.items()}
