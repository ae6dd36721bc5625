"""The state dict of a checkpoint: where it is in the file, and its tensors by the names of the model.

| checkpoint | where its tensors are | what their names begin with |
|---|---|---|
| `model.state_dict()` | the whole file | nothing |
| open_clip's training | `state_dict`, beside the optimizer | `module.` |
| `torch.compile` | anywhere | `_orig_mod.` |
| Lightning | `state_dict` | the attribute of the LightningModule: `model.`, `clip.`, ... |
| SLIP, timm and others | `model`, `model_state_dict`, ... | nothing, or `module.` |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmark.models.tensor_files import WeightsError

PLACES = ("state_dict", "model", "model_state_dict", "model_state", "module", "net", "weights")
"""Where checkpoints keep the tensors of the model, in the order in which they are looked for."""
WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "_forward_module.")
"""What PyTorch's and Lightning's wrappers put into names, at any place."""
COUNTERS = "num_batches_tracked"
"""A counter of batch normalisation that evaluation never reads."""
NOT_READ = ("attn_mask", COUNTERS, "position_ids")
"""Endings of entries that no evaluation reads: constants of the architecture, and counters."""
_FEW = 3


def tensors_of(content: Any, path: Path) -> dict[str, Tensor]:
    """The state dict in what a checkpoint holds.

    Args:
        content: The file's content.
        path: For messages.

    Raises:
        WeightsError: If there is none: the message says what the file holds.
    """
    state = _inside(content)
    if state is None:
        raise WeightsError(
            f"{path} holds no state dict ({_contents(content)}): save the model's state_dict() with torch.save or as "
            "safetensors"
        )
    return state


def named_as(state: Mapping[str, Tensor], expected: Iterable[str], path: Path) -> dict[str, Tensor]:
    """A state dict without what wrappers put before the model's own names, and without what no evaluation reads.

    Where the model is a part of something larger, such as a LightningModule with a loss, the rest is left out.

    Args:
        state: As it is in the file.
        expected: The names in the model.
        path: For messages.

    Raises:
        WeightsError: If two models are in the file.
    """
    bare = {_unwrapped(name): value for name, value in state.items()}
    names = {name for name in expected if not name.endswith(NOT_READ)}
    prefix = _prefix(bare, names, path)
    return {
        name.removeprefix(prefix): value
        for name, value in bare.items()
        if name.startswith(prefix) and not name.endswith(NOT_READ)
    }


def check_fits(path: Path, architecture: str, state: Mapping[str, Tensor], model: Mapping[str, Tensor]) -> None:
    """Check that a state dict has the tensors of a model, in their shapes.

    Args:
        path: For messages.
        architecture: Likewise.
        state: By the names of the model, as `named_as` gives it.
        model: The state dict of an untrained model.

    Raises:
        WeightsError: If one is missing, does not belong there or has another shape: with what is there and what should
            be.
    """
    if problem := misfit(state, model):
        raise WeightsError(f"{path.name} does not fit {architecture}: {problem}")


def misfit(state: Mapping[str, Tensor], model: Mapping[str, Tensor]) -> str:
    """What of a state dict does not fit a model's, in words; empty where everything does."""
    expected = {name for name in model if not name.endswith(NOT_READ)}
    missing, odd = sorted(expected - set(state)), sorted(set(state) - expected)
    if missing or odd:
        problems = [
            f"{names[0]} {what}" + (f", as {len(names) - 1} more" if len(names) > 1 else "")
            for names, what in ((missing, "is missing"), (odd, "does not belong there"))
            if names
        ]
        return f"{'; '.join(problems)} ({len(expected & set(state))} of the model's {len(expected)} tensors are there)"
    for name in sorted(expected):
        if state[name].shape != model[name].shape:
            return f"{name} has shape {tuple(state[name].shape)}, not {tuple(model[name].shape)}"
    return ""


def in_the_form_of(state: Mapping[str, Tensor], model: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict as open_clip's other class or other version of the same model has it.

    The text tower stands in `text.` or beside the image encoder; the temperature is a number or a list of one; a bias
    of the logits that was not trained is 0.

    Args:
        state: As it was saved.
        model: The state dict of an untrained model.
    """
    changed = dict(state)
    inner, outer = "text.token_embedding.weight", "token_embedding.weight"
    if outer in changed and outer not in model and inner in model:
        changed = {_inner(name): value for name, value in changed.items()}
    elif inner in changed and inner not in model and outer in model:
        changed = {name.removeprefix("text."): value for name, value in changed.items()}
    for name in ("logit_scale", "logit_bias"):
        if name in changed and name in model and changed[name].numel() == model[name].numel() == 1:
            changed[name] = changed[name].reshape(model[name].shape)
    if "logit_bias" in model and "logit_bias" not in changed and "logit_scale" in changed:
        changed["logit_bias"] = torch.zeros(model["logit_bias"].shape)
    return changed


def _inner(name: str) -> str:
    return name if name.startswith(("visual.", "logit_", "text.")) else f"text.{name}"


def _inside(content: Any, depth: int = 3) -> dict[str, Tensor] | None:
    """The state dict of a checkpoint's content, or None."""
    if not isinstance(content, dict) or not content or not depth:
        return None
    tensors = {name: value for name, value in content.items() if isinstance(value, Tensor) and isinstance(name, str)}
    others = [value for name, value in content.items() if name not in tensors]
    if len(tensors) > 1 and all(isinstance(value, (str, int, float, type(None))) for value in others):
        return tensors
    if tensors and not others:
        return tensors
    for place in PLACES:
        if (state := _inside(content.get(place), depth - 1)) is not None:
            return state
    dictionaries = [state for value in others if (state := _whole(value)) is not None]
    return dictionaries[0] if len(dictionaries) == 1 else None


def _whole(content: Any) -> dict[str, Tensor] | None:
    """A dictionary of named tensors and nothing else, or None."""
    if not isinstance(content, dict) or not content:
        return None
    entries = content.items()
    return content if all(isinstance(name, str) and isinstance(value, Tensor) for name, value in entries) else None


def _contents(content: Any) -> str:
    if not isinstance(content, dict):
        return f"but a {type(content).__name__}"
    return f"its entries are {_listed([repr(str(key)[:40]) for key in content])}" if content else "it is empty"


def _unwrapped(name: str) -> str:
    for wrapper in WRAPPERS:
        name = name.replace(wrapper, "")
    return name


def _prefix(state: Iterable[str], expected: set[str], path: Path) -> str:
    """What stands before the model's names in a state dict: the beginning under which most of them are."""
    matches: Counter[str] = Counter()
    for name in state:
        parts = name.split(".")
        for start in range(len(parts)):
            if ".".join(parts[start:]) in expected:
                matches[".".join(parts[:start]) + "." * bool(start)] += 1
    if not matches:
        return ""
    (best, count), *others = sorted(matches.items(), key=lambda item: (-item[1], len(item[0])))
    if others and others[0][1] == count and best:
        names = " and ".join(repr(prefix) for prefix, _ in (*others[:1], (best, count)))
        raise WeightsError(f"{path.name} holds two models, under {names}: save the one that is meant")
    return best


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return ", ".join(names[:_FEW]) + more
