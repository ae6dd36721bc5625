"""Named CLIPs: the small ones that ship with the package, any open_clip architecture and weights, local files, BLIP.

Their names are explained in `benchmark.models.naming`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from benchmark.models.blip import load_blip
from benchmark.models.blip_folder import BLIP, blip_folder
from benchmark.models.building import built
from benchmark.models.checkpoints import check_finite, read_state_dict
from benchmark.models.compact import load_compact, read_architecture
from benchmark.models.hub import fetched_folder
from benchmark.models.image_input import of_model
from benchmark.models.model_folder import HUB, LOCAL, model_folder
from benchmark.models.naming import (
    MEMORY,
    architecture_config,
    built_architecture,
    gone,
    model_config,
    parse_model,
    with_quickgelu,
)
from benchmark.models.open_clip_import import import_open_clip
from benchmark.models.registry import shipped_models
from benchmark.models.state_dicts import check_fits, in_the_form_of, named_as
from benchmark.models.tensor_files import WeightsError
from benchmark.models.tokenizers import CONFIG, split_tokenizer, tokenizer_of
from benchmark.models.transformers_names import from_transformers, is_of_transformers
from benchmark.models.weights_input import images_of_file
from methods.common.added import AddedModuleError, host_of, put_tensors
from methods.common.clip import Clip, Scale, state_hash

OPENAI_SCALARS = ("input_resolution", "context_length", "vocab_size")
"""Numbers that OpenAI's releases carry in the state dict, and no others."""
_OF_FOLDER = (
    "use the folder that holds the file beside its config.json, --model local-dir:DIR, or open_clip's file of the same "
    "model"
)
"""What helps where a file of transformers does not fit the architecture that was named."""


def load_clip(name: str) -> Clip:
    """Load a CLIP on the CPU, in evaluation mode, fp32.

    Raises:
        WeightsError: If the weights are missing, do not fit, or are OpenAI's in an architecture without QuickGELU.
    """
    architecture, tag, path = parse_model(name)
    if architecture == MEMORY:
        raise gone(name)
    if architecture == BLIP:
        return load_blip(blip_folder(name, tag, path))
    if architecture == "compact" and path is not None:
        return load_compact(path, path.stem if name in shipped_models() else name)
    if architecture == HUB:
        return _from_folder(name, fetched_folder(name, tag))
    if architecture == LOCAL and path is not None:
        return _from_folder(name, path, Path(tag) if tag else None)
    config, tokenizer = architecture_config(architecture, tag), split_tokenizer(name)[1]
    if path is not None:
        images = images_of_file(architecture, tag, path).images
        built_name = built_architecture(architecture, tag)
        state = read_state_dict(path)
        try:
            model = _with_weights(name, built_name, config, path, state, images, tokenizer)
        except WeightsError as error:
            if not is_of_transformers(state):
                raise
            raise WeightsError(f"{error}; {_OF_FOLDER}") from error
    else:
        model = _of_tag(name, architecture, tag, config["text_cfg"], tokenizer)
    return wrap(model, config["text_cfg"], name, tokenizer)


