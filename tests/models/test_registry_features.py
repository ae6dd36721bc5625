"""Features of every configuration of open_clip's registry, made small, are open_clip's own: from a picture and a text.

What is left of a configuration is all but its size: pooling, activations, norms, masks, projections, image statistics.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from families import CONFIGS
from PIL import Image
from tiny import SIDE
from torch.nn.functional import normalize

from benchmark.models.loading import load_clip

END_OF_TEXT = 49407
"""The id that ends a text for CLIP's own tokenizer, which takes the place of those of the Hugging Face hub."""
TRUNKS = {
    "vit_pe_": "PE",
    "siglip": "SigLIP",
    "fastvit_": "MobileCLIP",
    "vit_base_mci": "EVA",
    "vit_large_patch14_clip": "EVA",
    "convnext": "ConvNeXt",
    "vitamin": "ViTamin",
    "eva": "EVA",
    "swin": "ConvNeXt",
    "vit_medium": "ViTamin",
    "vit_relpos": "ViTamin",
}
"""Trunks of timm have their size in their name: the small one that is built alike, see `families`."""
TEXTS = ["a photo of a dog", "Two  cats, in a very long row of words that no small context holds from end to end"]


def small(config: dict[str, Any], images: dict[str, Any]) -> dict[str, Any]:
    """A configuration of the registry with few pixels, layers and channels, in the form of a model's folder."""
    vision, text = dict(config["vision_cfg"]), dict(config["text_cfg"])
    if trunk := vision.get("timm_model_name"):
        alike = next(CONFIGS[family]["vision_cfg"] for part, family in TRUNKS.items() if part in trunk)
        vision = {**vision, "timm_model_name": alike["timm_model_name"], "image_size": SIDE}
    else:
        layers = [1, 1, 1, 1] if isinstance(vision["layers"], list) else 1
        width = 8 if isinstance(vision["layers"], list) else 32  # a ResNet ends in 32 times as many channels
        few = {"image_size": SIDE, "layers": layers, "width": width, "head_width": 16}
        vision = {**vision, **few, **({"patch_size": 16} if vision.get("patch_size") else {})}
        vision |= {"attn_pooler_heads": 2} if "attn_pooler_heads" in vision else {}
    if "hf_model_name" in text:
        text = {}
    elif text.pop("hf_tokenizer_name", None):
        text.pop("tokenizer_kwargs", None)
    text |= {"context_length": 12, "vocab_size": END_OF_TEXT + 1, "width": 32, "heads": 2, "layers": 1}
    text |= {"eos_id": END_OF_TEXT} if "eos_id" in text else {}
    model = {**config, "embed_dim": 32, "vision_cfg": vision, "text_cfg": text}
    if "multimodal_cfg" in model:
        model["multimodal_cfg"] = {**text, "attn_pooler_heads": 2, "dim_head": 16}
    keys = ("mean", "std", "interpolation", "resize_mode")
    return {"model_cfg": model, "preprocess_cfg": {key: images[key] for key in keys if images.get(key)}}


def configurations() -> dict[str, dict[str, Any]]:
    """By architecture: as many as it takes for each tower, each further setting and each image input to occur."""
    found, seen = dict[str, dict[str, Any]](), set[str]()
    for architecture in open_clip.list_models():
        if architecture.startswith(("small-", "known-", "tiny-")):
            continue  # of other tests
        tags = open_clip.list_pretrained_tags_by_model(architecture)
        images = open_clip.get_pretrained_cfg(architecture, tags[0]) if tags else {}
        content = small(open_clip.get_model_config(architecture), images or {})
        model = content["model_cfg"]
        rest = {name: value for name, value in model.items() if name not in ("vision_cfg", "text_cfg")}
        parts = (model["vision_cfg"], model["text_cfg"], rest, content["preprocess_cfg"])
        facets = {f"{place} {json.dumps(part, sort_keys=True)}" for place, part in enumerate(parts)}
        if not facets <= seen:
            found[architecture] = content
            seen |= facets
    return found


REGISTRY = configurations()


@pytest.mark.parametrize("architecture", REGISTRY)
@pytest.mark.loads(
    "model",
    "any architecture of open_clip's registry (tried small, with random weights)",
    "loads; features are open_clip's",
)
def test_features_of_a_picture_and_a_text_are_those_of_open_clip(architecture: str, tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_text(json.dumps(REGISTRY[architecture]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs, _, transform = open_clip.create_model_and_transforms(f"local-dir:{tmp_path}", load_weights=False)
    for name, value in theirs.named_parameters():
        if name.startswith("text_decoder."):
            value.detach().zero_()  # open_clip leaves some of CoCa's decoder as memory was, and no feature needs it
    torch.save(theirs.state_dict(), tmp_path / "open_clip_pytorch_model.bin")
    clip = load_clip(str(tmp_path))
    pixels = np.random.default_rng(0).integers(0, 255, (70, 45, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    square = torch.from_numpy(clip.preprocessing.framing(picture).copy())[None]
    with torch.inference_mode():
        image = theirs.eval().encode_image(transform(picture)[None])
        text = theirs.encode_text(open_clip.get_tokenizer(f"local-dir:{tmp_path}")(TEXTS))
        pairs = [(clip.encode_image(clip.preprocessing(square)), image), (clip.encode_text(TEXTS), text)]
    for ours, expected in pairs:
        assert torch.isfinite(expected).all()
        torch.testing.assert_close(normalize(ours, dim=-1), normalize(expected, dim=-1), rtol=0, atol=1e-5)
