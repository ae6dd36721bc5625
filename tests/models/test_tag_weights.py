"""What `plan` says of the weights of a tag: from where they would be fetched, unless they are here."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import pytest

from benchmark.models import tag_weights
from benchmark.models.tag_weights import to_fetch


@pytest.mark.parametrize("name", ["shapes-resnet", "ViT-B-32:w.pt", "ViT-B-32/openai:w.pt", "local-dir:somewhere"])
def test_what_names_its_files_needs_nothing(name: str) -> None:
    assert to_fetch(name) == ""


def test_weights_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *where: asked.append(where))
    told = to_fetch("RN50/openai")
    assert "https://huggingface.co/timm/resnet50_clip.openai" in told and "--model RN50/openai:FILE" in told
    assert ("timm/resnet50_clip.openai", "open_clip_model.safetensors") in asked
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *where: "here")
    assert to_fetch("RN50/openai") == ""


def test_weights_of_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tag_weights, "CACHE_OF_ADDRESSES", tmp_path)
    name = "RN50/yfcc15m"
    monkeypatch.setattr("open_clip.get_pretrained_cfg", lambda *_: {"url": "https://there.org/a/w-1.pt"})
    assert "from https://there.org/a/w-1.pt into" in to_fetch(name)
    (tmp_path / "w-1.pt").touch()
    assert to_fetch(name) == ""


def test_a_tokenizer_of_the_hub_is_needed_also_beside_a_local_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(tag_weights, "find_spec", lambda _: None)
    told = to_fetch("ViT-B-16-SigLIP:w.pt")
    assert "its tokenizer timm/ViT-B-16-SigLIP is not on this machine" in told and "use --tokenizer DIR" in told
    assert "its weights" not in told and "its tokenizer needs transformers" in told
    monkeypatch.setattr(tag_weights, "find_spec", lambda _: True)
    assert to_fetch(f"ViT-B-16-SigLIP:w.pt?tokenizer={tmp_path}") == ""
    both = to_fetch("ViT-B-16-SigLIP/webli")
    assert "its weights are not on this machine" in both and "its tokenizer timm" in both and both.count("model '") == 1
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: "here")
    assert to_fetch("ViT-B-16-SigLIP/webli") == ""
