"""Every way that weights come: what wraps a state dict, folders, the hub, transformers' names, image statistics."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file
from tiny import ARCHITECTURES, WIDTH, random_images
from torch import Tensor

from benchmark.models.checkpoints import read_state_dict
from benchmark.models.loading import load_clip
from benchmark.models.naming import model_identity, parse_model
from benchmark.models.tensor_files import WeightsError
from benchmark.models.weights_input import images_of_file
from datamodules.common.errors import BenchmarkError
from datamodules.common.images import OPENAI_MEAN

State = dict[str, Tensor]
NAME = "small-weights-vit"
CONFIG: dict[str, Any] = {
    "embed_dim": WIDTH,
    "vision_cfg": ARCHITECTURES["vit"].vision,
    "text_cfg": {**ARCHITECTURES["vit"].text, "vocab_size": 49408},
}
HALF = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bilinear", "resize_mode": "squash"}


@pytest.fixture(scope="module", autouse=True)
def architecture(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("configs") / f"{NAME}.json"
    path.write_text(json.dumps(CONFIG))
    open_clip.add_model_config(path)


@pytest.fixture(scope="module")
def state() -> State:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.create_model(NAME, device="cpu")
    return {name: value.detach() for name, value in model.state_dict().items()}


def prefixed(state: State, prefix: str) -> State:
    return {prefix + name: value for name, value in state.items()}


def trained(state: State) -> dict[str, Any]:
    """As open_clip's training writes it, with the optimizer of early versions: its learning rate is a numpy scalar."""
    group = {"lr": np.float64(1e-3), "step": np.int64(3), "betas": (0.9, 0.98), "params": [0]}
    optimizer = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [group]}
    return {"epoch": 1, "name": "run", "state_dict": prefixed(state, "module."), "optimizer": optimizer}


def of_lightning(state: State) -> dict[str, Any]:
    others = {"loss.margin": torch.ones(1), "head.weight": torch.ones(2, 2)}
    about = {"epoch": 1, "pytorch-lightning_version": "2.6.0", "loops": {}, "optimizer_states": []}
    return {**about, "hyper_parameters": {"lr": 0.1}, "state_dict": {**prefixed(state, "model.clip."), **others}}


FORMS: dict[str, Callable[[State], Any]] = {
    "the optimizer beside it, numpy scalars": trained,
    "Lightning": of_lightning,
    "torch.compile": lambda state: prefixed(state, "_orig_mod."),
    "torch.compile within DDP": lambda state: {"model": prefixed(state, "module._orig_mod.")},
    "towers compiled alone": lambda state: {n.replace("visual.", "visual._orig_mod."): v for n, v in state.items()},
    "under model, beside the arguments": lambda state: {"model": state, "args": argparse.Namespace(lr=0.1), "epoch": 3},
    "under a name of its own": lambda state: {"student": state, "epoch": 3},
    "two deep": lambda state: {"state_dict": {"model": state}},
    "any prefix": lambda state: prefixed(state, "student.backbone."),
    "the text tower in text.": lambda state: {
        name if name.startswith(("visual.", "logit_")) else f"text.{name}": value for name, value in state.items()
    },
    "a temperature of shape (1,)": lambda state: {**state, "logit_scale": state["logit_scale"][None]},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.loads(
    "model",
    "a checkpoint with the tensors under `state_dict`, `model`, ..., with `module.`, `_orig_mod.` or any "
    "common prefix, beside an optimizer, arguments or a loss",
    "loads",
)
def test_a_checkpoint_loads_whatever_is_around_it(form: str, state: State, tmp_path: Path) -> None:
    torch.save(FORMS[form](state), tmp_path / "w.ckpt")
    loaded = load_clip(f"{NAME}:{tmp_path / 'w.ckpt'}").model.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in state.items())


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.loads("model", "half precision", "loads, computed in single")
def test_half_precision_is_computed_in_single(kind: torch.dtype, state: State, tmp_path: Path) -> None:
    save_file({name: value.to(kind) for name, value in state.items()}, tmp_path / "w.safetensors")
    clip = load_clip(f"{NAME}:{tmp_path / 'w.safetensors'}")
    assert {parameter.dtype for parameter in clip.model.parameters()} == {torch.float32}
    assert torch.equal(clip.model.state_dict()["ln_final.weight"], state["ln_final.weight"].to(kind).float())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (lambda s: {"epoch": 1, "teacher": {"a": 1}}, "its entries are 'epoch', 'teacher'"),
        (lambda s: {**prefixed(s, "model."), **prefixed(s, "ema.")}, "holds two models, under 'model.' and 'ema.'"),
        (lambda s: prefixed({"visual.proj": s["visual.proj"]}, "m."), "(1 of the model's"),
        (lambda s: {**s, "more.weight": torch.ones(1), "more.bias": torch.ones(1)}, "more.bias does not belong there"),
    ],
)
@pytest.mark.loads(
    "model",
    "two models in one file; missing, foreign or other-sized tensors; an unknown key",
    "one line: what was found, what was expected",
)
def test_what_does_not_fit_is_said_with_what_was_found(
    content: Callable[[State], Any], says: str, state: State, tmp_path: Path
) -> None:
    torch.save(content(state), tmp_path / "w.pt")
    with pytest.raises(BenchmarkError) as caught:
        load_clip(f"{NAME}:{tmp_path / 'w.pt'}")
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.loads("model", "a pickle that would run code", "refused; nothing of it is run")
def test_what_is_no_data_is_still_refused(tmp_path: Path) -> None:
    class Ran:
        def __reduce__(self):
            return (Path.mkdir, (tmp_path / "ran",))

    torch.save({"state_dict": {"a": torch.ones(1)}, "args": argparse.Namespace(x=Ran())}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="could run code"):
        read_state_dict(tmp_path / "w.pt")
    assert not (tmp_path / "ran").exists()


