"""One small model of random weights for each family of open_clip's CLIPs, built as open_clip builds the large."""

from __future__ import annotations

import sys
from functools import cache, partial
from typing import Any

import timm.models.convnext
import timm.models.eva
import timm.models.fastvit
import timm.models.vision_transformer
import timm.models.vitamin
import torch
from timm.models import register_model
from tiny import CONTEXT, SIDE, TEXT, VOCABULARY, WIDTH, words_tokenizer
from torch import Tensor, nn

from benchmark.models.building import built
from benchmark.models.image_input import of_model
from methods.common.clip import Clip
from methods.common.needs import why_not
from methods.common.registry import Registry

_VIT = {"patch_size": 8, "img_size": SIDE, "embed_dim": 32, "depth": 2, "num_heads": 2}


@register_model
def clip_small_siglip(pretrained: bool = False, **options: Any) -> nn.Module:
    return timm.models.vision_transformer.vit_base_patch16_siglip_224(**{**_VIT, "embed_dim": WIDTH}, **options)


@register_model
def clip_small_mobileclip(pretrained: bool = False, **options: Any) -> nn.Module:
    mixing = {"token_mixers": ("repmixer", "repmixer", "repmixer", "attention")}
    place = {"pos_embs": (None, None, None, partial(timm.models.fastvit.RepConditionalPosEnc, spatial_shape=(7, 7)))}
    sizes: dict[str, Any] = {"layers": (1, 1, 1, 1), "embed_dims": (8, 16, 16, 32), "mlp_ratios": (2, 2, 2, 2)}
    return timm.models.fastvit.fastvit_mci0(**sizes, **mixing, **place, **options)


@register_model
def clip_small_pe(pretrained: bool = False, **options: Any) -> nn.Module:
    return timm.models.eva.vit_pe_core_tiny_patch16_384(**_VIT, ref_feat_shape=(4, 4), attn_pool_num_heads=2, **options)


@register_model
def clip_small_convnext(pretrained: bool = False, **options: Any) -> nn.Module:
    return timm.models.convnext.convnext_atto(depths=(1, 1, 1, 1), dims=(8, 8, 16, 32), **options)


@register_model
def clip_small_vitamin(pretrained: bool = False, **options: Any) -> nn.Module:
    convolutions = timm.models.vitamin.VitConvCfg(norm_layer="layernorm2d", norm_eps=1e-6)
    stem = timm.models.vitamin.VitCfg(
        embed_dim=(8, 16, 32), depths=(1, 1, 1), stem_width=8, conv_cfg=convolutions, head_type="1d"
    )
    sizes: dict[str, Any] = {"embed_dim": 32, "depth": 1, "num_heads": 2, "img_size": SIDE}
    return timm.models.vitamin.vitamin_small_224(embed_cfg=stem, **sizes, **options)


@register_model
def clip_small_eva(pretrained: bool = False, **options: Any) -> nn.Module:
    return timm.models.eva.eva02_base_patch16_clip_224(**_VIT, ref_feat_shape=(4, 4), **options)


def _timm(name: str, pool: str, projection: str | None, **more: Any) -> dict[str, Any]:
    return {
        "timm_model_name": f"clip_small_{name}",
        "timm_pool": pool,
        "timm_proj": projection,
        "image_size": SIDE,
        **more,
    }


