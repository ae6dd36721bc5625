"""`open_clip_config.json`: the architecture as open_clip builds it, and the preprocessing that was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import benchmark.models
import methods.common.added
from benchmark.models.blip_folder import BLIP
from benchmark.models.compact import TRUNK, TRUNKS, VOCABULARY, ClipTokenizer, read_architecture
from benchmark.models.model_folder import SCALE
from benchmark.models.naming import MEMORY, model_config, parse_model
from datamodules.common.errors import BenchmarkError
from methods.common.clip import Clip

TRUNK_MODULE = "clip_trunks"
"""The module of an exported folder that registers an image trunk of ours with timm; it is imported first."""

ADDED_MODULE = "added_modules"
"""The module of an exported folder that builds what a method added to the model, and loads it."""


class ExportError(BenchmarkError):
    """A model that a folder in open_clip's format cannot carry, or a folder that cannot be written."""


def check_exportable(model: str) -> None:
    """Find out before any work whether a model can be exported.

    Args:
        model: As a record names it.

    Raises:
        ExportError: If it is none of open_clip's.
    """
    if parse_model(model)[0] == MEMORY:
        raise ExportError(
            f"model {model!r} was given from memory, which does not say its architecture: export it from Python with "
            "architecture=..., such as ViT-B-32"
        )
    if parse_model(model)[0] == BLIP:
        raise ExportError(
            f"model {model!r} is a BLIP, which open_clip does not load: only CLIPs are exported; "
            "`run --save-weights` keeps its edited tensors as safetensors"
        )


def check_no_filter(clip: Clip) -> None:
    """Find out whether a model forgets in its weights.

    Raises:
        ExportError: If it refuses names at inference instead.
    """
    if clip.refused:
        raise ExportError(
            f"{clip.name} filters answers and leaves the weights as they are: an exported model would forget nothing; "
            "export the model of a method that edits weights"
        )


def open_clip_config(model: str, clip: Clip) -> dict[str, Any]:
    """What open_clip needs to build a model and its transforms.

    The preprocessing is the one under which the numbers were measured.

    Args:
        model: As a record names it.
        clip: The loaded model.
    """
    return {
        "model_cfg": _model_config(model),
        "preprocess_cfg": {
            "size": clip.preprocessing.image_size,
            "mean": list(clip.preprocessing.mean),
            "std": list(clip.preprocessing.std),
            "interpolation": clip.preprocessing.interpolation,
            "resize_mode": clip.preprocessing.resize,
        },
        **({SCALE: clip.scale} if clip.scale != "published" else {}),
    }


def _model_config(model: str) -> dict[str, Any]:
    architecture, _, path = parse_model(model)
    if architecture == "compact" and path is not None:
        compact = read_architecture(path, model)
        text = {**compact.text, "vocab_size": VOCABULARY}
        return {"embed_dim": compact.embed_dim, "vision_cfg": dict(compact.vision), "text_cfg": text}
    return model_config(model)


def needs_trunk(model: str) -> bool:
    """Whether open_clip can build a model only after `TRUNK_MODULE` was imported.

    Args:
        model: As a record names it.
    """
    return _model_config(model)["vision_cfg"].get(TRUNK) in TRUNKS


def trunk_source() -> bytes:
    """The source of the module that registers our image trunks: it imports torch and timm alone."""
    return (Path(benchmark.models.__file__).parent / "trunks.py").read_bytes()


def added_source() -> bytes:
    """The source of the module that builds what a method added to a model: it imports torch and open_clip alone."""
    return Path(methods.common.added.__file__).read_bytes()


def write_tokenizer(clip: Clip, folder: Path) -> None:
    """Write the tokenizer's files where the model needs other than CLIP's own, which open_clip has.

    Raises:
        ExportError: If it is one that open_clip cannot read from a folder.
    """
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    tokenize: Any = clip.tokenize
    if isinstance(tokenize, HFTokenizer):
        tokenize.tokenizer.save_pretrained(str(folder))
        text_config: Any = getattr(getattr(clip.model, "text", None), "config", None)
        if text_config is not None:  # of a text tower of transformers: without it, it would be fetched
            text_config.save_pretrained(str(folder))
    elif not isinstance(tokenize, (ClipTokenizer, SimpleTokenizer)):
        raise ExportError(
            f"model {clip.name!r} has a tokenizer ({type(tokenize).__name__}) that open_clip cannot read from a "
            "folder: it cannot be exported"
        )