def write_folder(folder: Path, state: State, **more: Any) -> Path:
    folder.mkdir()
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "open_clip_model.safetensors")
    content = {"model_cfg": CONFIG, "preprocess_cfg": HALF, **more}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    return folder


@pytest.mark.loads(
    "model",
    "a folder with `open_clip_config.json`, as `export` writes and the hub has",
    "loads, by `local-dir:DIR`, `DIR`, or its file",
)
def test_a_folder_of_open_clip_loads_in_each_of_its_forms(state: State, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "mine", state)
    expected = open_clip.create_model(f"local-dir:{folder}").eval()
    weights = folder / "open_clip_model.safetensors"
    images = random_images(2)
    names = (f"local-dir:{folder}", str(folder), str(weights), f"{folder / 'open_clip_config.json'}:{weights}")
    for name in names:
        clip = load_clip(name)
        assert torch.equal(clip.encode_image(images), expected.encode_image(images))
        tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(["a photo of a dog"])
        assert torch.equal(clip.tokenize(["a photo of a dog"]), tokens)
        assert clip.preprocessing.mean == (0.5, 0.5, 0.5) and clip.preprocessing.resize == "squash"
    assert len({model_identity(name) for name in names}) == 1
    before = model_identity(names[0])
    write_folder(tmp_path / "other", state, preprocess_cfg={})
    assert model_identity(f"local-dir:{tmp_path / 'other'}") != before, "its images count"


@pytest.mark.loads("model", "`hf-hub:ORG/NAME`, perhaps `@REVISION`", "loads; the commit is in the key")
def test_a_model_of_the_hub_is_its_folder_at_a_commit(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / ("c" * 40), state)
    asked: list[tuple[str, str | None, tuple[str, ...]]] = []

    def fetch(repository: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((repository, revision, tuple(allow_patterns)))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert model_identity("hf-hub:some/model@main") == f"hf-hub:some/model@{'c' * 16}"
    assert not any("safetensors" in pattern for _, _, patterns in asked for pattern in patterns), "no weights yet"
    clip = load_clip("hf-hub:some/model@main")
    assert torch.equal(clip.model.state_dict()["visual.proj"], state["visual.proj"])
    assert asked[-1] == ("some/model", "c" * 40, ("open_clip_model.safetensors",)), "weights of that very commit"
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: (_ for _ in ()).throw(OSError("no way")))
    with pytest.raises(WeightsError, match=r"could not be fetched from the hub \(no way\).*--model local-dir:DIR"):
        load_clip("hf-hub:some/model")


@pytest.mark.parametrize("name", ["hf-hub:alone", "hf-hub:", "hf-hub:a/b/c", "local-dir:nowhere"])
def test_what_names_no_model_is_one_line(name: str) -> None:
    with pytest.raises(BenchmarkError) as caught:
        model_identity(name)
    assert name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.loads("model", "a folder without weights or configuration", "one line names what is missing")
def test_a_folder_says_what_it_lacks(state: State, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "mine", state)
    (folder / "open_clip_model.safetensors").rename(folder / "notes.txt")
    with pytest.raises(WeightsError, match=r"there is nothing in .*, but notes\.txt, open_clip_config\.json"):
        load_clip(f"local-dir:{folder}")
    (folder / "open_clip_config.json").unlink()
    with pytest.raises(WeightsError, match=r"neither open_clip_config\.json nor config\.json of transformers"):
        load_clip(f"local-dir:{folder}")


