"""Gradient ascent on forget pairs: the loss that is maximised, in the forms that published work takes for a CLIP.

| form | loss of a batch of D_f | from |
|---|---|---|
| `cross-entropy` | -log softmax(scaled cosines with all names' prompts) at the image's name | MUNBa's CLIP ports |
| `cosine` | 1 - cos(image, its text) | SLUG (2407.11867) |
| `contrastive` | CLIP's symmetric InfoNCE within the batch | CLIPErase's table |

Within a batch of one class all texts are equal, so InfoNCE stays as it is when all cosines shift together: ascent on it
scatters the images of the class and does not forget its name. Requests by class therefore take another form. A request
by concept has no prompts of names to be told apart from: its cross-entropy is the contrastive loss.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

import torch.nn.functional as F
from torch import Tensor

from datamodules.common.module import Pairs
from methods.common.base import UnlearningMethod
from methods.common.zero_shot import task_loss

H = TypeVar("H")


class AscentMethod(UnlearningMethod[H]):
    """Base of the methods that maximise a loss on forget pairs.

    Hyperparameter that it asks for: `ascent` (a form of the table).
    """

    def ascent_loss(self, pairs: Pairs) -> Tensor:
        """The loss to maximise of a batch of forget pairs; a scalar."""
        form = cast(Any, self.h).ascent
        if form == "contrastive":
            return self.pair_loss(pairs)
        if form == "cosine":
            image, text = self.clip.encode_image(pairs["images"]), self.clip.encode_text(pairs["texts"])
            return 1 - F.cosine_similarity(image.float(), text.float(), dim=-1).mean()
        return task_loss(self, pairs)
