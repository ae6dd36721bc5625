"""The inputs of each linear map: they make the map's outputs, and only what lies in their span matters."""

from __future__ import annotations

import pytest
import torch
from tiny import random_images, tiny_clip
from torch import Tensor, nn

from methods.common.layer_inputs import linear_maps, show_inputs

KINDS = ("resnet", "vit", "timm")
COUNTS = {"resnet": 3 + 4 * 3 + 4 + 4, "vit": 1 + 2 * 4 + 1, "timm": 1 + 2 * 3 + 1}
"""Stem, blocks, shortcuts and attention pool; patches, blocks and projection; stem, blocks and projection."""


def inputs_of(kind: str, images: Tensor) -> dict[str, Tensor]:
    seen: dict[str, Tensor] = {}

    def sink(name: str, rows: Tensor) -> None:
        assert name not in seen
        seen[name] = rows.double()

    show_inputs(tiny_clip(kind), images, sink)
    return seen


@pytest.mark.parametrize("kind", KINDS)
def test_every_map_is_seen_once_and_nothing_is_left_behind(kind: str) -> None:
    clip = tiny_clip(kind)
    maps, seen = linear_maps(clip), inputs_of(kind, random_images(1))
    assert set(maps) == set(seen) and len(maps) == COUNTS[kind]
    state = clip.model.state_dict()
    matrices = {n for n, v in state.items() if n.startswith("visual.") and v.ndim > 1 and "embedding" not in n}
    assert set(maps) == matrices
    show_inputs(clip, random_images(1), lambda name, rows: None)
    assert not any(module._forward_pre_hooks for module in clip.visual.modules())
    assert all(torch.equal(v, state[n]) for n, v in clip.model.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_rows_times_the_matrix_are_what_a_layer_gives(kind: str) -> None:
    clip, images = tiny_clip(kind), random_images(2)
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> object:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            flat = output.flatten(2).transpose(1, 2).flatten(0, 1) if output.ndim == 4 else output.flatten(0, -2)
            outputs[name] = flat - module.bias if module.bias is not None else flat

        return hook

    for path, module in clip.visual.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(keep(f"visual.{path}.weight"))
    clip.encode_image(images)
    seen = inputs_of(kind, images)
    assert len(outputs) > 4
    for name, output in outputs.items():
        weight = linear_maps(clip)[name].weight.double().flatten(1)
        torch.testing.assert_close(seen[name] @ weight.T, output.double(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_a_map_may_forget_all_but_the_span_of_its_inputs_and_nothing_of_it(kind: str) -> None:
    images = random_images(1)
    before = tiny_clip(kind).encode_image(images)
    narrow = 0
    for name, rows in inputs_of(kind, images).items():
        _, sizes, directions = torch.linalg.svd(rows, full_matrices=False)
        span = directions[sizes > 1e-6 * sizes[0]]
        narrow += len(span) < rows.shape[1]
        changes = []
        for kept in (span, span[1:]):
            clip = tiny_clip(kind)
            linear_maps(clip)[name].follow_input(kept.T @ kept)
            changes.append(float((clip.encode_image(images) - before).norm()))
        assert changes[0] < 0.05 * changes[1], (name, changes)
    assert narrow > (2 if kind == "timm" else 4)