@pytest.mark.loads(
    "model",
    "a file alone, of which nothing says mean and standard deviation",
    "loads; what is assumed is told",
)
def test_the_statistics_of_a_file_are_those_of_its_tag_or_its_configuration_or_told(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    assumed = images_of_file("ViT-L-14", "", path)
    assert tuple(assumed.images["mean"]) == OPENAI_MEAN and "OpenAI's mean" in assumed.note
    by_tag = images_of_file("ViT-L-14", "laion2b_s32b_b82k", path)
    assert by_tag.images["mean"] == [0.5, 0.5, 0.5] and not by_tag.note
    assert parse_model(f"ViT-L-14/laion2b_s32b_b82k:{path}") == ("ViT-L-14", "laion2b_s32b_b82k", path)
    agreed = images_of_file("ViT-B-16-SigLIP", "", path)
    assert agreed.images["resize_mode"] == "squash" and not agreed.note, "its only tag says so"
    content = {"model_cfg": open_clip.get_model_config("ViT-L-14"), "preprocess_cfg": HALF}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(content))
    beside = images_of_file("ViT-L-14", "", path)
    assert beside.images == HALF and not beside.note
    with pytest.raises(WeightsError, match="quick_gelu"):
        images_of_file("ViT-L-14-quickgelu", "", path)


SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
THEIRS: dict[str, dict[str, Any]] = {
    "clip": {
        "model_type": "clip",
        "projection_dim": 16,
        "vision_config": {**SMALL, "image_size": 32, "patch_size": 8},
        "text_config": {**SMALL, "max_position_embeddings": 16, "vocab_size": 49408, "eos_token_id": 2},
    },
    "siglip": {
        "model_type": "siglip",
        "vision_config": {**SMALL, "image_size": 32, "patch_size": 8},
        "text_config": {**SMALL, "max_position_embeddings": 16, "vocab_size": 300, "projection_size": 32},
    },
}
PUBLISHED = {
    "clip": {
        "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
        "vision_model.encoder.layers.1.mlp.fc2.weight": "visual.transformer.resblocks.1.mlp.c_proj.weight",
        "text_model.encoder.layers.0.layer_norm2.weight": "transformer.resblocks.0.ln_2.weight",
        "text_model.embeddings.position_embedding.weight": "positional_embedding",
    },
    "siglip": {
        "vision_model.embeddings.patch_embedding.bias": "visual.trunk.patch_embed.proj.bias",
        "vision_model.head.mlp.fc1.weight": "visual.trunk.attn_pool.mlp.fc1.weight",
        "text_model.head.weight": "text.text_projection.weight",
        "logit_bias": "logit_bias",
    },
}
"""Some of transformers' names, as published, and where open_clip has the same tensor."""


def random_weights(kind: str) -> State:
    """Random weights of a small model by the names and in the shapes of transformers."""
    width, inner, draw = SMALL["hidden_size"], SMALL["intermediate_size"], torch.Generator().manual_seed(0)
    text = THEIRS[kind]["text_config"]
    shapes: dict[str, tuple[int, ...]] = {
        "logit_scale": () if kind == "clip" else (1,),
        "vision_model.embeddings.patch_embedding.weight": (width, 3, 8, 8),
        "vision_model.embeddings.position_embedding.weight": (16 + (kind == "clip"), width),
        "text_model.embeddings.token_embedding.weight": (text["vocab_size"], width),
        "text_model.embeddings.position_embedding.weight": (16, width),
    }
    norms = ["vision_model.post_layernorm", "text_model.final_layer_norm"]
    linear: dict[str, tuple[int, int]] = {}
    for layer in (f"{tower}_model.encoder.layers.{n}" for tower in ("vision", "text") for n in range(2)):
        norms += [f"{layer}.layer_norm1", f"{layer}.layer_norm2"]
        linear |= {f"{layer}.self_attn.{part}": (width, width) for part in ("q_proj", "k_proj", "v_proj", "out_proj")}
        linear |= {f"{layer}.mlp.fc1": (inner, width), f"{layer}.mlp.fc2": (width, inner)}
    if kind == "clip":
        norms += ["vision_model.pre_layrnorm"]
        shapes |= {"vision_model.embeddings.class_embedding": (width,)}
        shapes |= {"visual_projection.weight": (16, width), "text_projection.weight": (16, width)}
    else:
        head = "vision_model.head"
        norms += [f"{head}.layernorm"]
        shapes |= {"logit_bias": (1,), "vision_model.embeddings.patch_embedding.bias": (width,)}
        shapes |= {f"{head}.probe": (1, 1, width), f"{head}.attention.in_proj_weight": (3 * width, width)}
        shapes |= {f"{head}.attention.in_proj_bias": (3 * width,)}
        linear |= {f"{head}.attention.out_proj": (width, width), "text_model.head": (32, width)}
        linear |= {f"{head}.mlp.fc1": (inner, width), f"{head}.mlp.fc2": (width, inner)}
    shapes |= {f"{name}.weight": shape for name, shape in linear.items()}
    shapes |= {f"{name}.bias": shape[:1] for name, shape in linear.items()}
    shapes |= {f"{name}.{part}": (width,) for name in norms for part in ("weight", "bias")}
    return {name: torch.randn(shape, generator=draw) * 0.2 for name, shape in shapes.items()}


