"""Named CLIPs: the small ones that ship with the package, any open_clip architecture and weights, local files, BLIP.

| `--model` | what it is |
|---|---|
| `shapes-resnet`, `shapes-vit`, `mini` | compact files of this package |
| `ViT-B-32/openai` | an open_clip architecture and weights tag (downloaded by open_clip, then cached) |
| `ViT-B-16:path/to/file` | an open_clip architecture and a local checkpoint (OpenAI archive, state dict, safetensors) |
| `path/to/file.safetensors` | a compact file that `pretrain` wrote |
| `blip:path/to/folder` | a BLIP for image-text retrieval in Hugging Face's format (extra `blip`) |
| `blip/Salesforce/blip-itm-base-coco` | the same from the hub; `@REVISION` may follow |
| `memory:NAME` | a model that was in the memory of one Python process; it cannot be loaded again |
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmark.models.blip import load_blip
from benchmark.models.blip_folder import BLIP, blip_folder, parse_blip
from benchmark.models.checkpoints import check_checkpoint, check_finite, check_shapes, read_state_dict
from benchmark.models.compact import file_sha256, load_compact
from benchmark.models.image_input import of_model
from benchmark.models.open_clip_import import import_open_clip
from benchmark.models.registry import WEIGHTS, architecture_name, recipe_names, shipped_models
from benchmark.models.tensor_files import WeightsError
from datamodules.common.card import MEMORY_SCHEME
from datamodules.common.errors import UnknownNameError
from methods.common.clip import Clip, state_hash

MEMORY = MEMORY_SCHEME.removesuffix(":")

OPENAI_SCALARS = ("input_resolution", "context_length", "vocab_size")
"""Numbers that OpenAI's releases carry in the state dict, and no others."""


def model_identity(name: str) -> str:
    """What identifies a model's weights in a cell key, without loading them: a tag, or a file's sha256.

    A BLIP on the hub is fetched for it: its files are what identifies it.

    Raises:
        UnknownNameError: If the name is of no known form, or the architecture does not exist.
        WeightsError: If a file is missing.
    """
    architecture, tag, path = parse_model(name)
    if architecture == MEMORY:
        raise _gone(name)
    if architecture == BLIP:
        return blip_folder(name, tag, path).identity
    if path is not None:
        if not path.exists():
            raise WeightsError(f"model {name!r}: no file {path}; check the path after the colon")
        check_checkpoint(path)
        return f"{architecture}:{file_sha256(path)[:16]}"
    return f"{architecture}/{tag}"


def parse_model(name: str) -> tuple[str, str, Path | None]:
    """Split a model name into (architecture, weights tag, file or folder).

    A compact file has architecture "compact", a BLIP "blip", a model in memory "memory".

    Raises:
        UnknownNameError: If it is of no known form.
    """
    if name in shipped_models():
        return "compact", "", WEIGHTS / f"{name}.safetensors"
    if name.endswith(".safetensors") and ":" not in name:
        return "compact", "", Path(name)
    if name in recipe_names():
        raise WeightsError(
            f"model {name!r} is not in the package: make it with `python -m benchmark pretrain {name}` "
            f"and name the file, as in --model {name}.safetensors"
        )
    if architecture_name(name) == BLIP:
        return parse_blip(name)
    if name.startswith(MEMORY_SCHEME):
        return MEMORY, "", None
    if ":" in name:
        architecture, _, file = name.partition(":")
        _check_architecture(architecture)
        return architecture, "", Path(file).expanduser()
    if "/" in name:
        architecture, _, tag = name.partition("/")
        _check_architecture(architecture)
        open_clip = import_open_clip()

        tags = open_clip.list_pretrained_tags_by_model(architecture)
        if tag not in tags:
            raise UnknownNameError(f"weights of {architecture}", tag, tags)
        return architecture, tag, None
    raise UnknownNameError(
        "model",
        name,
        shipped_models(),
        hint="(or ARCHITECTURE/TAG, or ARCHITECTURE:FILE, with open_clip's names; or blip:DIR)",
    )


def _check_architecture(architecture: str) -> None:
    open_clip = import_open_clip()

    if architecture not in open_clip.list_models():
        raise UnknownNameError("open_clip architecture", architecture, open_clip.list_models())


