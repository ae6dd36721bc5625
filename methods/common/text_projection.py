"""The last layer of a text encoder: the linear map from text features into the joint space.

Row vectors, as in `methods.common.projections`: a text's features c (1 x width) become c P with P of shape (width, D).

| encoder | where P is |
|---|---|
| `open_clip.CLIP` | `text_projection`, shape (width, D), no bias, or a linear layer: weight (D, width) = P^T |
| `open_clip.CustomTextCLIP` | the same below `text` |
| a Hugging Face encoder of open_clip | `text.proj`, a linear layer |
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from methods.common.clip import Clip
from methods.common.projections import NoProjectionError, VisualProjection


class TextProjection(VisualProjection):
    """Where the projection of a text encoder is; all that holds for the image encoder's holds here too."""

    @torch.no_grad()
    def replace(self, matrix: Tensor) -> None:
        """Put another P, shape (width, D), in place; a bias stays as it is."""
        self.weight.copy_(matrix.T if self.transposed else matrix)


def text_projection(clip: Clip) -> TextProjection:
    """Find the projection of a CLIP's text encoder.

    Raises:
        NoProjectionError: If the encoder ends in something else.
    """
    places: tuple[tuple[object, str, str], ...] = (
        (clip.model, "text_projection", ""),
        (getattr(clip.model, "text", None), "text_projection", "text."),
        (getattr(clip.model, "text", None), "proj", "text."),
    )
    for owner, name, prefix in places:
        layer = getattr(owner, name, None)
        if isinstance(owner, nn.Module) and isinstance(layer, nn.Parameter):
            return TextProjection(owner, name, None, False, prefix)
        if isinstance(layer, nn.Linear):
            bias = "bias" if layer.bias is not None else None
            return TextProjection(layer, "weight", bias, True, f"{prefix}{name}.")
    raise NoProjectionError(
        f"model {clip.name!r} has no linear projection after its text encoder: choose a method that edits other layers"
    )


@torch.no_grad()
def text_features(clip: Clip, texts: Sequence[str]) -> Tensor:
    """What reaches the text projection: float64, shape (len(texts), width); not normalised."""
    with text_projection(clip).as_identity():
        return clip.encode_text(texts).double()