def write_theirs(folder: Path, kind: str, **images: Any) -> tuple[Path, State]:
    state = random_weights(kind)
    folder.mkdir()
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(THEIRS[kind]))
    (folder / "preprocessor_config.json").write_text(json.dumps(images))
    return folder, state


class Characters:
    """A tokenizer of characters in the place of SentencePiece's."""

    def __call__(self, texts: list[str]) -> Tensor:
        return torch.tensor([[2 + ord(sign) for sign in text.ljust(16)[:16]] for text in texts])


@pytest.mark.parametrize("kind", PUBLISHED)
@pytest.mark.loads("model", "a folder of transformers: CLIP or SigLIP", "loads, with its own preprocessing")
def test_a_folder_of_transformers_loads_by_its_published_names(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "siglip":
        monkeypatch.setattr("benchmark.models.loading.tokenizer_of", lambda *_: Characters())
    size = {"shortest_edge": 32} if kind == "clip" else {"height": 32, "width": 32}
    folder, state = write_theirs(tmp_path / "theirs", kind, size=size, image_mean=[0.1, 0.2, 0.3])
    clip = load_clip(f"local-dir:{folder}")
    loaded = clip.model.state_dict()
    for theirs, ours in PUBLISHED[kind].items():
        assert torch.equal(loaded[ours].flatten(), state[theirs].flatten()), theirs
    prefix = "visual.trunk.blocks.1.attn.qkv.weight" if kind == "siglip" else None
    packed = loaded[prefix or "visual.transformer.resblocks.1.attn.in_proj_weight"]
    layer = "vision_model.encoder.layers.1.self_attn"
    assert torch.equal(packed, torch.cat([state[f"{layer}.{part}_proj.weight"] for part in "qkv"]))
    assert clip.preprocessing.mean == (0.1, 0.2, 0.3)
    assert clip.preprocessing.resize == ("shortest" if kind == "clip" else "squash")
    if kind == "clip":
        assert torch.equal(loaded["visual.proj"], state["visual_projection.weight"].T)
    else:
        bias = state["vision_model.head.attention.in_proj_bias"]
        assert torch.equal(loaded["visual.trunk.attn_pool.kv.bias"], bias[32:])


def test_a_file_of_transformers_that_does_not_fit_says_what_to_use_in_its_place(tmp_path: Path) -> None:
    folder, _ = write_theirs(tmp_path / "theirs", "clip")
    with pytest.raises(WeightsError) as caught:
        load_clip(f"ViT-S-32-alt:{folder / 'model.safetensors'}")
    message = str(caught.value)
    assert "the names of Hugging Face transformers" in message and "--model local-dir:DIR" in message
    assert "\n" not in message


@pytest.mark.parametrize("place", ["two words/w 1.pt", "a:b/run: 3.pt", "C:/x.pt", "ViT-B-32:openai.pt"])
def test_a_path_may_hold_colons_and_spaces(place: str) -> None:
    assert parse_model(f"ViT-B-32:{place}") == ("ViT-B-32", "", Path(place))
    assert parse_model(f"ViT-L-14/openai:{place}") == ("ViT-L-14", "openai", Path(place))
    assert parse_model(f"local-dir:{place}") == ("local-dir", "", Path(place))


@pytest.mark.skipif(find_spec("transformers") is None, reason="the extra `huggingface` is not installed")
@pytest.mark.parametrize("kind", PUBLISHED)
def test_features_are_those_of_transformers(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

    if kind == "siglip":
        monkeypatch.setattr("benchmark.models.loading.tokenizer_of", lambda *_: Characters())
    folder, state = write_theirs(tmp_path / "theirs", kind, size=32, do_center_crop=True, crop_size=32)
    config = (CLIPConfig if kind == "clip" else SiglipConfig)(**THEIRS[kind])
    theirs = (CLIPModel if kind == "clip" else SiglipModel)(config).eval()
    assert not theirs.load_state_dict(state, strict=False).unexpected_keys
    clip, images = load_clip(f"local-dir:{folder}"), random_images(3)
    texts = ["a photo of a dog", "two cats"]
    tokens = clip.tokens(texts)
    with torch.no_grad():
        answers = theirs(input_ids=tokens, pixel_values=images)
        ours = [torch.nn.functional.normalize(x, dim=-1) for x in (clip.encode_image(images), clip.encode_text(texts))]
    assert torch.allclose(ours[0], answers.image_embeds, atol=1e-5)
    assert torch.allclose(ours[1], answers.text_embeds, atol=1e-5)
