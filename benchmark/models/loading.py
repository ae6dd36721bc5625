"""Named CLIPs: the small ones that ship with the package, any open_clip architecture and weights, local files, BLIP.

| `--model` | what it is |
|---|---|
| `shapes-resnet`, `shapes-vit`, `micro`, `mini` | compact files of this package |
| `ViT-B-32/openai` | an open_clip architecture and weights tag (downloaded by open_clip, then cached) |
| `ViT-B-16:path/to/file` | an open_clip architecture and a local checkpoint, see `benchmark.models.state_dicts` |
| `ViT-L-14/laion2b_s32b_b82k:path/to/file` | the same with the activation and the image statistics of a weights tag |
| `path/to/config.json:path/to/file` | a configuration of open_clip and a local checkpoint |
| `local-dir:path/to/folder` | a folder in the format of open_clip or of transformers, also without `local-dir:` |
| `hf-hub:ORG/NAME` | the same from the Hugging Face hub; `@REVISION` may follow |
| `path/to/file.safetensors` | a compact file that `pretrain` wrote, or weights beside an `open_clip_config.json` |
| `blip:path/to/folder` | a BLIP for image-text retrieval in Hugging Face's format (extra `blip`) |
| `blip/Salesforce/blip-itm-base-coco` | the same from the hub; `@REVISION` may follow |
| `memory:NAME` | a model that was in the memory of one Python process; it cannot be loaded again |

`?tokenizer=DIR` may follow each of open_clip's: the folder of a tokenizer that is otherwise fetched from the hub.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from benchmark.models.blip import load_blip
from benchmark.models.blip_folder import BLIP, blip_folder, parse_blip
from benchmark.models.building import built
from benchmark.models.checkpoints import check_checkpoint, check_finite, read_state_dict
from benchmark.models.compact import file_sha256, load_compact, read_architecture
from benchmark.models.hub import fetched_folder, fetched_settings, hub_identity, parse_hub
from benchmark.models.image_input import of_model
from benchmark.models.model_folder import HUB, LOCAL, OPEN_CLIP, is_model_folder, model_folder, settings_of
from benchmark.models.open_clip_import import import_open_clip
from benchmark.models.registry import WEIGHTS, architecture_name, recipe_names, shipped_models
from benchmark.models.state_dicts import check_fits, in_the_form_of, named_as
from benchmark.models.tensor_files import WeightsError, read_header
from benchmark.models.tokenizers import CONFIG, hub_tokenizer, split_tokenizer, tokenizer_identity, tokenizer_of
from benchmark.models.transformers_names import from_transformers, is_of_transformers
from benchmark.models.weights_input import images_of_file, input_digest
from datamodules.common.card import MEMORY_SCHEME
from datamodules.common.errors import UnknownNameError
from methods.common.clip import Clip, Scale, state_hash

MEMORY = MEMORY_SCHEME.removesuffix(":")

OPENAI_SCALARS = ("input_resolution", "context_length", "vocab_size")
"""Numbers that OpenAI's releases carry in the state dict, and no others."""


def model_identity(name: str) -> str:
    """What identifies a model's weights in a cell key, without loading them: a tag, or a file's sha256.

    Whatever else can change a number is in it: the image statistics of a file, the tokenizer of a folder. A BLIP on the
    hub is fetched for it: its files are what identifies it.

    Raises:
        UnknownNameError: If the name is of no known form, or the architecture does not exist.
        WeightsError: If a file is missing.
    """
    architecture, tag, path = parse_model(name)
    if architecture == MEMORY:
        raise _gone(name)
    if architecture == BLIP:
        return blip_folder(name, tag, path).identity
    folder = split_tokenizer(name)[1]
    tokenizer = f"+{tokenizer_identity(folder)}" if folder is not None else ""
    if architecture == HUB:
        return hub_identity(name, tag) + tokenizer
    if path is not None:
        if architecture == LOCAL:
            return model_folder(name, path, Path(tag) if tag else None).identity + tokenizer
        if not path.exists():
            raise WeightsError(f"model {name!r}: no file {path}; check the path after the colon")
        check_checkpoint(path)
        statistics = "" if architecture == "compact" else input_digest(architecture, tag, path)
        return f"{built_architecture(architecture, tag)}:{file_sha256(path)[:16]}{statistics}{tokenizer}"
    return f"{architecture}/{tag}{tokenizer}"


def parse_model(name: str) -> tuple[str, str, Path | None]:
    """Split a model name into (architecture, weights tag, file or folder).

    A compact file has architecture "compact", a BLIP "blip", a model in memory "memory". A folder has "local-dir" and
    as its tag the configuration that was named, if one was; a model of the hub has "hf-hub" and ORG/NAME.

    Raises:
        UnknownNameError: If it is of no known form.
    """
    name = split_tokenizer(name)[0]
    if name in shipped_models():
        return "compact", "", WEIGHTS / f"{name}.safetensors"
    if name.endswith(".safetensors") and ":" not in name:
        path = Path(name).expanduser()
        return ("compact" if not _beside_config(path) else LOCAL), "", path
    if name in recipe_names():
        raise WeightsError(
            f"model {name!r} is not in the package: make it with `python -m benchmark pretrain {name}` "
            f"and name the file, as in --model {name}.safetensors"
        )
    if architecture_name(name) == BLIP:
        return parse_blip(name)
    if name.startswith(MEMORY_SCHEME):
        return MEMORY, "", None
    if name.startswith(f"{HUB}:"):
        return HUB, parse_hub(name), None
    if name.startswith(f"{LOCAL}:"):
        return LOCAL, "", Path(name.removeprefix(f"{LOCAL}:")).expanduser()
    if ":" in name:
        architecture, _, file = name.partition(":")
        if architecture.endswith(".json"):
            return LOCAL, str(Path(architecture).expanduser()), Path(file).expanduser()
        architecture, slash, tag = architecture.partition("/")
        _check_architecture(architecture)
        if slash:
            _check_tag(architecture, tag)
        return architecture, tag, Path(file).expanduser()
    if is_model_folder(Path(name).expanduser()) and architecture_name(name) not in _architectures():
        return LOCAL, "", Path(name).expanduser()
    if "/" in name:
        architecture, _, tag = name.partition("/")
        _check_architecture(architecture)
        _check_tag(architecture, tag)
        return architecture, tag, None
    raise UnknownNameError(
        "model",
        name,
        shipped_models(),
        hint="(or ARCHITECTURE/TAG, or ARCHITECTURE:FILE, with open_clip's names; local-dir:DIR; hf-hub:ORG/NAME; or "
        "blip:DIR)",
    )


