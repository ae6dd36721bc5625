"""Models that come from Python: an open_clip model in memory as a `Clip`, and weights that were unlearned elsewhere."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from benchmark.models.checkpoints import read_state_dict
from benchmark.models.compact import VOCABULARY, ClipTokenizer, load_compact
from benchmark.models.image_input import TransformError, image_side, of_model, of_transform
from benchmark.models.loading import OPENAI_SCALARS, is_openai_state
from benchmark.models.state_dicts import in_the_form_of, misfit, named_as
from benchmark.models.tensor_files import WeightsError, is_safetensors, read_header
from benchmark.models.transformers_names import from_transformers, is_of_transformers
from datamodules.common.card import MEMORY_SCHEME
from methods.common.clip import Clip

EXPORTED = "open_clip_model.safetensors"
"""The weights in a folder in open_clip's format, as `benchmark.exporting` writes it."""


def clip_in_memory(
    model: nn.Module,
    *,
    tokenizer: Callable[[list[str]], Tensor] | None = None,
    transform: Callable[[Any], Tensor] | None = None,
    name: str = "model",
) -> Clip:
    """An open_clip model in memory as a `Clip`; its weights are used where they are, and not changed.

    Args:
        model: An open_clip model (`CLIP` or `CustomTextCLIP`).
        tokenizer: Turns texts into token ids; by default CLIP's own at the model's context length.
        transform: The model's image transform, from which the preprocessing is read; by default what open_clip wrote
            into the model's image encoder.
        name: It is called `memory:NAME` in results.

    Raises:
        WeightsError: If it is no open_clip model, or its tokenizer cannot be handed to another process.
        TransformError: If the preprocessing cannot be read from the transform.
    """
    lacking = [part for part in ("visual", "logit_scale", "encode_image", "encode_text") if not hasattr(model, part)]
    if lacking:
        raise WeightsError(
            f"{type(model).__name__} is no open_clip model (it has no {lacking[0]!r}): give the model that "
            "open_clip.create_model_and_transforms returns"
        )
    preprocessing = of_model(model) if transform is None else of_transform(transform)
    expected = image_side(model)
    if expected is not None and preprocessing.image_size != expected:
        raise TransformError(
            f"the transform makes images of {preprocessing.image_size} pixels, the model takes {expected}"
        )
    tokenize = _default_tokenizer(model) if tokenizer is None else tokenizer
    _check_travels(tokenize)
    model.eval()
    return Clip(model, tokenize, preprocessing, MEMORY_SCHEME + name)


def unlearned_elsewhere(original: Clip, unlearned: Clip | nn.Module | str | Path) -> Clip:
    """A model of the original's architecture with the weights of one that was unlearned elsewhere.

    Args:
        original: The model before unlearning; stays as it is.
        unlearned: A `Clip`, an open_clip model, a checkpoint (state dict, safetensors, a compact file of this
            project), or a folder in open_clip's format such as `export` writes.

    Raises:
        WeightsError: If the file cannot be read, or the weights are not of the original's architecture.
    """
    source, saved = _state_of(unlearned)
    expected = original.model.state_dict()
    if is_openai_state(saved):
        saved = {name: value for name, value in saved.items() if name not in OPENAI_SCALARS}
    if is_of_transformers(saved):
        saved = from_transformers(saved)
    state = in_the_form_of(named_as(saved, expected, Path(source)), expected)
    if problem := misfit(state, expected):
        raise WeightsError(f"{source} is not a model of {original.name}'s architecture: {problem}")
    for name, value in state.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise WeightsError(f"{source}: {name} holds NaN or infinities: its unlearning diverged")
    copied = original.copy()
    copied.model.load_state_dict({name: value.to(expected[name].dtype) for name, value in state.items()}, strict=False)
    if isinstance(unlearned, Clip):
        copied.refused = unlearned.refused
    return copied


def _state_of(unlearned: Clip | nn.Module | str | Path) -> tuple[str, Mapping[str, Tensor]]:
    """Where weights are from, for messages, and their state dict."""
    if isinstance(unlearned, Clip):
        return unlearned.name, unlearned.model.state_dict()
    if isinstance(unlearned, nn.Module):
        return f"the {type(unlearned).__name__} in memory", unlearned.state_dict()
    path = Path(unlearned).expanduser()
    if path.is_dir():
        if not (path / EXPORTED).is_file():
            raise WeightsError(f"the folder {path} holds no {EXPORTED}: name a folder in open_clip's format, or a file")
        path = path / EXPORTED
    if not path.is_file():
        raise WeightsError(f"no checkpoint {path}: name a state dict, a safetensors file or an exported folder")
    if is_safetensors(path) and "architecture" in read_header(path).metadata:
        return str(path), load_compact(path, path.stem).model.state_dict()
    return str(path), read_state_dict(path)


def _default_tokenizer(model: nn.Module) -> Callable[[list[str]], Tensor]:
    length = getattr(model, "context_length", None)
    rows = getattr(getattr(model, "token_embedding", None), "num_embeddings", None)
    if rows is None:
        rows = getattr(getattr(getattr(model, "text", None), "token_embedding", None), "num_embeddings", None)
    if length is None or rows != VOCABULARY:
        raise WeightsError(
            "the model's vocabulary is not CLIP's own: give its tokenizer, tokenizer=open_clip.get_tokenizer(NAME)"
        )
    return ClipTokenizer(int(length))


def _check_travels(tokenizer: Callable[[list[str]], Tensor]) -> None:
    """Check that a tokenizer can be handed to the process that unlearns.

    Raises:
        WeightsError: If it cannot.
    """
    home = getattr(tokenizer, "__module__", type(tokenizer).__module__)
    advice = "define it at the top level of a module (a .py file that can be imported), or use open_clip.get_tokenizer"
    if home == "__main__":
        raise WeightsError(
            f"the tokenizer is defined in this script or notebook, where the process that unlearns cannot find it: "
            f"{advice}"
        )
    try:
        pickle.dumps(tokenizer)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise WeightsError(
            f"the tokenizer cannot be pickled for the process that unlearns ({error}): {advice}"
        ) from error
    tokens = tokenizer(["a photo"])
    if not isinstance(cast(Any, tokens), Tensor) or tokens.ndim != 2:
        raise WeightsError("the tokenizer must turn a list of texts into token ids, a tensor of shape (texts, length)")
