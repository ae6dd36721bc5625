"""The published architectures in full: OpenAI's names, shapes and values, and QuickGELU in every block that has one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import open_clip
import pytest
import torch
from openai_weights import PUBLISHED, SCALARS, State, random_state, shapes_of, weights_of
from torch import Tensor, nn

from benchmark.models.checkpoints import read_state_dict
from benchmark.models.loading import is_openai_state, load_clip
from benchmark.models.tensor_files import WeightsError
from methods.common.clip import Clip

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*")
PARAMETERS = {"RN50": 102_007_137, "ViT-B-16": 149_620_737, "ViT-L-14": 427_616_513}
"""Of OpenAI's models, as model cards count them."""
INITIALISERS = ("normal_", "uniform_", "kaiming_uniform_", "xavier_uniform_", "trunc_normal_")
HEAD = 64
"""Every head of OpenAI's CLIPs is 64 wide, which no state dict says."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_names_and_shapes_are_those_of_the_release(name: str) -> None:
    config, shapes = open_clip.get_model_config(f"{name}-quickgelu"), shapes_of(PUBLISHED[name])
    with torch.device("meta"):
        model = open_clip.CLIP(**config)
    assert config["quick_gelu"] is True
    assert shapes == {n: tuple(v.shape) for n, v in model.state_dict().items() if n != "attn_mask"}
    trained = {n for n, _ in model.named_parameters()}
    assert sum(torch.Size(shape).numel() for n, shape in shapes.items() if n in trained) == PARAMETERS[name]
    for module in model.modules():
        if isinstance(module, nn.MultiheadAttention):
            assert module.num_heads * HEAD == module.embed_dim
    if name == "RN50":
        assert model.visual.attnpool.num_heads * HEAD == shapes["visual.attnpool.q_proj.weight"][0]


@dataclass(frozen=True)
class Loaded:
    """A full architecture, from its file to its model."""

    name: str
    file: Path
    state: State
    clip: Clip


@pytest.fixture(scope="module", params=["RN50", "ViT-B-16"])
def full(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    """Random weights in OpenAI's format, saved and loaded; drawing initial values first would only take time."""
    state = random_state(PUBLISHED[request.param])
    file = tmp_path_factory.mktemp("weights") / f"{request.param}.pt"
    torch.save(state, file)
    with pytest.MonkeyPatch.context() as patch:
        for initialiser in INITIALISERS:
            patch.setattr(nn.init, initialiser, lambda tensor, *_, **__: tensor)
        yield Loaded(request.param, file, state, load_clip(f"{request.param}-quickgelu:{file}"))
    file.unlink()


def test_every_tensor_lands_with_its_value(full: Loaded) -> None:
    loaded = dict(weights_of(full.clip.model.state_dict()))
    wanted = dict(weights_of(full.state))
    assert {value.dtype for value in wanted.values()} == {torch.float16, torch.float32}
    assert set(loaded) - {"attn_mask"} == set(wanted) and is_openai_state(full.state)
    for name, value in wanted.items():
        assert loaded[name].dtype == torch.float32 and torch.equal(loaded[name], value.float()), name
    assert full.clip.preprocessing.image_size == 224 and full.clip.scale == "published"


def test_every_block_uses_quickgelu_in_its_forward(full: Loaded) -> None:
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    handles = [
        module.register_forward_hook(lambda _, given, out, name=name: seen.update({name: (given[0], out)}))
        for name, module in full.clip.model.named_modules()
        if name.endswith(".mlp")
    ]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        image = full.clip.encode_image(torch.randn(1, 3, 224, 224, generator=generator))
        text = full.clip.encode_text(["a photo of a dog"])
    for handle in handles:
        handle.remove()
    sizes = PUBLISHED[full.name]
    assert image.shape == text.shape == (1, sizes.embed) and torch.isfinite(image).all() and torch.isfinite(text).all()
    assert len(seen) == sizes.text_depth + (sizes.depth[0] if sizes.patch else 0)
    for name, (x, out) in seen.items():
        weight, bias, back, shift = (
            full.state[f"{name}.{layer}"].float()
            for layer in ("c_fc.weight", "c_fc.bias", "c_proj.weight", "c_proj.bias")
        )
        hidden = x @ weight.T + bias
        by_hand = (hidden / (1 + torch.exp(-1.702 * hidden))) @ back.T + shift
        exact = nn.functional.gelu(hidden) @ back.T + shift
        error, other = (out - by_hand).abs().max(), (out - exact).abs().max()
        assert error < 1e-4 * by_hand.abs().max() and other > 10 * error, name


def test_a_full_file_is_not_taken_for_another_architecture(full: Loaded) -> None:
    with pytest.raises(WeightsError) as caught:
        load_clip(f"ViT-B-32-quickgelu:{full.file}")
    assert f"{full.file.name} does not fit ViT-B-32-quickgelu: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_one_line(full: Loaded) -> None:
    part = full.file.with_name("part.pt")
    with full.file.open("rb") as whole:
        part.write_bytes(whole.read(2**20))
    with pytest.raises(WeightsError, match=r"part\.pt is not a checkpoint that can be read safely") as caught:
        read_state_dict(part)
    assert "\n" not in str(caught.value)


def test_the_three_numbers_are_what_tells_openai_weights_from_others() -> None:
    assert is_openai_state({name: torch.tensor(1) for name in SCALARS})
    for left_out in SCALARS:
        assert not is_openai_state({name: torch.tensor(1) for name in SCALARS if name != left_out})
