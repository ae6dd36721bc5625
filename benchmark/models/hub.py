"""Models of the Hugging Face hub: `hf-hub:ORG/NAME`, or `hf-hub:ORG/NAME@REVISION`.

Configuration and tokenizer are fetched first, which is all that `plan` needs: the commit identifies the weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmark.models.model_folder import HUB, is_model_folder, shards_of, weights_among
from benchmark.models.tensor_files import WeightsError, first_line

_SETTINGS = ("*.json", "vocab.txt", "merges.txt", "*.model")
"""What is small: configurations and tokenizers."""


def hub_identity(name: str, tag: str) -> str:
    """What identifies a model of the hub in a cell's key: its commit.

    Args:
        name: The model as the user named it, for messages.
        tag: ORG/NAME or ORG/NAME@REVISION.

    Raises:
        WeightsError: If it cannot be fetched.
    """
    return f"{HUB}:{tag.partition('@')[0]}@{fetched_settings(name, tag).name[:16]}"


def fetched_settings(name: str, tag: str) -> Path:
    """The folder of a model's configuration and tokenizer, fetched or from the cache of the hub.

    Raises:
        WeightsError: If they cannot be fetched.
    """
    from huggingface_hub import snapshot_download

    repository, _, revision = tag.partition("@")
    wanted: Any = list(_SETTINGS)
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=wanted))
    except Exception as error:
        raise _not_fetched(name, repository, error) from error


def fetched_folder(name: str, tag: str) -> Path:
    """The folder of a model with its weights, fetched or from the cache of the hub.

    Raises:
        WeightsError: If it cannot be fetched, or holds no weights.
    """
    from huggingface_hub import list_repo_files, snapshot_download

    folder, (repository, _, revision) = fetched_settings(name, tag), tag.partition("@")
    if not is_model_folder(folder):
        raise WeightsError(
            f"model {name!r}: {repository} on the hub has neither open_clip_config.json nor config.json: it is no model"
        )
    if not (files := weights_among(file.name for file in folder.iterdir() if not file.name.endswith(".json"))):
        try:
            files = weights_among(list_repo_files(repository, revision=revision or None))
        except Exception as error:
            raise _not_fetched(name, repository, error) from error
    if not files:
        raise WeightsError(f"model {name!r}: {repository} on the hub has no weights that are known here")
    wanted = [*files, *(shards_of(folder / files[0]) if files[0].endswith(".json") else [])]
    try:
        return Path(snapshot_download(repository, revision=folder.name, allow_patterns=wanted))
    except Exception as error:
        raise _not_fetched(name, repository, error) from error


def parse_hub(name: str) -> str:
    """ORG/NAME or ORG/NAME@REVISION of a model's name.

    Raises:
        WeightsError: If it is not of that form.
    """
    tag = name.removeprefix(f"{HUB}:")
    owner, _, model = tag.partition("@")[0].partition("/")
    if not owner or not model or "/" in model:
        raise WeightsError(f"model {name!r} is not of the form {HUB}:ORG/NAME or {HUB}:ORG/NAME@REVISION")
    return tag


def _not_fetched(name: str, repository: str, error: BaseException) -> WeightsError:
    return WeightsError(
        f"model {name!r} could not be fetched from the hub ({first_line(error)}); where there is a network, run "
        f"`huggingface-cli download {repository} --local-dir DIR`, copy DIR here and use --model local-dir:DIR"
    )
