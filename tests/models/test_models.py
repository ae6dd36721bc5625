"""Models by name and by file: OpenAI's format, archives, and errors of one line."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch
from openai_weights import SCALARS, Sizes, State, random_state, write_archive
from safetensors.torch import save_file
from tiny import ARCHITECTURES, WIDTH, random_images
from torch import nn

from benchmark.models import loading as models
from benchmark.models.checkpoints import read_state_dict
from benchmark.models.loading import load_clip, weights_hash
from benchmark.models.naming import built_architecture, model_identity
from benchmark.models.tensor_files import WeightsError
from datamodules.common.errors import BenchmarkError, UnknownNameError

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*", "ignore:.*TorchScript archive.*")
KINDS = ("vit", "resnet")
TINY = {
    "vit": Sizes(WIDTH, 32, 32, (2,), 8, 32, text_depth=2, context=16, vocabulary=64),
    "resnet": Sizes(WIDTH, 32, 8, (1, 1, 1, 1), 0, 32, text_depth=2, context=16, vocabulary=64),
}
"""The architectures of `tiny`, with a vocabulary of 64."""


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
    """Random weights of a tiny architecture as OpenAI would release them."""
    return random_state(TINY[kind], seed=seed)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["state", "wrapped", "safetensors", "archive", "module-prefix"])
def test_openai_weights_land_equal(kind: str, form: str, tmp_path: Path) -> None:
    state, path = openai_state(kind), tmp_path / ("w.safetensors" if form == "safetensors" else "w.pt")
    if form == "archive":
        write_archive(state, path)
    elif form == "safetensors":
        save_file({n: v.contiguous() for n, v in state.items()}, path)
    elif form == "wrapped":
        torch.save({"state_dict": state, "epoch": 3}, path)
    elif form == "module-prefix":
        torch.save({f"module.{n}": value for n, value in state.items() if n not in SCALARS}, path)
    else:
        torch.save(state, path)
    clip = load_clip(f"tiny-{kind}-quickgelu:{path}")
    loaded = clip.model.state_dict()
    assert set(loaded) - {"attn_mask"} == set(state) - set(SCALARS)
    for name, value in loaded.items():
        if name in state and "num_batches_tracked" not in name:
            assert torch.equal(value, state[name].to(value.dtype)), name
    assert clip.model.training is False and clip.scale == "published"
    assert clip.preprocessing.image_size == 32
    assert next(clip.model.parameters()).dtype == torch.float32
    assert torch.isfinite(clip.encode_image(random_images(2))).all()


@pytest.mark.parametrize("kind", KINDS)
def test_openai_weights_without_quickgelu_are_an_error(kind: str, tmp_path: Path) -> None:
    for name, write in (("a.pt", torch.save), ("b.pt", write_archive)):
        write(openai_state(kind), tmp_path / name)
        message = one_line(f"tiny-{kind}:{tmp_path / name}")
        assert f"--model tiny-{kind}-quickgelu:{tmp_path / name}" in message


def test_other_weights_may_go_without_quickgelu(tmp_path: Path) -> None:
    model = open_clip.create_model("tiny-vit", device="cpu")
    torch.save(model.state_dict(), tmp_path / "w.pt")
    found = load_clip(f"tiny-vit:{tmp_path / 'w.pt'}").model.state_dict()
    assert all(torch.equal(v, found[n]) for n, v in model.state_dict().items())


def test_every_tag_is_built_with_the_activation_that_it_was_trained_with() -> None:
    rebuilt, by_architecture_alone = 0, []
    for architecture, tag in open_clip.list_pretrained():
        built = built_architecture(architecture, tag)
        has_quick_gelu = open_clip.get_model_config(built).get("quick_gelu")
        if open_clip.get_pretrained_cfg(architecture, tag).get("quick_gelu"):
            assert has_quick_gelu, (architecture, tag)
        elif has_quick_gelu:
            by_architecture_alone.append(f"{architecture}/{tag}")
        rebuilt += built != architecture
        assert tag in open_clip.list_pretrained_tags_by_model(built), (architecture, tag, built)
    assert rebuilt > 20, "laion400m and metaclip are among them, not only openai"
    assert by_architecture_alone == ["roberta-ViT-B-32/laion2b_s12b_b32k"], "the only weights of this architecture"


def test_an_archive_without_batch_counters_loads(tmp_path: Path) -> None:
    state = {n: v for n, v in openai_state("resnet").items() if "num_batches_tracked" not in n}
    write_archive(state, tmp_path / "w.pt")
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


@pytest.mark.parametrize("write", [torch.save, write_archive], ids=["state", "archive"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_a_truncated_file_is_one_line(write: Callable[[State, Path], None], share: float, tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    write(openai_state("vit"), path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert "w.pt is not a checkpoint that can be read safely" in one_line(f"tiny-vit-quickgelu:{path}")


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
    assert "Network is unreachable" in message and "--model ViT-B-32/openai:FILE" in message


def test_identity_follows_the_file_and_hash_follows_the_weights(tmp_path: Path) -> None:
    names = []
    for seed in (0, 1):
        torch.save(openai_state("vit", seed), tmp_path / f"{seed}.pt")
        names.append(f"tiny-vit-quickgelu:{tmp_path / f'{seed}.pt'}")
    assert model_identity(names[0]) != model_identity(names[1])
    assert weights_hash(load_clip(names[0])) == weights_hash(load_clip(names[0]))
    assert weights_hash(load_clip(names[0])) != weights_hash(load_clip(names[1]))
    assert model_identity("ViT-B-32/openai") == "ViT-B-32/openai"
