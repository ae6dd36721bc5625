"""The weights of Hugging Face transformers' CLIP and SigLIP by open_clip's names.

| transformers | open_clip's CLIP | open_clip's SigLIP (timm's image trunk) |
|---|---|---|
| `vision_model.encoder.layers.N` | `visual.transformer.resblocks.N` | `visual.trunk.blocks.N` |
| `text_model.encoder.layers.N` | `transformer.resblocks.N` | `text.transformer.resblocks.N` |
| `visual_projection`, `text_projection` | `visual.proj`, `text_projection`, transposed | - |
| `vision_model.head`, `text_model.head` | - | `visual.trunk.attn_pool`, `text.text_projection` |

transformers keeps queries, keys and values apart; open_clip and timm keep them in one tensor.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

_LAYER = re.compile(r"(vision|text)_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
_QKV = re.compile(r"self_attn\.([qkv])_proj")
_BLOCK = {
    "self_attn.out_proj": ("attn.out_proj", "attn.proj"),
    "layer_norm1": ("ln_1", "norm1"),
    "layer_norm2": ("ln_2", "norm2"),
    "mlp.fc1": ("mlp.c_fc", "mlp.fc1"),
    "mlp.fc2": ("mlp.c_proj", "mlp.fc2"),
}
"""The parts of a block: in transformers, in open_clip, in timm."""
_CLIP = {
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm": "visual.ln_pre",
    "vision_model.post_layernorm": "visual.ln_post",
}
_SIGLIP = {
    "vision_model.embeddings.patch_embedding": "visual.trunk.patch_embed.proj",
    "vision_model.post_layernorm": "visual.trunk.norm",
    "vision_model.head.probe": "visual.trunk.attn_pool.latent",
    "vision_model.head.attention.out_proj": "visual.trunk.attn_pool.proj",
    "vision_model.head.layernorm": "visual.trunk.attn_pool.norm",
    "vision_model.head.mlp": "visual.trunk.attn_pool.mlp",
    "text_model.head": "text.text_projection",
}
_TEXT = {
    "text_model.embeddings.token_embedding": "token_embedding",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm": "ln_final",
}


def is_of_transformers(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict is one of transformers' CLIP or SigLIP."""
    return any(name.startswith("vision_model.") for name in state) and any(
        name.startswith("text_model.") for name in state
    )


def from_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of transformers' CLIP or SigLIP as open_clip has it.

    Names that are not known stay as they are, so that they are told as what does not belong there.

    Args:
        state: Of `CLIPModel` or `SiglipModel`.
    """
    siglip = any(name.startswith("vision_model.head.") for name in state)
    named: dict[str, Tensor] = {}
    attention: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        if layer := _LAYER.fullmatch(name):
            tower, number, part, kind = layer.groups()
            block = _block(tower, number, siglip)
            if qkv := _QKV.fullmatch(part):
                timm = siglip and tower == "vision"
                attention.setdefault(f"{block}.attn.{'qkv.' if timm else 'in_proj_'}{kind}", {})[qkv[1]] = value
            else:
                known = _BLOCK.get(part)
                named[f"{block}.{known[siglip and tower == 'vision']}.{kind}" if known else name] = value
        else:
            named |= _other(name, value, siglip)
    for name, parts in attention.items():
        if set(parts) == set("qkv"):
            named[name] = torch.cat([parts[letter] for letter in "qkv"])
    return named


def _block(tower: str, number: str, siglip: bool) -> str:
    if tower == "vision":
        return f"visual.trunk.blocks.{number}" if siglip else f"visual.transformer.resblocks.{number}"
    return f"{'text.' if siglip else ''}transformer.resblocks.{number}"


def _other(name: str, value: Tensor, siglip: bool) -> dict[str, Tensor]:
    """What is no block of a tower."""
    if name.endswith("position_ids"):
        return {}
    if name in ("visual_projection.weight", "text_projection.weight"):
        return {"visual.proj" if name[0] == "v" else "text_projection": value.T.contiguous()}
    pool = "visual.trunk.attn_pool"
    if siglip and name.startswith("vision_model.head.attention.in_proj_"):
        kind, width = name.rpartition("_")[2], len(value) // 3
        return {f"{pool}.q.{kind}": value[:width].clone(), f"{pool}.kv.{kind}": value[width:].clone()}
    if siglip and name == "vision_model.embeddings.position_embedding.weight":
        return {"visual.trunk.pos_embed": value[None]}
    text = {known: f"{'text.' if siglip else ''}{renamed}" for known, renamed in _TEXT.items()}
    for known, renamed in ((_SIGLIP if siglip else _CLIP) | text).items():
        if name == known or name.startswith(f"{known}."):
            return {renamed + name[len(known) :]: value}
    return {name: value}