_TEXT = {**TEXT, "vocab_size": VOCABULARY}
_SIGLIP = {**_TEXT, "no_causal_mask": True, "proj_bias": True, "pool_type": "last", "norm_kwargs": {"eps": 1e-6}}
_VISION = {"image_size": SIDE, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
_COCA = {"context_length": CONTEXT - 1, "attn_pooler_heads": 2, **{k: TEXT[k] for k in ("width", "heads", "layers")}}
CONFIGS: dict[str, dict[str, Any]] = {
    "SigLIP": {"custom_text": True, "init_logit_bias": -10, "vision_cfg": _timm("siglip", "map", "none")},
    "MobileCLIP": {"custom_text": True, "vision_cfg": _timm("mobileclip", "avg", None)},
    "PE": {"custom_text": True, "vision_cfg": _timm("pe", "map", None)},
    "CoCa": {
        "custom_text": True,
        "vision_cfg": {**_VISION, "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
        "multimodal_cfg": {**_COCA, "vocab_size": VOCABULARY},
    },
    "ConvNeXt": {"vision_cfg": _timm("convnext", "", "linear")},
    "ViTamin": {"custom_text": True, "vision_cfg": _timm("vitamin", "", "linear")},
    "EVA": {"custom_text": True, "vision_cfg": _timm("eva", "token", None)},
    "custom text tower": {"custom_text": True, "vision_cfg": _VISION},
}
"""The architecture of each family, as in open_clip's own configurations but for the sizes."""
TEXTS = {
    "SigLIP": _SIGLIP,
    "CoCa": {**_TEXT, "context_length": CONTEXT - 1, "embed_cls": True, "output_tokens": True},
}


class OfTransformers(nn.Module):
    """A text tower laid out as open_clip's adapter of RoBERTa, XLM-RoBERTa and NLLB: blocks of another library."""

    def __init__(self) -> None:
        super().__init__()
        width = TEXT["width"]
        layer = nn.TransformerEncoderLayer(width, 2, 2 * width, dropout=0.0, batch_first=True)
        self.transformer = nn.ModuleDict(
            {
                "embeddings": nn.Embedding(VOCABULARY, width),
                "encoder": nn.TransformerEncoder(layer, 2, enable_nested_tensor=False),
            }
        )
        self.proj = nn.Sequential(nn.Linear(width, width, bias=False), nn.GELU(), nn.Linear(width, WIDTH, bias=False))

    def forward(self, tokens: Tensor) -> Tensor:
        """Shape (B, D), the mean over the tokens that are no padding."""
        hidden = self.transformer["encoder"](self.transformer["embeddings"](tokens))
        kept = (tokens != 0)[..., None].float()
        pooled: Tensor = self.proj((hidden * kept).sum(dim=1) / kept.sum(dim=1))
        return pooled


def family_clip(family: str) -> Clip:
    """A model of a family, in evaluation mode."""
    model, preprocessing = _model(family)
    tokenizer = _shorter if family == "CoCa" else words_tokenizer
    return Clip(model, tokenizer, preprocessing, f"small-{family}", "small").copy()


@cache
def _model(family: str) -> tuple[nn.Module, Any]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = {"embed_dim": WIDTH, "text_cfg": TEXTS.get(family, _TEXT), **CONFIGS[family]}
        model = built(config, family)
        if family == "custom text tower":
            model.text = OfTransformers()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("token_embedding.weight"):
                    parameter.normal_(std=0.5)
                elif name.startswith("text_decoder."):  # open_clip leaves some of CoCa's decoder as memory was
                    parameter.normal_(std=0.02)
    return model.eval(), of_model(model)


def _shorter(texts: list[str]) -> Tensor:
    tokens = words_tokenizer(texts)[:, : CONTEXT - 1].clone()
    tokens[:, -1].masked_fill_(tokens.max(dim=1).values < VOCABULARY - 1, VOCABULARY - 1)
    return tokens


def table() -> str:
    """Which method works on which family, as docs/models.md has it."""
    registry = Registry()
    names = [name for name in registry.names() if registry.declaration(name).card.regime != "pretraining"]
    clips = {family: family_clip(family) for family in CONFIGS}
    reasons: dict[str, int] = {}
    lines = [f"| method | {' | '.join(CONFIGS)} |", f"|---|{'---|' * len(CONFIGS)}"]
    for name in names:
        found = [why_not(registry.declaration(name).card, clip) for clip in clips.values()]
        cells = [f"n/a ({reasons.setdefault(reason, len(reasons) + 1)})" if reason else "yes" for reason in found]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    notes = [f"{number}. {reason[0].upper()}{reason[1:]}." for reason, number in reasons.items()]
    return "\n".join([*lines, "", *notes])


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