def load_clip(name: str) -> Clip:
    """Load a CLIP on the CPU, in evaluation mode, fp32.

    Raises:
        WeightsError: If the weights are missing, do not fit, or are OpenAI's in an architecture without QuickGELU.
    """
    architecture, tag, path = parse_model(name)
    if architecture == MEMORY:
        raise _gone(name)
    if architecture == BLIP:
        return load_blip(blip_folder(name, tag, path))
    if architecture == "compact" and path is not None:
        return load_compact(path, path.stem if name in shipped_models() else name)
    architecture = built_architecture(architecture, tag)
    if path is not None:
        return _from_file(name, architecture, path)
    open_clip = import_open_clip()

    try:
        model = open_clip.create_model(architecture, pretrained=tag, device="cpu", precision="fp32")
    except (OSError, RuntimeError, ValueError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(
            f"model {name!r}: its weights could not be fetched or loaded ({first}); on a machine without network, copy "
            f"the checkpoint here and use --model {architecture}:FILE"
        ) from error
    return wrap(model, architecture, name)


def _gone(name: str) -> WeightsError:
    return WeightsError(f"model {name!r} was in the memory of a Python process: it cannot be loaded by its name")


def built_architecture(architecture: str, tag: str) -> str:
    """The open_clip architecture that is built for a weights tag: with QuickGELU where the tag was trained with it.

    open_clip keeps that with the tag and builds what the architecture's name says, with a warning: OpenAI's weights
    and a dozen others would compute something else than they were trained to.
    """
    about = import_open_clip().get_pretrained_cfg(architecture, tag) or {}
    return _quickgelu(architecture) if about.get("quick_gelu") else architecture


def _from_file(name: str, architecture: str, path: Path) -> Clip:
    state = read_state_dict(path)
    if is_openai_state(state):
        if not _uses_quickgelu(architecture):
            raise WeightsError(
                f"model {name!r}: {path.name} holds OpenAI weights, which need QuickGELU; "
                f"use --model {_quickgelu(architecture)}:{path}"
            )
        for key in OPENAI_SCALARS:
            state.pop(key, None)
    with torch.device("meta"):
        expected = _untrained(architecture, "meta").state_dict()
    state = {key.removeprefix("module."): value for key, value in state.items()}
    wanted = set(expected) - {"attn_mask"}
    state.pop("attn_mask", None)
    wanted -= {key for key in wanted if key.endswith("num_batches_tracked")}  # a counter that evaluation never reads
    state = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    missing, odd = sorted(wanted - set(state)), sorted(set(state) - wanted)
    if missing or odd:
        problem = f"{missing[0]} is missing" if missing else f"{odd[0]} does not belong there"
        raise WeightsError(f"model {name!r}: {path.name} does not fit {architecture}: {problem}")
    check_shapes(path, architecture, state, expected)
    check_finite(path, state)
    model = _untrained(architecture, "cpu")
    try:
        model.load_state_dict({key: value.float() for key, value in state.items()}, strict=False)
    except RuntimeError as error:
        raise WeightsError(
            f"model {name!r}: {path.name} does not fit {architecture}: {str(error).splitlines()[-1].strip()}"
        ) from error
    return wrap(model, architecture, name)


def _untrained(architecture: str, device: str) -> Any:
    """An open_clip model of random weights; on the device "meta" of none, which takes no memory."""
    open_clip = import_open_clip()

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # that its weights are random is what is asked for
    try:
        return open_clip.create_model(architecture, pretrained=None, device=device, precision="fp32")
    finally:
        logging.disable(before)


def is_openai_state(state: Mapping[str, torch.Tensor]) -> bool:
    """Whether a state dict is one of OpenAI's releases."""
    return set(OPENAI_SCALARS) <= set(state)


def _uses_quickgelu(architecture: str) -> bool:
    open_clip = import_open_clip()

    return bool((open_clip.get_model_config(architecture) or {}).get("quick_gelu", False))


def _quickgelu(architecture: str) -> str:
    open_clip = import_open_clip()

    wanted = f"{architecture}-quickgelu"
    if _uses_quickgelu(architecture) or wanted not in open_clip.list_models():
        return architecture
    return wanted


def wrap(model: nn.Module, architecture: str, name: str) -> Clip:
    """A CLIP around an open_clip model, with its tokenizer and preprocessing."""
    open_clip = import_open_clip()

    preprocessing = of_model(model)
    model.to(memory_format=torch.channels_last)
    model.eval()
    return Clip(model, open_clip.get_tokenizer(architecture), preprocessing, name)


def weights_hash(clip: Clip) -> str:
    """sha256 of all weights of a loaded CLIP, for the record."""
    return state_hash(clip.model, lambda _: True)
