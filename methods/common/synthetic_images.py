"""Synthetic forget images for a method: made from the model as it came and the names, so of data regime `names`."""

from __future__ import annotations

from typing import Any

import torch

from datamodules.common.code_closure import project_code
from datamodules.common.synthetic import ImageModel, SyntheticForgetSet, SyntheticRecipe
from methods.common.base import UnlearningMethod
from methods.common.clip import Clip, state_hash


def synthetic_images(method: UnlearningMethod[Any], recipe: SyntheticRecipe) -> SyntheticForgetSet:
    """Images of each name to forget, through the method's CLIP as it is now; call it before the first edit."""
    clip = method.clip
    with torch.no_grad():
        classifier = method.classifier()
        scale = float(clip.logit_scale)
    model = ImageModel(clip.encode_image, classifier, scale, clip.preprocessing, encoder_key(clip))
    return method.data.synthetic_forget_set(model, list(range(len(method.spec.forget_names))), recipe)


def encoder_key(clip: Clip) -> str:
    """Identifies an image encoder: the sha256 of its weights, and the digest of the code that encodes."""
    weights = state_hash(clip.model, lambda name: name.startswith("visual."))
    return f"{weights} {project_code().digest('methods.common.clip:Clip')}"
