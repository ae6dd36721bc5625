"""A classifier's loss for CLIP: how the methods that were made for classifiers are carried over.

    request by class:    L = mean over the batch of  CE( scale * cos(f_img(x), w_c) for all names c,  the image's name )
    request by concept:  L = CLIP's symmetric contrastive loss of the image-caption pairs

w_c is the zero-shot classifier, over the names to forget and to retain: frozen, or that of the current text encoder.
Images of a concept have captions and no class, so nothing but their own captions can be their target. All of this is
our choice, because it is the least change that gives a classifier's method logits and labels.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.common.module import ForgetSpec, Pairs
from methods.common.base import UnlearningMethod
from methods.common.clip import Clip


def task_loss(method: UnlearningMethod[Any], pairs: Pairs, *, classifier: Tensor | None = None) -> Tensor:
    """The loss of a batch of pairs, by the kind of the method's request; a scalar.

    Args:
        method: Whose CLIP and names.
        pairs: A batch from the DataModule.
        classifier: Frozen unit-norm rows over `spec.all_names`, shape (C, D); None for the current text encoder's.
            A request by concept does not use it.
    """
    if not method.spec.request.classes:
        return method.pair_loss(pairs)
    rows = method.classifier() if classifier is None else classifier
    return F.cross_entropy(zero_shot_logits(method.clip, pairs["images"], rows), targets(method.spec, pairs))


def zero_shot_logits(clip: Clip, images: Tensor, classifier: Tensor) -> Tensor:
    """Scaled cosines of images with the rows of a classifier, shape (B, C)."""
    features = F.normalize(clip.encode_image(images).float(), dim=-1)
    return clip.logit_scale * features @ classifier.T


def targets(spec: ForgetSpec, pairs: Pairs) -> Tensor:
    """The row of each image's name in `spec.all_names`, shape (B,).

    A method knows names and not class indices, so the name is read off the prompt, as the DataModule wrote it.
    """
    row_of = {spec.templates[0].format(name): row for row, name in enumerate(spec.all_names)}
    return torch.tensor([row_of[text] for text in pairs["texts"]], device=pairs["images"].device)
