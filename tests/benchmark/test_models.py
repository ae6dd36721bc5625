"""Models by name and by file: OpenAI's format, archives, and errors of one line."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from tiny import ARCHITECTURES, WIDTH, random_images
from torch import Tensor, nn

from benchmark import models
from benchmark.compact import WeightsError
from benchmark.models import load_clip, model_identity, read_state_dict, weights_hash
from datamodules.errors import BenchmarkError, UnknownNameError

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*", "ignore:.*TorchScript archive.*")
KINDS = ("vit", "resnet")
State = dict[str, Tensor]


@pytest.fixture(scope="module", autouse=True)
def tiny_configs(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("configs")
    for kind in KINDS:
        for suffix, quick in (("", False), ("-quickgelu", True)):
            config = {
                "embed_dim": WIDTH,
                "quick_gelu": quick,
                "vision_cfg": ARCHITECTURES[kind].vision,
                "text_cfg": {**ARCHITECTURES[kind].text, "vocab_size": 64},
            }
            path = folder / f"tiny-{kind}{suffix}.json"
            path.write_text(json.dumps(config))
            open_clip.add_model_config(path)


def openai_state(kind: str, seed: int = 0) -> State:
    """As OpenAI releases it: half precision, open_clip's key names, three scalars beside the weights."""
    torch.manual_seed(seed)
    model = open_clip.create_model(f"tiny-{kind}-quickgelu", device="cpu")
    state = {n: v.half() if v.is_floating_point() else v for n, v in model.state_dict().items()}
    state.pop("attn_mask", None)
    scalars = {"input_resolution": 32, "context_length": 16, "vocab_size": 64}
    return {**state, **{n: torch.tensor(v) for n, v in scalars.items()}}


class Node(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


def archive(state: State, path: Path) -> None:
    """A TorchScript archive whose state dict is the given one."""
    root = Node()
    for name, value in state.items():
        *parents, leaf = name.split(".")
        owner: nn.Module = root
        for parent in parents:
            if parent not in dict(owner.named_children()):
                owner.add_module(parent, Node())
            owner = owner.get_submodule(parent)
        owner.register_buffer(leaf, value)
    torch.jit.save(torch.jit.script(root), str(path))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["state", "wrapped", "safetensors", "archive", "module-prefix"])
def test_openai_weights_land_equal(kind: str, form: str, tmp_path: Path) -> None:
    state, path = openai_state(kind), tmp_path / ("w.safetensors" if form == "safetensors" else "w.pt")
    if form == "archive":
        archive(state, path)
    elif form == "safetensors":
        save_file({n: v.contiguous() for n, v in state.items()}, path)
    elif form == "wrapped":
        torch.save({"state_dict": state, "epoch": 3}, path)
    elif form == "module-prefix":
        weights = [n for n in state if n not in ("input_resolution", "context_length", "vocab_size")]
        torch.save({f"module.{n}": state[n] for n in weights}, path)
    else:
        torch.save(state, path)
    clip = load_clip(f"tiny-{kind}-quickgelu:{path}")
    loaded = clip.model.state_dict()
    assert set(loaded) - {"attn_mask"} == set(state) - {"input_resolution", "context_length", "vocab_size"}
    for name, value in loaded.items():
        if name in state:
            assert torch.equal(value, state[name].to(value.dtype)), name
    assert clip.model.training is False and clip.scale == "published"
    assert clip.preprocessing.image_size == 32
    assert next(clip.model.parameters()).dtype == torch.float32
    assert torch.isfinite(clip.encode_image(random_images(2))).all()


@pytest.mark.parametrize("kind", KINDS)
def test_openai_weights_without_quickgelu_are_an_error(kind: str, tmp_path: Path) -> None:
    for name, write in (("a.pt", torch.save), ("b.pt", archive)):
        write(openai_state(kind), tmp_path / name)
        message = one_line(f"tiny-{kind}:{tmp_path / name}")
        assert f"--model tiny-{kind}-quickgelu:{tmp_path / name}" in message


def test_other_weights_may_go_without_quickgelu(tmp_path: Path) -> None:
    model = open_clip.create_model("tiny-vit", device="cpu")
    torch.save(model.state_dict(), tmp_path / "w.pt")
    found = load_clip(f"tiny-vit:{tmp_path / 'w.pt'}").model.state_dict()
    assert all(torch.equal(v, found[n]) for n, v in model.state_dict().items())


