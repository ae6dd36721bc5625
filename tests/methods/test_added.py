"""Modules that a method adds: they begin as nothing, are built from names and shapes, merge where that is exact."""

from __future__ import annotations

import pickle
from collections.abc import Sequence

import pytest
import torch
from tiny import random_images, tiny_clip
from torch import Tensor, nn

from methods.common.added import (
    KINDS,
    AddedModuleError,
    added_modules,
    attach,
    host_of,
    merge,
    new_tensors,
    put,
    put_tensors,
)
from methods.common.clip import Clip
from methods.common.projections import NoProjectionError, visual_projection

TEXTS = ["a photo of a cat", "the bus here", "an apple"]
BLOCK = "visual.transformer.resblocks.0.mlp"
PLACES = [(kind, path) for kind in KINDS for path in (BLOCK, f"{BLOCK}.c_fc", "transformer.resblocks.1")]
PLACES += [("linear", "visual"), ("bottleneck", "visual")]


def _widths(clip: Clip, path: str) -> tuple[int, int]:
    seen: list[tuple[int, int]] = []
    handle = clip.model.get_submodule(path).register_forward_hook(
        lambda _, given, output: seen.append((given[0].shape[-1], output.shape[-1]))
    )
    _features(clip)
    handle.remove()
    return seen[0]


@torch.no_grad()
def _features(clip: Clip) -> tuple[Tensor, Tensor]:
    return clip.encode_image(random_images(3)), clip.encode_text(TEXTS)


def _with(clip: Clip, kind: str, path: str, *, trained: bool) -> Clip:
    inputs, outputs = _widths(clip, path)
    like = next(clip.model.parameters()).detach()
    tensors = new_tensors(kind, inputs=inputs, outputs=outputs, rank=3, like=like)
    if trained:
        generator = torch.Generator().manual_seed(1)
        tensors = {name: 0.3 * torch.randn(value.shape, generator=generator) for name, value in tensors.items()}
    put(clip.model, path, kind, tensors)
    return clip


def _gap(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(("kind", "path"), PLACES)
@pytest.mark.loads(
    "model",
    "a model with modules that a method added and left",
    "loads: they are built from their tensors",
)
def test_a_new_module_changes_nothing_and_a_trained_one_is_rebuilt_from_its_tensors(kind: str, path: str) -> None:
    before = _features(tiny_clip("vit"))
    assert _gap(_features(_with(tiny_clip("vit"), kind, path, trained=False)), before) < 1e-5
    trained = _with(tiny_clip("vit"), kind, path, trained=True)
    wanted = _features(trained)
    assert _gap(wanted, before) > 1e-3
    state = trained.model.state_dict()
    names = set(state) - set(tiny_clip("vit").model.state_dict())
    assert {host_of(name) for name in names} == {path} and len(names) == len(KINDS[kind].tensors)
    again = tiny_clip("vit")
    assert set(attach(again.model, state)) == names
    assert _gap(_features(again), wanted) == 0
    for copied in (trained.copy(), pickle.loads(pickle.dumps(trained))):
        assert _gap(_features(copied), wanted) == 0
        changed = next(value for name, value in copied.model.named_parameters() if host_of(name))
        with torch.no_grad():
            changed.mul_(2)  # not a constant, which the norm before it would hide
        assert _gap(_features(copied), wanted) > 1e-3 and _gap(_features(trained), wanted) == 0


@pytest.mark.parametrize("kind", ["low_rank", "linear"])
def test_merged_into_a_linear_host_it_gives_the_same(kind: str) -> None:
    clip = _with(tiny_clip("vit"), kind, f"{BLOCK}.c_fc", trained=True)
    wanted, names = _features(clip), set(tiny_clip("vit").model.state_dict())
    merge(clip.model)
    assert set(clip.model.state_dict()) == names and not added_modules(clip.model)
    assert not any(module._forward_hooks for module in clip.model.modules())
    assert _gap(_features(clip), wanted) < 1e-5


def test_what_cannot_be_merged_stays() -> None:
    for kind, path in (("bottleneck", f"{BLOCK}.c_fc"), ("low_rank", BLOCK)):
        clip = _with(tiny_clip("vit"), kind, path, trained=True)
        wanted = _features(clip)
        with pytest.raises(AddedModuleError, match="stays"):
            merge(clip.model)
        assert _gap(_features(clip), wanted) == 0
    model = nn.Sequential(nn.Linear(2, 2, bias=False))
    put(model, "0", "linear", {"weight": torch.zeros(2, 2), "bias": torch.ones(2)})
    with pytest.raises(AddedModuleError, match="no bias"):
        merge(model)


def test_no_projection_is_named_where_a_module_follows_it() -> None:
    assert visual_projection(_with(tiny_clip("vit"), "bottleneck", BLOCK, trained=True)).state_names == ("visual.proj",)
    with pytest.raises(NoProjectionError, match="goes on"):
        visual_projection(_with(tiny_clip("vit"), "linear", "visual", trained=True))
    with pytest.raises(NoProjectionError, match="goes on"):
        visual_projection(_with(tiny_clip("resnet"), "linear", "visual.attnpool", trained=True))


def test_names_that_are_of_no_standard_module_are_refused() -> None:
    model = tiny_clip("vit").model
    ones = torch.ones(2)
    for tensors, says in (
        ({f"{BLOCK}.added_low_rank_up": ones}, "has the tensors down, up"),
        ({f"{BLOCK}.added_gate_weight": ones}, "no tensor"),
        ({"visual.nowhere.added_linear_weight": ones, "visual.nowhere.added_linear_bias": ones}, "no module"),
        ({"visual.other": ones}, "no tensor"),
    ):
        with pytest.raises(AddedModuleError, match=says):
            put_tensors(model, tensors)
    assert not added_modules(model)


@pytest.mark.parametrize(
    ("kind", "model", "path", "says"),
    [("low_rank", "vit", "visual", "as its input is"), ("bottleneck", "resnet", "visual.layer4", "feature maps")],
)
def test_a_place_that_does_not_take_a_module_is_named(kind: str, model: str, path: str, says: str) -> None:
    with pytest.raises(AddedModuleError, match=says):
        _features(_with(tiny_clip(model), kind, path, trained=False))
