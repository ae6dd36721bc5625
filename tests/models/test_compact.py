"""Compact files: what is saved is what is loaded, in half precision, with CLIP's own vocabulary."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import ARCHITECTURES, random_images

from benchmark.models.compact import TRUNKS, VOCABULARY, ClipTokenizer, file_sha256, load_compact, save_compact
from benchmark.models.loading import load_clip, weights_hash
from benchmark.models.naming import model_identity
from benchmark.models.tensor_files import WeightsError
from benchmark.pretraining.recipe import load_recipe

TEXTS = ["a photo of an apple", "two red buses", "a photo of an apple and a cat near the sea"]


@pytest.fixture(scope="module", params=["resnet", "vit", "micro"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    architecture = load_recipe("micro").architecture if request.param == "micro" else ARCHITECTURES[request.param]
    tokens = ClipTokenizer(architecture.text["context_length"])(TEXTS)
    ids = tokens.unique()
    torch.manual_seed(0)
    model = architecture.build(vocabulary=len(ids)).eval()
    path = tmp_path_factory.mktemp("compact") / "sub" / f"{request.param}.safetensors"
    save_compact(path, model, ids, architecture, {"seed": 0})
    return model, ids, torch.searchsorted(ids, tokens), path


def test_logits_survive_the_round_trip(saved) -> None:
    model, _, compact, path = saved
    clip = load_compact(path, "m")
    with torch.no_grad():
        before = torch.nn.functional.normalize(model.encode_image(random_images(3)), dim=-1)
        text = torch.nn.functional.normalize(model.encode_text(compact), dim=-1)
        image = torch.nn.functional.normalize(clip.encode_image(random_images(3)), dim=-1)
        names = torch.nn.functional.normalize(clip.encode_text(TEXTS), dim=-1)
    torch.testing.assert_close(image @ names.T, before @ text.T, atol=5e-3, rtol=0)
    torch.testing.assert_close(clip.logit_scale, model.logit_scale.exp(), rtol=2e-3, atol=0)


def test_compact_and_full_token_ids_give_the_same_text_features(saved) -> None:
    model, _, compact, path = saved
    clip = load_compact(path, "m")
    rounded = {n: v.half().float() if v.is_floating_point() else v for n, v in model.state_dict().items()}
    with torch.no_grad():
        wanted = torch.func.functional_call(Text(model), {f"clip.{n}": v for n, v in rounded.items()}, compact)
        torch.testing.assert_close(clip.encode_text(TEXTS), wanted, atol=1e-5, rtol=1e-5)


class Text(torch.nn.Module):
    def __init__(self, clip: torch.nn.Module) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.clip.encode_text(tokens)


def test_every_tensor_is_the_half_precision_of_what_was_saved(saved) -> None:
    model, ids, _, path = saved
    loaded = load_compact(path, "m").model.state_dict()
    for name, value in model.state_dict().items():
        found = loaded[name][ids] if name == "token_embedding.weight" else loaded[name]
        assert torch.equal(found, value.half().float() if value.is_floating_point() else value), name


def test_rows_that_training_never_touched_are_zero(saved) -> None:
    _, ids, _, path = saved
    rows = load_compact(path, "m").model.token_embedding.weight
    untouched = torch.ones(VOCABULARY, dtype=torch.bool)
    untouched[ids] = False
    assert rows.shape == (VOCABULARY, saved[0].token_embedding.embedding_dim) and not rows[untouched].any()
    assert rows[ids].any(dim=1).all()


def test_loaded_in_evaluation_mode_fp32_with_its_preprocessing(saved) -> None:
    path = saved[-1]
    clip = load_clip(str(path))
    assert clip.scale == "small" and clip.preprocessing.image_size == 32
    assert not any(module.training for module in clip.model.modules())
    assert {v.dtype for v in clip.model.parameters()} == {torch.float32}
    assert weights_hash(clip) == weights_hash(load_clip(str(path)))
    assert model_identity(str(path)) == f"compact:{file_sha256(path)[:16]}"


def test_no_temporary_file_is_left(saved) -> None:
    assert [p.name for p in saved[-1].parent.iterdir()] == [saved[-1].name]


def one_line(path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        load_compact(path, "m")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_foreign_safetensors_file_is_told(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    assert "architecture" in one_line(tmp_path / "foreign.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors", metadata={"format": "pt"})
    assert "architecture" in one_line(tmp_path / "other.safetensors")


def test_a_missing_or_broken_file_is_told(tmp_path: Path) -> None:
    assert "pretrain" in one_line(tmp_path / "absent.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"not tensors")
    assert "broken" in one_line(tmp_path / "broken.safetensors")


def test_a_file_that_does_not_fit_its_architecture_is_told(saved, tmp_path: Path) -> None:
    from safetensors import safe_open

    with safe_open(saved[-1], framework="pt") as stored:
        metadata = stored.metadata()
    tensors = load_file(saved[-1])
    for change in ("token_ids", "text_projection"):
        path = tmp_path / f"{change}.safetensors"
        save_file({n: v for n, v in tensors.items() if n != change}, path, metadata=metadata)
        assert path.name in one_line(path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"timm_model_name": "vit_giant_patch14_224"}, "is no trunk of a small CLIP"),
        ({"timm_model_name": ["clip_micro_trunk"]}, "is no trunk of a small CLIP"),
        ({"timm_pool": "rot_attn"}, "vision.timm_pool of a small CLIP with a trunk is ''"),
        ({"timm_model_pretrained": True}, "vision.timm_model_pretrained is missing or no field beside a trunk"),
        ({"image_size": 100_000}, "is no number of a small CLIP"),
    ],
)
def test_a_trunk_is_one_of_ours_put_together_as_ours(change: dict[str, object], reason: str) -> None:
    architecture = load_recipe("micro").architecture
    architecture.check()
    with pytest.raises(ValueError, match=reason):
        replace(architecture, vision={**architecture.vision, **change}).check()


def test_the_known_trunks_are_those_that_are_registered() -> None:
    from timm.models import list_models

    import benchmark.models.trunks as trunks

    assert {name for name in TRUNKS if name in list_models()} == set(TRUNKS)
    assert set(TRUNKS) == {name for name in trunks.__all__ if name.endswith("_trunk")}
