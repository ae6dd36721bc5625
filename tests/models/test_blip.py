"""BLIP as a model family: similarities equal the library's, methods keep the contract, a whole run, one-line errors."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tiny import APPLE, NAMES, TinyDataset, random_images
from world import ROOT, command, small_world

from benchmark.evaluation.embeddings import EmbeddingStore
from benchmark.models import blip, blip_folder
from benchmark.models.loading import load_clip, weights_hash
from benchmark.models.naming import model_identity, parse_model
from benchmark.models.tensor_files import WeightsError
from benchmark.records.store import RecordStore
from benchmark.unlearning.cost import tower_flops
from benchmark.unlearning.unlearn import Unlearned, unlearn
from datamodules.common import synthetic
from datamodules.shapes_world.vocabulary import TEMPLATES, VOCABULARY
from methods.common.card import resolve
from methods.common.clip import parameter_group
from methods.common.projections import visual_projection
from methods.common.registry import Registry

SIDE, WIDTH, EMBEDDING, LAYERS, INNER, PATCH = 32, 32, 16, 2, 48, 8
TEXTS = ["a photo of an apple", "bus", "the sunflower here is a sunflower", "zebra"]
SUITE = """title: a tiny suite of BLIP
models: ["{model}"]
seeds: [0]
methods: [original, ccup, cliperase]
hparams:
  cliperase: {{max_steps: 2, batch_size: 4}}
tasks:
  - dataset: shapes
    others: [shapes_colours]
    requests: [{{classes: [star]}}]
"""
needs_transformers = pytest.mark.skipif(
    find_spec("transformers") is None, reason="the extra `blip` (transformers) is not installed"
)


def vocabulary() -> list[str]:
    """WordPiece: the special tokens, letters as a last resort, and the words that the tests use."""
    letters = [chr(ord("a") + i) for i in range(26)]
    templates = [template.format("") for each in TEMPLATES.values() for template in each]
    words = " ".join([*TEXTS[:3], *NAMES, *templates, *(name for each in VOCABULARY.values() for name in each)])
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return list(dict.fromkeys([*special, *letters, *(f"##{letter}" for letter in letters), *words.lower().split()]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BLIP of random weights as transformers saves it; not to be changed."""
    from transformers import BlipConfig, BlipForImageTextRetrieval

    path, words = tmp_path_factory.mktemp("model") / "blip", vocabulary()
    shape = {"hidden_size": WIDTH, "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": 4}
    text = {**shape, "vocab_size": len(words), "max_position_embeddings": 40, "bos_token_id": 2, "sep_token_id": 3}
    vision = {**shape, "image_size": SIDE, "patch_size": PATCH}
    config = BlipConfig(text_config=text, vision_config=vision, image_text_hidden_size=EMBEDDING)
    with torch.random.fork_rng(devices=[]), blip._quiet():
        torch.manual_seed(0)
        model = BlipForImageTextRetrieval(config)
        for parameter in model.parameters():  # the library's own initialisation makes all images alike
            parameter.data.normal_(std=0.3).add_(float(parameter.ndim == 1))
        model.save_pretrained(path)
    (path / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    size = {"height": SIDE, "width": SIDE}
    images = {"size": size, "resample": 3, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}
    (path / "preprocessor_config.json").write_text(json.dumps(images))
    return path


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    """The folder, to be damaged."""
    return Path(shutil.copytree(folder, tmp_path / "copied"))


def library_scores(folder: Path, images: torch.Tensor) -> torch.Tensor:
    from transformers import AutoTokenizer, BlipForImageTextRetrieval

    with blip._quiet(), torch.no_grad():
        model = BlipForImageTextRetrieval.from_pretrained(folder, local_files_only=True).eval()
        words = AutoTokenizer.from_pretrained(folder, local_files_only=True)(TEXTS, padding=True, return_tensors="pt")
        asked = {name: words[name] for name in ("input_ids", "attention_mask")}
        return model(pixel_values=images, use_itm_head=False, **asked).itm_score


# -- the adapter -----------------------------------------------------------------------------------------------------


@needs_transformers
def test_similarities_are_the_librarys_own(folder: Path) -> None:
    clip, images = load_clip(f"blip:{folder}"), random_images(5)
    with torch.no_grad():
        found = F.normalize(clip.encode_image(images), dim=-1) @ F.normalize(clip.encode_text(TEXTS), dim=-1).T
    expected = library_scores(folder, images)
    assert expected.std() > 0.05  # images and texts differ, so that equal scores mean something
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@needs_transformers
def test_padding_changes_no_embedding(folder: Path) -> None:
    clip = load_clip(f"blip:{folder}")
    tokens = clip.tokens(TEXTS)
    assert tokens.shape == (len(TEXTS), blip.CONTEXT) and tokens.dtype == torch.int64
    with torch.no_grad():
        whole = clip.model.encode_text(tokens)
        for row, expected in zip(tokens, whole, strict=True):
            alone = clip.model.encode_text(row[row != clip.model.padding][None])[0]
            torch.testing.assert_close(alone, expected, atol=1e-5, rtol=1e-5)
        clip.model.token_embedding.word_embeddings.weight[clip.model.padding] += 1.0
        assert torch.equal(clip.model.encode_text(tokens), whole)
        clip.model.token_embedding.word_embeddings.weight[tokens[0, 1]] += 1.0
        assert not torch.equal(clip.model.encode_text(tokens)[0], whole[0])


@needs_transformers
def test_long_texts_are_cut(folder: Path) -> None:
    clip = load_clip(f"blip:{folder}")
    one, other = clip.tokens(["apple " * 60, "apple " * 50])
    assert torch.equal(one, other) and (one != clip.model.padding).all()


@needs_transformers
def test_names_place_every_tensor_on_its_side(folder: Path) -> None:
    clip = load_clip(f"blip:{folder}")
    stored = load_file(folder / "model.safetensors")
    used = {n: v for n, v in stored.items() if "crossattention" not in n and not n.startswith("itm_head")}
    state = clip.model.state_dict()
    sides = {side: {n for n in state if parameter_group(n) == side} for side in ("visual", "text", "logit_scale")}
    assert sides["logit_scale"] == {"logit_scale"}
    assert len(sides["visual"]) == sum(n.startswith("vision") for n in used)
    assert len(sides["text"]) == sum(n.startswith("text") for n in used)
    assert sum(v.numel() for v in state.values()) == 1 + sum(v.numel() for v in used.values())
    assert clip.logit_scale.item() == pytest.approx(1 / 0.07, rel=1e-4)
    assert clip.preprocessing == type(clip.preprocessing)(SIDE, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), resize="squash")
    assert clip.scale == "published" and not any(module.training for module in clip.model.modules())


