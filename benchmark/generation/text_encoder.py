"""The text tower of an open_clip model, put into the CLIPTextModel of a Stable Diffusion pipeline.

Stable Diffusion 1.x conditions its U-Net on the features of all tokens after the tower's final layer norm (the
`last_hidden_state`), before pooling and before the text projection. So an edit of the text projection or of the image
encoder does not reach the images, and the projection has no place in the pipeline.

| open_clip | CLIPTextModel |
|---|---|
| `token_embedding.weight`, `positional_embedding` | `embeddings.{token,position}_embedding.weight` |
| `transformer.resblocks.N.attn.in_proj_{weight,bias}` | its thirds: `encoder.layers.N.self_attn.{q,k,v}_proj` |
| `...attn.out_proj`, `...ln_1`, `...ln_2` | `...self_attn.out_proj`, `...layer_norm1`, `...layer_norm2` |
| `...mlp.c_fc`, `...mlp.c_proj` | `...mlp.fc1`, `...mlp.fc2` |
| `ln_final` | `final_layer_norm` |

Names in the table are without their prefix: `text.` in a `CustomTextCLIP`, `text_model.` in transformers before 5.
"""

from __future__ import annotations

import copy
import re
from typing import Any

import torch
from torch import Tensor, nn

from datamodules.common.errors import BenchmarkError
from methods.common.clip import Clip, parameter_group, text_transformer

_BLOCK = re.compile(r"transformer\.resblocks\.(\d+)\.(.+)\.(\w+)")
_OUTSIDE = {
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}
_INSIDE = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_NOT_READ = ("text_projection", "attn_mask")
"""Parts of the text tower that the pipeline has no use for."""


class TowerError(BenchmarkError):
    """A text tower that does not fit the text encoder of a pipeline."""

    def __init__(self, clip: Clip, reason: str) -> None:
        super().__init__(
            f"the text tower of {clip.name!r} does not fit the pipeline's text encoder: {reason}; "
            "name a record of the model that the pipeline was trained with (Stable Diffusion 1.x: ViT-L-14/openai)"
        )


def with_tower(encoder: nn.Module, clip: Clip) -> nn.Module:
    """A copy of a pipeline's text encoder that holds the text tower of a CLIP, in evaluation mode.

    Args:
        encoder: A transformers `CLIPTextModel`; left as it is.
        clip: An open_clip model whose text tower has the same architecture.

    Raises:
        TowerError: If a tensor has no counterpart or another shape, or the two would compute something else from the
            same weights (activation, heads, layer norm's epsilon, causal mask).
    """
    prefix = "text_model." if any(name.startswith("text_model.") for name in encoder.state_dict()) else ""
    state = {prefix + name: value for name, value in tower_state(clip).items()}
    wanted = {name: value for name, value in encoder.state_dict().items() if not name.endswith("position_ids")}
    for name in sorted({*state, *wanted}):
        if name not in wanted or name not in state:
            raise TowerError(clip, f"{'the pipeline' if name not in wanted else 'the model'} has no {name}")
        if state[name].shape != wanted[name].shape:
            shapes = f"{tuple(state[name].shape)} in the model and {tuple(wanted[name].shape)} in the pipeline"
            raise TowerError(clip, f"{name} has shape {shapes}")
    _check_function(encoder, clip)
    filled = copy.deepcopy(encoder)
    filled.load_state_dict(state, strict=False)
    return filled.eval().requires_grad_(False)


def tower_state(clip: Clip) -> dict[str, Tensor]:
    """The text tower under the names of transformers' `CLIPTextModel`, without a prefix.

    Raises:
        TowerError: If it has a tensor that no `CLIPTextModel` has.
    """
    state: dict[str, Tensor] = {}
    for name, value in clip.model.state_dict().items():
        plain = name.removeprefix("text.")
        if parameter_group(name) != "text" or plain.partition(".")[0] in _NOT_READ:
            continue
        renamed = _renamed(plain, value)
        if not renamed:
            raise TowerError(clip, f"the pipeline has no counterpart of {name}")
        state |= renamed
    return state


def relative_difference(one: nn.Module, other: nn.Module) -> float:
    """How far the weights of a text encoder are from those of another: Frobenius norm of the difference over the norm.

    Args:
        one: A text encoder.
        other: Another of the same architecture; its norm is the unit.

    Returns:
        0.0 exactly if all weights are equal; about 3e-4 if one was rounded to half precision.
    """
    gap = norm = 0.0
    weights = one.state_dict()
    for name, other_weight in other.state_dict().items():
        reference = other_weight.float().cpu()
        gap += float((weights[name].float().cpu() - reference).square().sum())
        norm += float(reference.square().sum())
    return float((gap / norm) ** 0.5) if norm else float(gap > 0)


def _renamed(name: str, value: Tensor) -> dict[str, Tensor]:
    """One tensor under its new names; none if it has no counterpart."""
    if name in _OUTSIDE:
        return {_OUTSIDE[name]: value}
    match = _BLOCK.fullmatch(name)
    if match is None:
        return {}
    number, part, kind = match.groups()
    layer = f"encoder.layers.{number}"
    if part == "attn" and kind in ("in_proj_weight", "in_proj_bias"):
        thirds = zip("qkv", value.chunk(3), strict=True)
        return {f"{layer}.self_attn.{letter}_proj.{kind.removeprefix('in_proj_')}": third for letter, third in thirds}
    return {f"{layer}.{_INSIDE[part]}.{kind}": value} if part in _INSIDE else {}


def _check_function(encoder: nn.Module, clip: Clip) -> None:
    """Check what the shapes do not tell: equal weights must mean equal features."""
    config: Any = encoder.config
    owner: Any = clip.model if hasattr(clip.model, "transformer") else clip.model.text
    if owner.attn_mask is None:
        raise TowerError(clip, "the model's tokens see later tokens, the pipeline's do not")
    blocks: Any = text_transformer(clip)
    block = blocks.resblocks[0]
    for what, of_model, of_pipeline in (
        ("activation", _activation(block.mlp.gelu), config.hidden_act),
        ("number of heads", block.attn.num_heads, config.num_attention_heads),
        ("epsilon of layer norm", block.ln_1.eps, config.layer_norm_eps),
    ):
        if of_model != of_pipeline:
            raise TowerError(clip, f"the {what} is {of_model} in the model and {of_pipeline} in the pipeline")


def _activation(module: nn.Module) -> str:
    """The name of an activation in transformers' configurations."""
    from open_clip.transformer import QuickGELU

    if isinstance(module, QuickGELU):
        return "quick_gelu"
    if isinstance(module, torch.nn.GELU):
        return "gelu" if module.approximate == "none" else "gelu_pytorch_tanh"
    return type(module).__name__
