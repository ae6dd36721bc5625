"""What reaches each linear map of an image encoder, seen in one ordinary forward pass.

A linear map acts on input vectors: a linear layer on its input, a convolution on its unfolded patches, attention on its
tokens (the maps to queries, keys and values) and on its mixed values (the map behind them), the visual projection on
the features before it. Weights are seen as matrices W, shape (outputs, inputs), with rows of a convolution flattened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.common.clip import Clip
from methods.common.projections import NoProjectionError, visual_projection

Sink = Callable[[str, Tensor], None]
Shower = Callable[[str, Sink, Any, tuple[Any, ...]], None]
ATTENTION_POOL = ("q_proj", "k_proj", "v_proj", "positional_embedding")


@dataclass(frozen=True)
class LinearMap:
    """One linear map.

    Attributes:
        weight: The stored weight.
        transposed: True where it is stored as W^T.
    """

    weight: nn.Parameter
    transposed: bool = False

    @torch.no_grad()
    def follow_input(self, projection: Tensor) -> None:
        """Let the map see `projection` x instead of x: W <- W projection, shape (inputs, inputs), in float64."""
        matrix = self.weight.double().T if self.transposed else self.weight.double().flatten(1)
        edited = matrix @ projection.double()
        self.weight.copy_((edited.T if self.transposed else edited).reshape(self.weight.shape))


def linear_maps(clip: Clip) -> dict[str, LinearMap]:
    """The linear maps of the image encoder by the state-dict names of their weights, its projection last if it has one.

    Convolutions in groups, padded by name or by other than zeros are left out: no one matrix acts on their patches. So
    is attention of learned queries to the tokens (CoCa's pool): its maps have two inputs.
    """
    maps = {}
    for path, module in _followed(clip.visual):
        if isinstance(module, nn.MultiheadAttention):
            maps[f"visual.{path}.in_proj_weight"] = LinearMap(module.in_proj_weight)
        if isinstance(module, nn.Linear) or is_plain_convolution(module):
            maps[f"visual.{path}.weight"] = LinearMap(cast(nn.Parameter, module.weight))
    try:
        projection = visual_projection(clip)
    except NoProjectionError:
        return maps
    last = projection.state_names[0]
    maps.pop(last, None)
    return {**maps, last: LinearMap(projection.weight, transposed=not projection.transposed)}


def _followed(visual: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules of an image encoder by their paths, without those of attention to something else than its input."""
    pools = tuple(f"{path}.attn." for path, module in visual.named_modules() if hasattr(module, "query"))
    yield from ((path, module) for path, module in visual.named_modules() if not f"{path}.".startswith(pools))


def is_plain_convolution(module: nn.Module) -> bool:
    """Whether a module is a convolution that one matrix describes: `F.unfold`, then a linear map."""
    if not isinstance(module, nn.Conv2d) or module.groups != 1:
        return False
    return module.padding_mode == "zeros" and not isinstance(module.padding, str)


@torch.no_grad()
def show_inputs(clip: Clip, images: Tensor, sink: Sink) -> None:
    """Pass images through the image encoder and hand each map's inputs to `sink`.

    Args:
        clip: The CLIP.
        images: Network input, shape (B, 3, S, S).
        sink: Called with a weight's state-dict name and its inputs as rows, shape (N, inputs); once a map and pass.
    """
    try:
        projection = visual_projection(clip)
    except NoProjectionError:
        with _hooks(clip, None, sink):
            clip.encode_image(images)
        return
    with projection.as_identity(), _hooks(clip, projection.owner, sink):
        features = clip.encode_image(images)
    sink(projection.state_names[0], features)


@contextmanager
def _hooks(clip: Clip, last: nn.Module | None, sink: Sink) -> Iterator[None]:
    handles = []
    for path, module in _followed(clip.visual):
        show = _shower(module) if module is not last else None
        if show is not None:
            handles.append(module.register_forward_pre_hook(partial(show, f"visual.{path}.", sink)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _shower(module: nn.Module) -> Shower | None:
    if isinstance(module, nn.MultiheadAttention):
        return _attention
    if all(hasattr(module, name) for name in ATTENTION_POOL):
        return _attention_pool
    if is_plain_convolution(module):
        return _convolution
    return _linear if isinstance(module, nn.Linear) else None


def _linear(prefix: str, sink: Sink, layer: Any, inputs: tuple[Any, ...]) -> None:
    sink(prefix + "weight", inputs[0].flatten(0, -2))


def _convolution(prefix: str, sink: Sink, layer: Any, inputs: tuple[Any, ...]) -> None:
    patches = F.unfold(inputs[0], layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    sink(prefix + "weight", patches.transpose(1, 2).flatten(0, 1))


def _attention(prefix: str, sink: Sink, layer: Any, inputs: tuple[Any, ...]) -> None:
    # The layers inside are used as weights, not called: their inputs are made again here.
    tokens = inputs[0] if layer.batch_first else inputs[0].transpose(0, 1)
    mapped = F.linear(tokens, layer.in_proj_weight, layer.in_proj_bias).chunk(3, dim=-1)
    query, key, value = (
        projected.reshape(*projected.shape[:2], layer.num_heads, -1).transpose(1, 2) for projected in mapped
    )
    mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
    sink(prefix + "in_proj_weight", tokens.flatten(0, 1))
    sink(prefix + "out_proj.weight", mixed.flatten(0, 1))


def _attention_pool(prefix: str, sink: Sink, layer: Any, inputs: tuple[Any, ...]) -> None:
    cells = inputs[0].flatten(2).transpose(1, 2)
    tokens = torch.cat([cells.mean(dim=1, keepdim=True), cells], dim=1) + layer.positional_embedding
    sink(prefix + "q_proj.weight", tokens[:, 0])  # only the mean's query reaches the output
    sink(prefix + "k_proj.weight", tokens.flatten(0, 1))
    sink(prefix + "v_proj.weight", tokens.flatten(0, 1))