def _of_tag(name: str, architecture: str, tag: str, text: Mapping[str, Any], tokenizer: Path | None) -> nn.Module:
    """The model of a weights tag, as open_clip fetches and loads it."""
    open_clip, built_name = import_open_clip(), built_architecture(architecture, tag)
    replaced: dict[str, Any] = {}
    if "hf_model_name" in text and tokenizer is not None and (tokenizer / CONFIG).is_file():
        replaced["text_cfg"] = {**text, "hf_model_name": str(tokenizer), "hf_model_pretrained": False}
    try:
        model = open_clip.create_model(built_name, pretrained=tag, device="cpu", precision="fp32", **replaced)
        return cast(nn.Module, model)
    except (OSError, RuntimeError, ValueError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(
            f"model {name!r}: its weights could not be fetched or loaded ({first}); on a machine without network, copy "
            f"the checkpoint here and use --model {architecture}/{tag}:FILE"
        ) from error


def _from_folder(name: str, path: Path, config: Path | None = None) -> Clip:
    folder = model_folder(name, path, config)
    tokenizer = split_tokenizer(name)[1] or folder.tokenizer
    where = folder.weights[0]
    model = _with_weights(name, "its configuration", folder.config, where, folder.state(), folder.images, tokenizer)
    clip = wrap(model, folder.config["text_cfg"], name, tokenizer)
    clip.scale = cast(Scale, folder.scale)
    return clip


def _with_weights(
    name: str,
    architecture: str,
    config: Mapping[str, Any],
    path: Path,
    state: Mapping[str, Tensor],
    images: Mapping[str, Any],
    text_folder: Path | None,
) -> nn.Module:
    """A model of a configuration with the weights of a file, in whatever form they are.

    Nothing is built before the tensors are known to fit.
    """
    if is_openai_state(state):
        if not config.get("quick_gelu"):
            raise WeightsError(
                f"model {name!r}: {path.name} holds OpenAI weights, which need QuickGELU; "
                f"use --model {with_quickgelu(architecture)}:{path}"
            )
        state = {key: value for key, value in state.items() if key not in OPENAI_SCALARS}
    if is_of_transformers(state):
        architecture += " (the file has the names of Hugging Face transformers)"
        state = from_transformers(state)
    added = {key: value for key, value in state.items() if host_of(key)}
    state = {key: value for key, value in state.items() if key not in added}
    expected = built(config, name, device="meta", text_folder=text_folder).state_dict()
    state = in_the_form_of(named_as(state, (*expected, *_other_forms(expected)), path), expected)
    try:
        check_fits(path, architecture, state, expected)
        check_finite(path, {**state, **added})
    except WeightsError as error:
        raise WeightsError(f"model {name!r}: {error}") from error
    model = built(config, name, images=images, text_folder=text_folder)
    model.load_state_dict({key: value.float() for key, value in state.items()}, strict=False)
    try:
        put_tensors(model, {key: value.float() for key, value in added.items()})
    except (AddedModuleError, RuntimeError) as error:
        raise WeightsError(f"model {name!r}: {path}: {error}") from error
    return model


def _other_forms(expected: Mapping[str, Tensor]) -> list[str]:
    """The names of the same model in open_clip's other class, whose text tower stands elsewhere."""
    inner = [name.removeprefix("text.") for name in expected if name.startswith("text.")]
    return inner or [f"text.{name}" for name in expected if not name.startswith(("visual.", "logit_"))]


def skeleton(name: str) -> nn.Module | None:
    """A model without weights, on the device "meta": what parts it has. None for a BLIP and for models in memory.

    Raises:
        WeightsError: If open_clip cannot build it.
    """
    architecture, _, path = parse_model(name)
    if architecture in (MEMORY, BLIP):
        return None
    if architecture == "compact" and path is not None:
        with torch.device("meta"):
            return read_architecture(path, name).build()
    return built(model_config(name), name, device="meta", text_folder=split_tokenizer(name)[1])


def is_openai_state(state: Mapping[str, torch.Tensor]) -> bool:
    """Whether a state dict is one of OpenAI's releases."""
    return set(OPENAI_SCALARS) <= set(state)


def wrap(model: nn.Module, text: Mapping[str, Any], name: str, tokenizer: Path | None = None) -> Clip:
    """A CLIP around an open_clip model, with its tokenizer and preprocessing.

    Args:
        model: The model.
        text: open_clip's `text_cfg`, which says which tokenizer is needed.
        name: The model as the user named it.
        tokenizer: The folder of a tokenizer that is not CLIP's own.

    Raises:
        WeightsError: If the tokenizer cannot be had, or does not fit the model.
    """
    preprocessing = of_model(model)
    model.to(memory_format=cast(Any, torch.channels_last))
    model.eval()
    return Clip(model, tokenizer_of(text, name, tokenizer), preprocessing, name)


def weights_hash(clip: Clip) -> str:
    """sha256 of all weights of a loaded CLIP, for the record."""
    return state_hash(clip.model, lambda _: True)
