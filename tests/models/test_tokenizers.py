"""Tokenizers that are not CLIP's own: from a folder, which the model's name says; one line where there is none."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmark.models.building import built
from benchmark.models.compact import ClipTokenizer
from benchmark.models.naming import model_identity, needs_tokenizer, parse_model
from benchmark.models.tensor_files import WeightsError
from benchmark.models.tokenizers import split_tokenizer, tokenizer_of, with_tokenizer
from benchmark.records.record import without_folder
from benchmark.suites.suite_file import load_suite
from benchmark.suites.told_before import with_local_tokenizer

SIGLIP = "ViT-B-16-SigLIP/webli"
TEXT = {"context_length": 8, "hf_tokenizer_name": "nobody/nothing", "tokenizer_kwargs": {"clean": "canonicalize"}}


def folder_of(path: Path, content: str = "{}") -> Path:
    path.mkdir()
    (path / "tokenizer.json").write_text(content)
    return path


def test_the_folder_is_a_part_of_the_model_s_name_and_its_content_of_the_key(tmp_path: Path) -> None:
    first, second = folder_of(tmp_path / "one"), folder_of(tmp_path / "two", '{"other": 1}')
    name = with_tokenizer(SIGLIP, first)
    assert split_tokenizer(name) == (SIGLIP, first) and with_tokenizer(name, second) == name
    assert parse_model(name) == parse_model(SIGLIP)
    identities = {model_identity(with_tokenizer(SIGLIP, folder)) for folder in (first, second)}
    assert len({*identities, model_identity(SIGLIP)}) == 3
    assert without_folder(name) == f"{SIGLIP}?tokenizer=one", "the place of the folder is in no key"


def test_only_models_that_would_fetch_a_tokenizer_take_the_folder(tmp_path: Path) -> None:
    folder, suite = folder_of(tmp_path / "one"), load_suite("quick")
    assert needs_tokenizer(SIGLIP) and not needs_tokenizer("ViT-B-32/openai")
    assert with_local_tokenizer(suite, folder).models == suite.models
    with pytest.raises(WeightsError, match=r"holds no tokenizer: it needs one of tokenizer\.json"):
        with_local_tokenizer(suite, tmp_path)


def test_clip_s_own_tokenizer_needs_no_folder() -> None:
    assert tokenizer_of({"context_length": 20}, "m") == ClipTokenizer(20)
    assert tokenizer_of({}, "m") == ClipTokenizer(77)


@pytest.mark.loads(
    "model",
    "a family that needs a Hugging Face tokenizer, without the package",
    "one line names the extra",
)
def test_without_transformers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(WeightsError, match=r"nobody/nothing.*pip install -e '\.\[huggingface\]'"):
        tokenizer_of(TEXT, "m")


@pytest.mark.skipif(find_spec("transformers") is None, reason="the extra `huggingface` is not installed")
@pytest.mark.loads("model", "the same with `--tokenizer DIR`", "loads without a network")
def test_a_tokenizer_is_read_from_its_folder(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<pad>": 0, "<unk>": 1, "a": 2, "photo": 3}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    theirs = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", unk_token="<unk>")
    theirs.save_pretrained(tmp_path / "one")
    assert tokenizer_of(TEXT, "m", tmp_path / "one")(["A photo, dog"]).tolist() == [[2, 3, 1, 0, 0, 0, 0, 0]]
    (tmp_path / "one" / "tokenizer.json").write_text("{")
    with pytest.raises(WeightsError, match="copy the folder again"):
        tokenizer_of(TEXT, "m", tmp_path / "one")


@pytest.mark.loads(
    "model",
    "a text tower of transformers whose `config.json` is not here, without a network",
    "one line says what to copy",
)
def test_a_text_tower_of_transformers_that_is_not_here_says_what_to_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(**_: object) -> None:
        raise OSError("we could not connect to the hub")

    monkeypatch.setattr("open_clip.model.CustomTextCLIP", offline)
    config = {"embed_dim": 8, "vision_cfg": {}, "text_cfg": {"hf_model_name": "some/tower"}}
    with pytest.raises(WeightsError, match=r"copy some/tower's config\.json .* and use --tokenizer DIR"):
        built(config, "m")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"could not connect to the hub\)$"):
        built(config, "m", text_folder=tmp_path)
