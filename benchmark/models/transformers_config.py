"""The configuration of Hugging Face transformers' CLIP and SigLIP as open_clip's: the architecture and the images.

open_clip builds SigLIP's image encoder by the name of one of timm's models, which are of published sizes: here the
trunk is registered with timm by its sizes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from benchmark.models.tensor_files import WeightsError
from benchmark.models.tokenizers import BESIDE
from datamodules.common.images import OPENAI_MEAN, OPENAI_STD

CLIP, SIGLIP = "clip", "siglip"
_RESAMPLE = {2: "bilinear", 3: "bicubic", "bilinear": "bilinear", "bicubic": "bicubic"}
"""Pillow's numbers of the ways to resize, which is what preprocessor files hold."""
_SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
_DEFAULTS: dict[str, dict[str, dict[str, Any]]] = {
    CLIP: {
        "vision": {**dict(zip(_SIZES, (768, 3072, 12, 12), strict=True)), "image_size": 224, "patch_size": 32},
        "text": {
            **dict(zip(_SIZES, (512, 2048, 12, 8), strict=True)),
            "max_position_embeddings": 77,
            "vocab_size": 49408,
        },
    },
    SIGLIP: {
        "vision": {**dict(zip(_SIZES, (768, 3072, 12, 12), strict=True)), "image_size": 224, "patch_size": 16},
        "text": {
            **dict(zip(_SIZES, (768, 3072, 12, 12), strict=True)),
            "max_position_embeddings": 64,
            "vocab_size": 32000,
        },
    },
}
"""What transformers takes where a configuration leaves a size out."""
_ACTIVATION = {CLIP: "quick_gelu", SIGLIP: "gelu_pytorch_tanh"}
_EPSILON = {CLIP: 1e-5, SIGLIP: 1e-6}
_TRUNK = re.compile(r"clip_siglip_trunk_w(\d+)_m(\d+)_l(\d+)_h(\d+)_p(\d+)_i(\d+)")


def kind_of(config: Mapping[str, Any]) -> str:
    """The kind of model of a `config.json`: "clip", "siglip", or what else it says."""
    return str(config.get("model_type", ""))


