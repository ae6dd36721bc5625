"""The last layer of an image encoder: the linear map from visual features into the joint space.

Row vectors: an image's features x (1 x width) become v = x P with P of shape (width, D).

| encoder | where P is |
|---|---|
| ViT (open_clip) | `visual.proj`, shape (width, D), no bias |
| ModifiedResNet (RN50 and its like) | `visual.attnpool.c_proj`, weight (D, width) = P^T, with a bias |
| timm tower with a projection of open_clip's | `visual.head.proj`, or the last layer of `visual.head.mlp` |
| timm tower with its own (EVA, PE, MobileCLIP) | `visual.trunk.head`, or `visual.trunk.head.fc` |

The last two are linear layers: weight (D, width) = P^T, perhaps with a bias. SigLIP's tower ends in an attention pool
with a residual connection: it has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from datamodules.common.errors import BenchmarkError
from methods.common.added import added_at
from methods.common.clip import Clip


class NoProjectionError(BenchmarkError):
    """The image encoder does not end in a linear projection that is known here."""


LAST_LAYERS = ("attnpool.c_proj", "head.proj", "head.mlp.fc2", "trunk.head", "trunk.head.fc")
"""Where a linear layer is the last of an image encoder, by its path; the first that is there."""


@dataclass(frozen=True)
class VisualProjection:
    """Where the projection of an image encoder is.

    Attributes:
        owner: The module that holds it.
        weight_name: The weight's name in its owner.
        bias_name: The bias's name, or None.
        transposed: True where the weight is P^T, shape (D, width).
        prefix: The owner's path in the model's state dict, ending in a dot.
    """

    owner: nn.Module
    weight_name: str
    bias_name: str | None
    transposed: bool
    prefix: str

    @property
    def weight(self) -> nn.Parameter:
        """The stored weight."""
        weight: nn.Parameter = getattr(self.owner, self.weight_name)
        return weight

    @property
    def bias(self) -> nn.Parameter | None:
        """The stored bias."""
        return getattr(self.owner, self.bias_name) if self.bias_name else None

    @property
    def matrix(self) -> Tensor:
        """P, shape (width, D): a view of the stored weight."""
        return self.weight.T if self.transposed else self.weight

    @property
    def state_names(self) -> tuple[str, ...]:
        """The state-dict names of its tensors."""
        names = (self.weight_name, self.bias_name) if self.bias_name else (self.weight_name,)
        return tuple(self.prefix + name for name in names)

    @torch.no_grad()
    def compose(self, edit: Tensor) -> None:
        """Follow the projection by `edit`, shape (D, D): v becomes v @ edit, in float64, stored in place."""
        edit = edit.to(self.weight.device, torch.float64)
        edited = self.matrix.double() @ edit
        self.weight.copy_(edited.T if self.transposed else edited)
        if self.bias is not None:
            self.bias.copy_(self.bias.double() @ edit)

    @contextmanager
    def as_identity(self) -> Iterator[None]:
        """Let the encoder return its features before the projection, shape (B, width), while the block runs."""
        width = self.matrix.shape[0]
        saved = {name: getattr(self.owner, name) for name in (self.weight_name, self.bias_name) if name}
        try:
            eye = torch.eye(width, device=self.weight.device, dtype=self.weight.dtype)
            zero = torch.zeros(width, device=self.weight.device, dtype=self.weight.dtype)
            setattr(self.owner, self.weight_name, nn.Parameter(eye, requires_grad=False))
            if self.bias_name:
                setattr(self.owner, self.bias_name, nn.Parameter(zero, requires_grad=False))
            yield
        finally:
            for name, value in saved.items():
                setattr(self.owner, name, value)


def visual_projection(clip: Clip) -> VisualProjection:
    """Find the projection of a CLIP's image encoder.

    Raises:
        NoProjectionError: If the encoder ends in something else.
    """
    visual = clip.visual
    _check_last(clip, visual)
    if isinstance(getattr(visual, "proj", None), nn.Parameter):
        return VisualProjection(visual, "proj", None, False, "visual.")
    for path in LAST_LAYERS:
        layer: object = visual
        passed = [layer := getattr(layer, step, None) for step in path.split(".")]
        if isinstance(layer, nn.Linear):
            _check_last(clip, *passed)
            bias = "bias" if layer.bias is not None else None
            return VisualProjection(layer, "weight", bias, True, f"visual.{path}.")
    raise NoProjectionError(
        f"model {clip.name!r} has no linear projection after its image encoder: choose a method that edits other layers"
    )


def _check_last(clip: Clip, *modules: object) -> None:
    """Check that nothing was added at modules that end in a projection: it would come after it.

    Raises:
        NoProjectionError: If something was.
    """
    if any(isinstance(module, nn.Module) and added_at(module) for module in modules):
        raise NoProjectionError(f"model {clip.name!r} goes on after its projection: a method added a module there")


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
        if layer is not None:
            _check_last(clip, owner, layer)
        if isinstance(layer, nn.Sequential) and len(layer):  # of a text tower of transformers: the last of an MLP
            name, layer = f"{name}.{len(layer) - 1}", layer[-1]
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
