"""Whether the weights of a tag are on this machine: what `plan` says of them, since the first run would fetch them."""

from __future__ import annotations

from pathlib import Path

from benchmark.models.naming import built_architecture, parse_model
from benchmark.models.registry import shipped_models

WEIGHTS_OF_HUB = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""The names under which open_clip looks for weights in a repository, unless the tag names another."""
CACHE_OF_ADDRESSES = Path("~/.cache/clip")
"""Where open_clip keeps what it fetches from an address."""


def to_fetch(name: str) -> str:
    """What the first run of a model will fetch, from where and to where; empty where nothing is to be fetched.

    Args:
        name: The model as the user names it; one whose files are named by it needs nothing.
    """
    if name in shipped_models():
        return ""
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
        f"model {name!r}: its weights are not on this machine; `run` fetches them from {where} into {target}; where "
        f"there is no network, copy the file here and use --model {architecture}/{tag}:FILE"
    )