def test_an_archive_without_batch_counters_loads(tmp_path: Path) -> None:
    state = {n: v for n, v in openai_state("resnet").items() if "num_batches_tracked" not in n}
    archive(state, tmp_path / "w.pt")
    load_clip(f"tiny-resnet-quickgelu:{tmp_path / 'w.pt'}")


def one_line(name: str) -> str:
    with pytest.raises(BenchmarkError) as caught:
        load_clip(name)
    message = str(caught.value)
    assert "\n" not in message and message
    return message


class Evil:
    def __reduce__(self):
        return (os.mkdir, (str(Evil.target),))


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    Evil.target = tmp_path / "ran"
    torch.save({"a": Evil()}, tmp_path / "zip.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps({"a": Evil()}))
    for name in ("zip.pt", "plain.pt"):
        with pytest.raises(WeightsError):
            read_state_dict(tmp_path / name)
        assert name in one_line(f"tiny-vit:{tmp_path / name}")
        assert not Evil.target.exists()


def test_files_that_do_not_fit_are_one_line(tmp_path: Path) -> None:
    path, name = tmp_path / "w.pt", f"tiny-vit-quickgelu:{tmp_path / 'w.pt'}"
    state = openai_state("vit")
    torch.save({n: v for n, v in state.items() if n != "text_projection"}, path)
    assert "text_projection is missing" in one_line(name)
    torch.save({**state, "extra.weight": torch.zeros(1)}, path)
    assert "extra.weight does not belong" in one_line(name)
    torch.save({**state, "text_projection": torch.zeros(3, 3)}, path)
    assert "text_projection" in one_line(name)
    torch.save([1, 2], path)
    assert "state dict" in one_line(name)
    torch.save(openai_state("resnet"), path)
    assert "does not fit tiny-vit-quickgelu" in one_line(name)
    path.write_bytes(b"garbage")
    assert "w.pt" in one_line(name)


def test_a_missing_file_is_one_line_before_and_at_loading(tmp_path: Path) -> None:
    name = f"tiny-vit:{tmp_path / 'absent.pt'}"
    with pytest.raises(WeightsError, match="no file"):
        model_identity(name)
    assert "absent.pt" in one_line(name)
    assert "absent" in one_line(str(tmp_path / "absent.safetensors"))


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("ViT-B32/openai", "'ViT-B-32'"),
        ("ViT-B-32/opnai", "'openai'"),
        ("tiny-vt:file.pt", "'tiny-vit'"),
        ("nonsense", "ARCHITECTURE/TAG"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(name: str, nearest: str) -> None:
    for ask in (model_identity, load_clip):
        with pytest.raises(UnknownNameError) as caught:
            ask(name)
        assert nearest in str(caught.value) and "\n" not in str(caught.value)


def test_shipped_models_are_known_by_name_and_misspellings_answered() -> None:
    for name in models.shipped_models():
        assert model_identity(name).startswith("compact:")
        with pytest.raises(UnknownNameError, match=name):
            model_identity(name[:-1])


def test_offline_the_advice_is_to_bring_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def offline(architecture: str, **kwargs: object) -> nn.Module:
        asked.append(architecture)
        raise OSError("Network is unreachable\nsecond line")

    monkeypatch.setattr(open_clip, "create_model", offline)
    message = one_line("ViT-B-32/openai")
    assert asked == ["ViT-B-32-quickgelu"]
    assert "Network is unreachable" in message and "--model ViT-B-32-quickgelu:FILE" in message


def test_identity_follows_the_file_and_hash_follows_the_weights(tmp_path: Path) -> None:
    names = []
    for seed in (0, 1):
        torch.save(openai_state("vit", seed), tmp_path / f"{seed}.pt")
        names.append(f"tiny-vit-quickgelu:{tmp_path / f'{seed}.pt'}")
    assert model_identity(names[0]) != model_identity(names[1])
    assert weights_hash(load_clip(names[0])) == weights_hash(load_clip(names[0]))
    assert weights_hash(load_clip(names[0])) != weights_hash(load_clip(names[1]))
    assert model_identity("ViT-B-32/openai") == "ViT-B-32/openai"