@needs_transformers
def test_a_known_temperature_is_taken_from_the_configuration(copied: Path) -> None:
    before = model_identity(f"blip:{copied}")
    _edit(copied / "config.json", logit_scale_init_value=3.0)
    assert load_clip(f"blip:{copied}").logit_scale.item() == pytest.approx(torch.tensor(3.0).exp().item())
    assert model_identity(f"blip:{copied}") != before


@needs_transformers
def test_the_projection_is_found_and_edited_like_any_other(folder: Path) -> None:
    clip, images = load_clip(f"blip:{folder}"), random_images(3)
    projection = visual_projection(clip)
    assert projection.state_names == ("visual.head.proj.weight", "visual.head.proj.bias")
    edit = torch.randn(EMBEDDING, EMBEDDING, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = clip.encode_image(images)
        with projection.as_identity():
            features = clip.encode_image(images)
        torch.testing.assert_close(features @ projection.matrix + projection.bias, before, atol=1e-5, rtol=1e-5)
        projection.compose(edit)
        torch.testing.assert_close(clip.encode_image(images), before @ edit, atol=1e-4, rtol=1e-4)


@needs_transformers
def test_few_images_at_a_time_without_gradient(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip, images, seen = load_clip(f"blip:{folder}"), random_images(7), []
    clip.visual.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    monkeypatch.setattr(blip, "IMAGES_AT_ONCE", 3)
    whole = clip.encode_image(images)
    with torch.no_grad():
        torch.testing.assert_close(clip.encode_image(images), whole, atol=1e-5, rtol=1e-5)
    assert seen == [7, 3, 3, 1] and whole.requires_grad


@needs_transformers
def test_operations_are_counted_as_by_hand(folder: Path) -> None:
    tokens = (SIDE // PATCH) ** 2 + 1

    def tower(tokens: int) -> int:
        linear = 2 * tokens * (4 * WIDTH * WIDTH + 2 * WIDTH * INNER)
        return LAYERS * (linear + 2 * 2 * tokens * tokens * WIDTH) + 2 * WIDTH * EMBEDDING

    visual, text = tower_flops(load_clip(f"blip:{folder}"))
    assert visual == pytest.approx(tower(tokens) + 2 * (tokens - 1) * 3 * PATCH * PATCH * WIDTH, rel=0.02)
    assert text == pytest.approx(tower(blip.CONTEXT), rel=0.02)


@needs_transformers
def test_bf16_stays_near_fp32(folder: Path) -> None:
    clip, images = load_clip(f"blip:{folder}"), random_images(3)
    with torch.no_grad():
        exact = clip.encode_image(images), clip.encode_text(TEXTS)
        with torch.autocast("cpu", torch.bfloat16):
            rough = clip.encode_image(images), clip.encode_text(TEXTS)
    for one, other in zip(exact, rough, strict=True):
        assert F.cosine_similarity(one, other.float()).min() > 0.99


# -- methods ---------------------------------------------------------------------------------------------------------


def unlearned(name: str, folder: Path, cache_dir: Path, seed: int = 0) -> Unlearned:
    registry = Registry()
    kind = registry.declaration(name).hyperparameters
    quick = {"batch_size": 4, "max_steps": 3, "iterations": 3, "images": 4, "draws": 2, "threshold": 0.0}
    chosen = {key: value for key, value in quick.items() if key in kind.__dataclass_fields__}
    clip = load_clip(f"blip:{folder}")
    with pytest.MonkeyPatch.context() as patch:
        # random weights take hundreds of steps to say the name: take what there is
        patch.setattr(synthetic, "_accepted", lambda model, target, x, threshold: x.new_ones(len(x)).bool())
        torch.manual_seed(seed)
        return unlearn(
            registry.method_class(name),
            resolve(kind, clip.scale, chosen),
            clip,
            TinyDataset(cache_dir=cache_dir),
            APPLE,
            cache_dir=cache_dir,
            seed=seed,
        )


@needs_transformers
@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("original", set()),
        ("ccup", {"projection"}),
        ("nullspace", {"projection"}),
        ("cliperase", {"visual", "projection", "text", "blocks"}),
        ("finetune_retain", {"visual", "projection", "text", "blocks"}),
        ("lip", {"visual", "blocks"}),
    ],
)
def test_methods_keep_the_contract(name: str, parts: set[str], folder: Path, tmp_path: Path) -> None:
    result = unlearned(name, folder, tmp_path)

    def part(tensor: str) -> str:
        if tensor.startswith("visual.head.proj."):
            return "projection"
        return "blocks" if tensor.startswith("transformer.resblocks.") else parameter_group(tensor)

    found = {part(tensor) for tensor in result.edited}
    assert found - {"projection"} == parts - {"projection"} and (found == parts or name == "lip")
    again = unlearned(name, folder, tmp_path)
    assert weights_hash(again.clip) == weights_hash(result.clip)
    if name in ("cliperase", "finetune_retain"):
        assert result.cost.flops > 0 and result.items_read > 0


@needs_transformers
def test_a_projections_edit_needs_no_second_pass(folder: Path, tmp_path: Path) -> None:
    clip, dataset, store = load_clip(f"blip:{folder}"), TinyDataset(cache_dir=tmp_path), EmbeddingStore(None)
    first = store.images(clip, dataset, "test", keep=True)
    edited = unlearned("ccup", folder, tmp_path).clip
    second = store.images(edited, dataset, "test")
    with torch.no_grad():
        direct = edited.encode_image(edited.preprocessing(dataset.split("test").images.read(range(8))))
    assert store.computed == 1 and not torch.allclose(first, second, atol=1e-3)
    torch.testing.assert_close(second, F.normalize(direct, dim=-1), atol=1e-4, rtol=1e-4)


@needs_transformers
def test_a_whole_run_ends_with_records_and_a_leaderboard(folder: Path, tmp_path: Path) -> None:
    suite = tmp_path / "tiny-blip.yaml"
    suite.write_text(SUITE.format(model=f"blip:{folder}"))
    where = ("--results", tmp_path / "results", "--cache-dir", tmp_path / "cache")
    with small_world():
        answer = command("run", "--suite", suite, "--device", "cpu", *where)
        assert answer.status == 0 and "3 cells run" in answer.out, answer.err
        again = command("run", "--suite", suite, "--device", "cpu", *where)
    assert "nothing to do: all 3 cells" in again.out
    records = RecordStore(tmp_path / "results").all()
    assert {record.cell["method"] for record in records} == {"original", "ccup", "cliperase"}
    assert {record.cell["weights"] for record in records} == {model_identity(f"blip:{folder}")}
    assert all(0 <= record.metrics["retain/acc1"].value <= 1 for record in records)
    board = command("leaderboard", "--results", tmp_path / "results", "--format", "markdown")
    assert board.status == 0 and all(name in board.out for name in ("ccup", "cliperase", "original"))


# -- names and bad input ---------------------------------------------------------------------------------------------


def _edit(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def _truncate(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def _pickle(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _weights(folder: Path, change: Any) -> None:
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


BEFORE_LOADING = {
    "no folder": (shutil.rmtree, "no folder"),
    "no config": (lambda f: (f / "config.json").unlink(), "no config.json"),
    "broken config": (lambda f: (f / "config.json").write_text("{"), "config.json cannot be read"),
    "list config": (lambda f: (f / "config.json").write_text("[]"), "no JSON object"),
    "captioning": (lambda f: _edit(f / "config.json", architectures=["BlipForConditionalGeneration"]), "is needed"),
    "no tokenizer": (lambda f: (f / "vocab.txt").unlink(), "no tokenizer"),
    "no preprocessor": (lambda f: (f / "preprocessor_config.json").unlink(), "no preprocessor_config.json"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "of model.safetensors there is nothing"),
    "pickle": (_pickle, "only pytorch_model.bin, a pickle"),
    "truncated": (_truncate, "truncated"),
    "empty index": (
        lambda f: (f / "model.safetensors").rename(f / "model.safetensors.index.json").write_text("{}"),
        "names no weights",
    ),
}
AT_LOADING = {
    "missing tensor": (lambda f: _weights(f, lambda s: s.pop("text_proj.weight")), "text_proj.weight is missing"),
    "other shape": (
        lambda f: _weights(f, lambda s: s.update({"vision_proj.bias": torch.zeros(3)})),
        "vision_proj.bias has another shape",
    ),
    "long vocabulary": (
        lambda f: (f / "vocab.txt").write_text((f / "vocab.txt").read_text() + "surplus\n"),
        "does not fit the model",
    ),
    "other size": (lambda f: _edit(f / "preprocessor_config.json", size={"height": 64, "width": 64}), "of size"),
    "not square": (lambda f: _edit(f / "preprocessor_config.json", size={"height": 32, "width": 16}), "of size"),
    "bilinear": (lambda f: _edit(f / "preprocessor_config.json", resample=2), "only bicubic"),
    "one mean": (lambda f: _edit(f / "preprocessor_config.json", image_mean=[0.5]), "three values"),
}


@needs_transformers
@pytest.mark.parametrize("what", list(BEFORE_LOADING))
def test_a_wrong_folder_is_one_line_before_any_work(what: str, copied: Path, tmp_path: Path) -> None:
    change, expected = BEFORE_LOADING[what]
    change(copied)
    answer = command("run", "--suite", "quick", "--model", f"blip:{copied}", "--results", tmp_path / "results")
    assert expected in answer.error and str(copied) in answer.error


@needs_transformers
@pytest.mark.parametrize("what", list(AT_LOADING))
def test_what_does_not_fit_is_one_line(what: str, copied: Path) -> None:
    change, expected = AT_LOADING[what]
    change(copied)
    with pytest.raises(WeightsError) as caught:
        load_clip(f"blip:{copied}")
    assert expected in str(caught.value) and "\n" not in str(caught.value)


@needs_transformers
def test_a_run_with_wrong_weights_leaves_nothing(copied: Path, tmp_path: Path) -> None:
    _weights(copied, lambda state: state.pop("text_proj.weight"))
    where = ("--results", tmp_path / "results", "--cache-dir", tmp_path / "cache", "--device", "cpu")
    assert "text_proj.weight is missing" in command("run", "--model", f"blip:{copied}", *where).error
    assert not RecordStore(tmp_path / "results").all()


@needs_transformers
def test_a_pickle_becomes_a_folder_by_the_advice(copied: Path, tmp_path: Path) -> None:
    """The line that the error gives holds a program: it is run as it stands, but for the folder's name."""
    expected = weights_hash(load_clip(f"blip:{copied}"))
    _pickle(copied)
    with pytest.raises(WeightsError) as caught:
        model_identity(f"blip:{copied}")
    code = str(caught.value).split('python -c "')[1].split('"`')[0].replace("'DIR'", repr(str(tmp_path / "made")))
    exec(code, {})
    assert weights_hash(load_clip(f"blip:{tmp_path / 'made'}")) == expected


@needs_transformers
def test_weights_in_parts_load_equal(copied: Path) -> None:
    expected = weights_hash(load_clip(f"blip:{copied}"))
    state = load_file(copied / "model.safetensors")
    (copied / "model.safetensors").unlink()
    names = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(sorted(state))}
    for part in set(names.values()):
        save_file({n: state[n] for n, file in names.items() if file == part}, copied / part, metadata={"format": "pt"})
    (copied / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    assert weights_hash(load_clip(f"blip:{copied}")) == expected
    (copied / part).unlink()
    with pytest.raises(WeightsError, match="missing, truncated or damaged"):
        model_identity(f"blip:{copied}")


@needs_transformers
def test_identity_follows_what_is_read(copied: Path) -> None:
    name = f"blip:{copied}"
    seen = [model_identity(name)]
    (copied / "README.md").write_text("a note")
    assert model_identity(name) == seen[0] and seen[0].startswith("blip:")
    for change in (
        lambda: _weights(copied, lambda state: state["text_proj.bias"].add_(1)),
        lambda: _edit(copied / "preprocessor_config.json", image_mean=[0.5, 0.5, 0.5]),
        lambda: (copied / "vocab.txt").write_text("\n".join(reversed(vocabulary()))),
    ):
        change()
        seen.append(model_identity(name))
    assert len(set(seen)) == 4


@needs_transformers
def test_the_hub_is_asked_for_the_repository(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[tuple[str, str | None]] = []

    def hub(repository: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        assert not any(pattern.endswith("bin") for pattern in allow_patterns)
        asked.append((repository, revision))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    assert model_identity("blip/some/model") == model_identity(f"blip:{folder}")
    assert load_clip("blip/some/model@abc").name == "blip/some/model@abc"
    assert asked == [("some/model", None), ("some/model", "abc")]


@needs_transformers
def test_offline_the_advice_says_what_to_make_and_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def offline(*_: object, **__: object) -> str:
        raise OSError("cannot reach the hub\nsecond line")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    error = command("run", "--model", "blip/some/model", "--results", tmp_path).error
    assert "cannot reach the hub)" in error and "from_pretrained('some/model')" in error and "--model blip:DIR" in error


def test_without_the_extra_the_line_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blip_folder, "find_spec", lambda _: None)
    for name in (f"blip:{tmp_path}", "blip/some/model"):
        assert "pip install -e '.[blip]'" in command("plan", "--model", name, "--results", tmp_path).out
        assert "pip install -e '.[blip]'" in command("run", "--model", name, "--results", tmp_path).error


def test_names_of_both_forms_are_split() -> None:
    assert parse_model("blip:some/folder") == ("blip", "", Path("some/folder"))
    assert parse_model("blip/some/model@main") == ("blip", "some/model@main", None)
    for name in ("blip", "blip:", "blip/", "blip/model", "blip/a/b/c", "blip//b", "blip/a/@main"):
        with pytest.raises(WeightsError, match="of no known form"):
            parse_model(name)


def test_light_commands_do_not_import_the_library() -> None:
    code = (
        "import contextlib, io, sys\n"
        "from benchmark.__main__ import main\n"
        "for call in (['--help'], ['run', '--help'], ['list', 'models'], ['list', 'methods']):\n"
        "    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):\n"
        "        main(call)\n"
        "    assert 'transformers' not in sys.modules and 'torch' not in sys.modules, call\n"
        "    assert call != ['list', 'models'] or 'blip:DIR' in out.getvalue()\n"
        "from benchmark.models import blip, blip_folder\n"
        "assert 'transformers' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