def statistics_note(name: str) -> str:
    """What is assumed of how the weights of a local file want their images, in one line; empty where nothing is."""
    architecture, tag, path = parse_model(name)
    if path is None or architecture in ("compact", BLIP, LOCAL):
        return ""
    return images_of_file(architecture, tag, path).note


def _beside_config(path: Path) -> bool:
    """Whether a safetensors file is no compact one, but has its configuration beside it."""
    if not path.is_file() or not (path.parent / OPEN_CLIP).is_file():
        return False
    return "architecture" not in read_header(path).metadata


def _architectures() -> list[str]:
    return cast(list[str], import_open_clip().list_models())


def _check_architecture(architecture: str) -> None:
    if architecture not in _architectures():
        raise UnknownNameError("open_clip architecture", architecture, _architectures())


def _check_tag(architecture: str, tag: str) -> None:
    tags = import_open_clip().list_pretrained_tags_by_model(architecture)
    if tag not in tags:
        raise UnknownNameError(f"weights of {architecture}", tag, tags)


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
    if architecture == HUB:
        return _from_folder(name, fetched_folder(name, tag))
    if architecture == LOCAL and path is not None:
        return _from_folder(name, path, Path(tag) if tag else None)
    config, tokenizer = _config(architecture, tag), split_tokenizer(name)[1]
    if path is not None:
        images = images_of_file(architecture, tag, path).images
        built_name = built_architecture(architecture, tag)
        model = _with_weights(name, built_name, config, path, read_state_dict(path), images, tokenizer)
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
                f"use --model {_quickgelu(architecture)}:{path}"
            )
        state = {key: value for key, value in state.items() if key not in OPENAI_SCALARS}
    if is_of_transformers(state):
        architecture += " (the file has the names of Hugging Face transformers)"
        state = from_transformers(state)
    expected = built(config, name, device="meta", text_folder=text_folder).state_dict()
    state = in_the_form_of(named_as(state, (*expected, *_other_forms(expected)), path), expected)
    try:
        check_fits(path, architecture, state, expected)
        check_finite(path, state)
    except WeightsError as error:
        raise WeightsError(f"model {name!r}: {error}") from error
    model = built(config, name, images=images, text_folder=text_folder)
    model.load_state_dict({key: value.float() for key, value in state.items()}, strict=False)
    return model


def _other_forms(expected: Mapping[str, Tensor]) -> list[str]:
    """The names of the same model in open_clip's other class, whose text tower stands elsewhere."""
    inner = [name.removeprefix("text.") for name in expected if name.startswith("text.")]
    return inner or [f"text.{name}" for name in expected if not name.startswith(("visual.", "logit_"))]


def _config(architecture: str, tag: str) -> dict[str, Any]:
    """open_clip's configuration of the architecture that is built for a weights tag."""
    config = import_open_clip().get_model_config(built_architecture(architecture, tag))
    return cast(dict[str, Any], config)


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


def needs_tokenizer(name: str) -> bool:
    """Whether a model takes another tokenizer than CLIP's own."""
    if parse_model(name)[0] in (MEMORY, BLIP, "compact"):
        return False
    return bool(hub_tokenizer(model_config(name)["text_cfg"]))


def model_config(name: str) -> dict[str, Any]:
    """open_clip's configuration of a model that is no compact file and no BLIP.

    Raises:
        WeightsError: If its folder or its place on the hub has none.
    """
    architecture, tag, path = parse_model(name)
    if architecture == HUB:
        return settings_of(name, fetched_settings(name, tag)).model
    if architecture == LOCAL and path is not None:
        return model_folder(name, path, Path(tag) if tag else None).config
    return _config(architecture, tag)


def _gone(name: str) -> WeightsError:
    return WeightsError(f"model {name!r} was in the memory of a Python process: it cannot be loaded by its name")


def built_architecture(architecture: str, tag: str) -> str:
    """The open_clip architecture that is built for a weights tag: with QuickGELU where the tag was trained with it.

    open_clip keeps that with the tag and builds what the architecture's name says, with a warning: OpenAI's weights
    and a dozen others would compute something else than they were trained to.
    """
    about = import_open_clip().get_pretrained_cfg(architecture, tag) or {} if tag else {}
    return _quickgelu(architecture) if about.get("quick_gelu") else architecture


def is_openai_state(state: Mapping[str, torch.Tensor]) -> bool:
    """Whether a state dict is one of OpenAI's releases."""
    return set(OPENAI_SCALARS) <= set(state)


def _quickgelu(architecture: str) -> str:
    open_clip = import_open_clip()

    if (open_clip.get_model_config(architecture) or {}).get("quick_gelu"):
        return architecture
    wanted = f"{architecture}-quickgelu"
    return wanted if wanted in open_clip.list_models() else architecture


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