def open_clip_model(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A `config.json` as the `model_cfg` of an `open_clip_config.json`.

    Args:
        config: Of a `CLIPModel` or a `SiglipModel`.
        name: The model as the user named it, for messages.

    Raises:
        WeightsError: If it is of another model, or has an activation that open_clip has not.
    """
    kind = kind_of(config)
    if kind not in _DEFAULTS:
        raise WeightsError(
            f"model {name!r}: config.json is of a {kind or 'model without a type'!r}: of transformers' models 'clip' "
            "and 'siglip' are supported"
        )
    vision, text = (
        {**_DEFAULTS[kind][part], **_dictionary(config.get(f"{part}_config"))} for part in ("vision", "text")
    )
    for part in (vision, text):
        numbers = {key: part[key] for key in _DEFAULTS[kind]["vision" if part is vision else "text"]}
        if odd := [key for key, value in numbers.items() if type(value) is not int or value < 1]:
            raise WeightsError(f"model {name!r}: {odd[0]} in config.json is no number above 0: copy the file again")
        if part.get("layer_norm_eps", _EPSILON[kind]) != _EPSILON[kind]:
            raise WeightsError(f"model {name!r}: layer_norm_eps in config.json is not {_EPSILON[kind]}, as open_clip's")
    activations = {part.get("hidden_act", _ACTIVATION[kind]) for part in (vision, text)}
    if len(activations) > 1 or not activations <= {_ACTIVATION[kind], *(["gelu"] if kind == CLIP else [])}:
        raise WeightsError(f"model {name!r}: the activation {sorted(activations)} of config.json is not open_clip's")
    return _clip(config, vision, text, activations.pop()) if kind == CLIP else _siglip(vision, text)


def open_clip_images(images: Mapping[str, Any], kind: str, name: str) -> dict[str, Any]:
    """A `preprocessor_config.json` as the `preprocess_cfg` of an `open_clip_config.json`.

    Args:
        images: Its content; empty where there is none: then what transformers does for this kind of model.
        kind: "clip" or "siglip".
        name: The model as the user named it, for messages.

    Raises:
        WeightsError: If it asks for something that open_clip's transform does not do.
    """
    size = images.get("size", {"shortest_edge": 224} if kind == CLIP else {"height": 224, "width": 224})
    edges = size if isinstance(size, dict) else {"shortest_edge": size}
    squash = set(edges) == {"height", "width"}
    sides = {value for value in edges.values() if value is not None}
    crop = images.get("crop_size")
    if images.get("do_center_crop", not squash) and crop is not None and not squash:
        sides |= set(crop.values()) if isinstance(crop, dict) else {crop}
    if len(sides) != 1 or images.get("resample", 3) not in _RESAMPLE:
        raise WeightsError(
            f"model {name!r}: its images are resized to {size}, cropped to {crop} and resampled by "
            f"{images.get('resample', 3)}: one size and bicubic (3) or bilinear (2) are supported"
        )
    half = (0.5, 0.5, 0.5)
    return {
        "mean": list(images.get("image_mean") or (OPENAI_MEAN if kind == CLIP else half)),
        "std": list(images.get("image_std") or (OPENAI_STD if kind == CLIP else half)),
        "interpolation": _RESAMPLE[images.get("resample", 3)],
        "resize_mode": "squash" if squash else "shortest",
    }


def register_trunk(name: str) -> bool:
    """Let timm build an image trunk whose name says its sizes; whether the name is one of these."""
    match = _TRUNK.fullmatch(name)
    if match is None:
        return False
    from timm.models import is_model, register_model
    from timm.models.vision_transformer import VisionTransformer
    from torch import nn

    width, inner, layers, heads, patch, side = map(int, match.groups())

    def trunk(pretrained: bool = False, **options: Any) -> nn.Module:
        tower: nn.Module = VisionTransformer(
            img_size=side,
            patch_size=patch,
            embed_dim=width,
            depth=layers,
            num_heads=heads,
            mlp_ratio=inner / width,
            class_token=False,
            norm_layer=partial(nn.LayerNorm, eps=_EPSILON[SIGLIP]),
            act_layer=partial(nn.GELU, approximate="tanh"),
            **{name: value for name, value in options.items() if name in ("num_classes", "global_pool")},
        )
        return tower

    if not is_model(name):
        trunk.__name__ = name
        trunk.__module__ = __name__
        register_model(trunk)
    return True


def _clip(config: Mapping[str, Any], vision: dict[str, Any], text: dict[str, Any], activation: str) -> dict[str, Any]:
    return {
        "embed_dim": int(config.get("projection_dim", 512)),
        "quick_gelu": activation == "quick_gelu",
        "vision_cfg": {
            "image_size": vision["image_size"],
            "layers": vision["num_hidden_layers"],
            "width": vision["hidden_size"],
            "head_width": vision["hidden_size"] // vision["num_attention_heads"],
            "mlp_ratio": vision["intermediate_size"] / vision["hidden_size"],
            "patch_size": vision["patch_size"],
        },
        "text_cfg": _text(text),
    }


def _siglip(vision: dict[str, Any], text: dict[str, Any]) -> dict[str, Any]:
    names = (*_SIZES, "patch_size", "image_size")
    trunk = "clip_siglip_trunk_" + "_".join(f"{s}{vision[n]}" for s, n in zip("wmlhpi", names, strict=True))
    return {
        "embed_dim": int(text.get("projection_size", vision["hidden_size"])),
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {
            "image_size": vision["image_size"],
            "timm_model_name": trunk,
            "timm_pool": "map",
            "timm_proj": "none",
        },
        "text_cfg": {
            **_text(text),
            "hf_tokenizer_name": BESIDE,
            "tokenizer_kwargs": {"clean": "canonicalize"},
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
            "norm_kwargs": {"eps": _EPSILON[SIGLIP]},
            "act_kwargs": {"approximate": "tanh"},
        },
    }


def _text(text: dict[str, Any]) -> dict[str, Any]:
    return {
        "context_length": text["max_position_embeddings"],
        "vocab_size": text["vocab_size"],
        "width": text["hidden_size"],
        "heads": text["num_attention_heads"],
        "layers": text["num_hidden_layers"],
        "mlp_ratio": text["intermediate_size"] / text["hidden_size"],
    }


def _dictionary(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
