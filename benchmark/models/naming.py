"""The names of models: which forms there are, what each stands for, and what identifies its weights. No PyTorch here.

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

from pathlib import Path
from typing import Any, cast

from benchmark.models.blip_folder import BLIP, blip_folder, parse_blip
from benchmark.models.checkpoints import check_checkpoint
from benchmark.models.compact import file_sha256
from benchmark.models.hub import fetched_settings, hub_identity, parse_hub
from benchmark.models.model_folder import HUB, LOCAL, OPEN_CLIP, is_model_folder, model_folder, settings_of
from benchmark.models.open_clip_import import import_open_clip
from benchmark.models.registry import WEIGHTS, architecture_name, recipe_names, shipped_models
from benchmark.models.tensor_files import WeightsError, read_header
from benchmark.models.tokenizers import hub_tokenizer, split_tokenizer, tokenizer_identity
from benchmark.models.weights_input import images_of_file, input_digest
from datamodules.common.card import MEMORY_SCHEME
from datamodules.common.errors import UnknownNameError

MEMORY = MEMORY_SCHEME.removesuffix(":")


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
        raise gone(name)
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
    return architecture_config(architecture, tag)


def gone(name: str) -> WeightsError:
    """The error of a model that was in memory and is asked for by its name."""
    return WeightsError(f"model {name!r} was in the memory of a Python process: it cannot be loaded by its name")


def built_architecture(architecture: str, tag: str) -> str:
    """The open_clip architecture that is built for a weights tag: with QuickGELU where the tag was trained with it.

    open_clip keeps that with the tag and builds what the architecture's name says, with a warning: OpenAI's weights
    and a dozen others would compute something else than they were trained to.
    """
    about = import_open_clip().get_pretrained_cfg(architecture, tag) or {} if tag else {}
    return with_quickgelu(architecture) if about.get("quick_gelu") else architecture


def architecture_config(architecture: str, tag: str) -> dict[str, Any]:
    """open_clip's configuration of the architecture that is built for a weights tag."""
    config = import_open_clip().get_model_config(built_architecture(architecture, tag))
    return cast(dict[str, Any], config)


def with_quickgelu(architecture: str) -> str:
    """The architecture's form with QuickGELU, where open_clip has one."""
    open_clip = import_open_clip()
    if (open_clip.get_model_config(architecture) or {}).get("quick_gelu"):
        return architecture
    wanted = f"{architecture}-quickgelu"
    return wanted if wanted in open_clip.list_models() else architecture
