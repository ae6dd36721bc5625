"""Whether the weights of a tag and a tokenizer are here: what `plan` says, since the first run would fetch them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from benchmark.models.blip_folder import BLIP
from benchmark.models.model_folder import HUB, LOCAL, settings_of
from benchmark.models.naming import MEMORY, architecture_config, built_architecture, parse_model
from benchmark.models.registry import shipped_models
from benchmark.models.tensor_files import WeightsError
from benchmark.models.tokenizers import BESIDE, EXTRA, FILES, hub_tokenizer, split_tokenizer

WEIGHTS_OF_HUB = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""The names under which open_clip looks for weights in a repository, unless the tag names another."""
CACHE_OF_ADDRESSES = Path("~/.cache/clip")
"""Where open_clip keeps what it fetches from an address."""


def to_fetch(name: str) -> str:
    """What the first run of a model will fetch, from where and to where; empty where nothing is to be fetched.

    Args:
        name: The model as the user names it; one whose files are named by it needs no weights, and perhaps a tokenizer.
    """
    if name in shipped_models():
        return ""
    told = "; ".join(filter(None, (_weights_to_fetch(name), _tokenizer_to_fetch(name))))
    return f"model {name!r}: {told}" if told else ""


def _weights_to_fetch(name: str) -> str:
    architecture, tag, path = parse_model(name)
    if path is not None or not tag or "/" in tag:
        return ""
    from benchmark.models.open_clip_import import import_open_clip

    about = import_open_clip().get_pretrained_cfg(built_architecture(architecture, tag), tag) or {}
    hub, address = str(about.get("hf_hub") or ""), str(about.get("url") or "")
    if hub:
        from huggingface_hub import constants, try_to_load_from_cache

        repository, _, file = hub.rpartition("/")
        files = (file, f"{file.rpartition('.')[0]}.safetensors") if file else WEIGHTS_OF_HUB
        if any(isinstance(try_to_load_from_cache(repository, each), str) for each in files):
            return ""
        where, target = f"https://huggingface.co/{repository}", constants.HF_HUB_CACHE
    elif address:
        kept = CACHE_OF_ADDRESSES.expanduser() / address.rpartition("/")[2]
        if kept.is_file():
            return ""
        where, target = address, str(kept)
    else:
        return ""
    return (
        f"its weights are not on this machine; `run` fetches them from {where} into {target}; where "
        f"there is no network, copy the file here and use --model {architecture}/{tag}:FILE"
    )


def _tokenizer_to_fetch(name: str) -> str:
    """What is said of a tokenizer that is not here, or of the package that reads it; empty for CLIP's own."""
    architecture, tag, path = parse_model(name)
    if architecture in (MEMORY, BLIP, HUB, "compact"):
        return ""
    try:
        if architecture == LOCAL and path is not None:
            settings = settings_of(name, path if path.is_dir() else path.parent, Path(tag) if tag else None)
            folder, text = settings.tokenizer, settings.model["text_cfg"]
        else:
            folder, text = None, architecture_config(architecture, tag)["text_cfg"]
    except WeightsError:
        return ""  # told with the model's other files
    source = hub_tokenizer(text)
    if not source or source == BESIDE:
        return ""
    told = ""
    if folder is None and split_tokenizer(name)[1] is None:
        from huggingface_hub import constants, try_to_load_from_cache

        if not any(isinstance(try_to_load_from_cache(source, file), str) for file in FILES):
            told = (
                f"its tokenizer {source} is not on this machine; `run` fetches it from https://huggingface.co/{source} "
                f"into {constants.HF_HUB_CACHE}; where there is no network, copy its files into a folder and use "
                "--tokenizer DIR"
            )
    if find_spec("transformers") is None:
        told = f"{told}; " * bool(told) + f"its tokenizer needs transformers: {EXTRA}"
    return told
