"""Text-to-image generation: the tower arrives unchanged, prompts and noise are the same, the judge counts right."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusion import SIDE, text_encoder, write_pipeline
from PIL import Image
from tiny import CONTEXT, TEXT, VOCABULARY, TinyDataset, tiny_clip
from torch import Tensor, nn
from world import Answer, World, command

from benchmark.generation.detection import Judge, detection_rate
from benchmark.generation.pipeline import GenerationError, Settings, generate, load_pipeline
from benchmark.generation.prompts import Prompt, plan_prompts
from benchmark.generation.text_encoder import TowerError, relative_difference, with_tower
from benchmark.generation.trial import FOREIGN
from benchmark.records.store import RecordStore
from benchmark.utils.statistics import wilson
from datamodules.common.errors import RequestError
from datamodules.common.images import Preprocessing
from datamodules.common.request import ForgetRequest
from methods.common.clip import Clip

pytest_plugins = ("world",)
needs_extra = pytest.mark.skipif(
    find_spec("diffusers") is None or find_spec("transformers") is None,
    reason="diffusers or transformers is not installed: pip install -e '.[generation]'",
)
SHAPE = {"vocabulary": VOCABULARY, "context": CONTEXT, "width": TEXT["width"], "layers": 2, "heads": 2}


# -- the text tower ------------------------------------------------------------------------------------------


def _clip(kind: str = "CLIP", *, quick_gelu: bool = False, **text: Any) -> Clip:
    """A tiny CLIP in which every parameter is random: biases and norms too, so that none can be mistaken."""
    import open_clip
    from open_clip.model import CLIPTextCfg, CLIPVisionCfg

    config = CLIPTextCfg(vocab_size=VOCABULARY, **{**TEXT, **text})
    vision = CLIPVisionCfg(layers=1, width=32, head_width=16, patch_size=16, image_size=32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = getattr(open_clip.model, kind)(16, vision, config, quick_gelu=quick_gelu).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.3 * torch.randn(parameter.shape))
    return replace(tiny_clip("vit"), model=model)


def _token_features(clip: Clip, ids: Tensor) -> Tensor:
    """What open_clip computes before pooling and projection, shape (B, context, width)."""
    owner: Any = clip.model if hasattr(clip.model, "transformer") else clip.model.text
    embedded = owner.token_embedding(ids) + owner.positional_embedding
    return owner.ln_final(owner.transformer(embedded, attn_mask=owner.attn_mask))


def _random_ids() -> Tensor:
    ids = torch.randint(1, VOCABULARY - 1, (6, CONTEXT), generator=torch.Generator().manual_seed(0))
    ids[torch.arange(6), torch.arange(6) + 5] = VOCABULARY - 1
    return ids


@needs_extra
@pytest.mark.parametrize("quick_gelu", [False, True])
@pytest.mark.parametrize("kind", ["CLIP", "CustomTextCLIP"])
def test_the_converted_tower_computes_the_same_features(kind: str, quick_gelu: bool) -> None:
    clip = _clip(kind, quick_gelu=quick_gelu)
    encoder = text_encoder(**SHAPE, activation="quick_gelu" if quick_gelu else "gelu")
    filled = with_tower(encoder, clip)
    ids = _random_ids()
    with torch.no_grad():
        expected, found, own = _token_features(clip, ids), filled(ids)[0], encoder(ids)[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert (own - expected).abs().max() > 0.1, "the pipeline's own encoder was changed, or the test cannot fail"


@needs_extra
@pytest.mark.parametrize(
    ("clip", "encoder", "expected"),
    [
        ({}, {"width": 48}, "position_embedding.weight has shape (16, 32) in the model and (16, 48) in the pipeline"),
        ({}, {"vocabulary": 600}, "token_embedding.weight has shape (512, 32) in the model and (600, 32)"),
        ({}, {"context": 20}, "position_embedding.weight has shape (16, 32)"),
        ({}, {"layers": 3}, "the model has no encoder.layers.2."),
        ({}, {"layers": 1}, "the pipeline has no encoder.layers.1."),
        ({}, {"heads": 4}, "the number of heads is 2 in the model and 4 in the pipeline"),
        ({}, {"activation": "quick_gelu"}, "the activation is gelu in the model and quick_gelu in the pipeline"),
        ({"quick_gelu": True}, {}, "the activation is quick_gelu in the model and gelu in the pipeline"),
        ({}, {"eps": 1e-3}, "the epsilon of layer norm is 1e-05 in the model and 0.001 in the pipeline"),
        ({"no_causal_mask": True}, {}, "the model's tokens see later tokens"),
        ({"ls_init_value": 0.1}, {}, "the pipeline has no counterpart of transformer.resblocks.0.ls_1.gamma"),
    ],
)
def test_a_tower_that_does_not_fit(clip: dict[str, Any], encoder: dict[str, Any], expected: str) -> None:
    with pytest.raises(TowerError) as error:
        with_tower(text_encoder(**{**SHAPE, **encoder}), _clip(**clip))
    assert expected in str(error.value) and "\n" not in str(error.value)


@needs_extra
def test_only_what_the_pipeline_reads_counts_as_an_edit() -> None:
    clip, encoder = _clip(), text_encoder(**SHAPE)
    before = with_tower(encoder, clip)
    with torch.no_grad():
        clip.model.text_projection.add_(1)
        clip.model.visual.proj.add_(1)
        assert relative_difference(with_tower(encoder, clip), before) == 0
        clip.model.transformer.resblocks[1].attn.in_proj_bias[40] += 1e-3
        assert 0 < relative_difference(with_tower(encoder, clip), before) < 1e-3


@needs_extra
def test_a_tower_in_half_precision_is_not_a_foreign_one() -> None:
    encoder = text_encoder(**SHAPE)
    before = with_tower(encoder, _clip())
    assert 0 < relative_difference(before, with_tower(encoder, _clip()).half()) < FOREIGN
    assert relative_difference(before, encoder) > FOREIGN


# -- prompts -------------------------------------------------------------------------------------------------


def test_a_class_request_draws_each_template_of_each_name() -> None:
    plan = plan_prompts(TinyDataset(), ForgetRequest(classes=("apple",)), images=6, seed=0)
    forget = [p.text for p in plan.prompts if p.part == "forget"]
    assert forget == ["a photo of a apple", "the apple here"] * 3
    retain = [p.name for p in plan.prompts if p.part == "retain"]
    assert retain == ["bus", "bus", "cat", "cat", "sunflower", "sunflower"]
    assert plan.names == ("apple", "bus", "cat", "sunflower") and plan.templates == TinyDataset().templates
    assert plan.file_name(11) == "retain-0011-sunflower.png"


@pytest.mark.parametrize(("images", "expected"), [(1, ["bus"]), (2, ["bus", "cat"]), (3, ["bus", "cat", "sunflower"])])
def test_fewer_images_than_names(images: int, expected: list[str]) -> None:
    plan = plan_prompts(TinyDataset(), ForgetRequest(classes=("apple",)), images=images, seed=0)
    assert [p.name for p in plan.prompts if p.part == "retain"] == expected and len(plan.prompts) == 2 * images


def test_a_concept_request_draws_photos_of_concepts() -> None:
    plan = plan_prompts(TinyDataset(captions=True), ForgetRequest(concept="dog"), images=3, seed=0)
    assert [p.text for p in plan.prompts[:3]] == ["a photo of a dog."] * 3
    assert plan.names == ("dog", "apple", "bus", "cat", "sunflower") and plan.templates == ("a photo of a {}.",)


def test_every_image_has_noise_of_its_own_that_the_seed_decides() -> None:
    request = ForgetRequest(classes=("apple",))
    one, same, other = (plan_prompts(TinyDataset(), request, images=50, seed=seed) for seed in (0, 0, 1))
    assert one == same and len({prompt.seed for prompt in (*one.prompts, *other.prompts)}) == 200


def test_a_vocabulary_of_the_concept_alone() -> None:
    class Alone(TinyDataset):
        concept_names = ("dog", "dogs")

    with pytest.raises(RequestError, match="no name beside 'dog'"):
        plan_prompts(Alone(captions=True), ForgetRequest(concept="dog"), images=3, seed=0)


# -- the judge -----------------------------------------------------------------------------------------------


class _ColourModel(nn.Module):
    """Knows red, green and blue: an image is its mean colour, a text the colour that it names."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(()))

    def encode_image(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3))

    def encode_text(self, ids: Tensor) -> Tensor:
        return torch.eye(3)[ids[:, 0]]


def _colour_judge() -> Judge:
    names = ("red", "green", "blue")

    def tokenize(texts: list[str]) -> Tensor:
        return torch.tensor([[next(i for i, name in enumerate(names) if name in text)] for text in texts])

    preprocessing = Preprocessing(8, mean=(0.5,) * 3, std=(0.25,) * 3)
    return Judge(Clip(_ColourModel(), tokenize, preprocessing, "colours"), names, ("a {} wall", "{} paint"))


def test_the_judge_and_the_rates_of_images_of_known_colours() -> None:
    colours = {"red": (250, 20, 20), "green": (10, 200, 30), "blue": (0, 0, 255)}
    shown = ["red", "blue", "red", "green", "green", "green", "red"]
    images = torch.stack([torch.tensor(colours[c], dtype=torch.uint8).view(3, 1, 1).expand(3, 20, 20) for c in shown])
    asked = ["red"] * 4 + ["green", "green", "blue"]
    prompts = [Prompt("forget" if n < 4 else "retain", name, "", n) for n, name in enumerate(asked)]
    answers = _colour_judge().answers(images)
    assert answers == shown
    forget, retain = (detection_rate(prompts, answers, part) for part in ("forget", "retain"))
    assert (forget.value, forget.n, forget.ci95) == (0.5, 4, wilson(2, 4))
    assert (retain.value, retain.n, retain.ci95) == (2 / 3, 3, wilson(2, 3))
    with pytest.raises(ValueError):
        detection_rate(prompts, answers[1:], "forget")


# -- the command ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def tiny_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline whose text encoder has the architecture of the tiny world's model."""
    folder = tmp_path_factory.mktemp("pipelines") / "tiny-diffusion"
    write_pipeline(folder, context=24, width=32, layers=1, heads=2)
    return folder


@pytest.fixture
def copied(finished: World, world: World) -> World:
    """The finished suite's records in a folder that may be changed."""
    shutil.copytree(finished.results, world.results)
    return World(finished.suite, finished.cache, world.results)


def _key(world: World, method: str, kind: str = "classes") -> str:
    return next(k for k, r in world.records().items() if r.cell["method"] == method and kind in r.cell["request"])


def _generate(world: World, key: object, pipeline: object, *options: object) -> Answer:
    where = ("--results", world.results, "--cache-dir", world.cache, "--device", "cpu", "--judge", "shapes-resnet")
    few = ("--images", 5, "--steps", 2, "--batch", 3)
    return command("generate", key, "--pipeline", pipeline, *where, *few, *options)


def _report(world: World) -> dict[str, Any]:
    (path,) = (world.results / "generation").glob("*/*.json")
    return json.loads(path.read_text())


@needs_extra
def test_generate_counts_the_names_before_and_after(copied: World, tiny_pipeline: Path, tmp_path: Path) -> None:
    key = _key(copied, "random_noise")
    records = copied.records()
    answer = _generate(copied, key[:16], tiny_pipeline, "--out", tmp_path / "images")
    assert answer.status == 0, answer.err
    assert "forget ↓" in answer.out and "retain ↑" in answer.out and "is not the one of" in answer.out
    report = _report(copied)
    assert report["key"] == key and report["cell"] == records[key].cell
    assert [image["part"] for image in report["images"]] == ["forget"] * 5 + ["retain"] * 5
    for part, rates in report["detection"].items():
        images = [image for image in report["images"] if image["part"] == part]
        for when, rate in rates.items():
            seen = sum(image[when] == image["name"] for image in images)
            assert (rate["value"], rate["n"], rate["ci95"]) == (seen / 5, 5, pytest.approx(wilson(seen, 5)))
    assert {"diffusers", "transformers", "torch"} <= set(report["provenance"]["packages"])
    assert report["provenance"]["judge"]["name"] == "shapes-resnet"
    assert len(report["provenance"]["pipeline"]["sha256"]) == 64
    files = [sorted((tmp_path / "images" / when).iterdir()) for when in ("before", "after")]
    assert [len(each) for each in files] == [10, 10]
    pixels = [[Image.open(path).convert("RGB").tobytes() for path in each] for each in files]
    assert all(len(image) == 3 * SIDE * SIDE for image in pixels[0])
    assert all(before != after for before, after in zip(*pixels, strict=True)), "the edit did not reach the images"
    store = RecordStore(copied.results)
    assert {record.key for record in store.all()} == set(records) and not store.set_aside
    assert command("leaderboard", "--results", copied.results).status == 0
    assert not list(copied.results.rglob("*.corrupt*"))


@needs_extra
def test_the_command_of_a_report_repeats_it(copied: World, tiny_pipeline: Path) -> None:
    key = _key(copied, "random_noise", "concept")
    assert _generate(copied, key, tiny_pipeline).status == 0
    first = _report(copied)
    assert [image["text"] for image in first["images"][:5]] == ["a photo of a striped."] * 5
    again = shlex.split(first["provenance"]["command"])[3:]
    assert command(*again, "--results", copied.results, "--cache-dir", copied.cache).status == 0
    assert _report(copied) == first
    assert _generate(copied, key, tiny_pipeline, "--seed", 1).status == 0
    assert len(list((copied.results / "generation" / key).glob("*.json"))) == 2


@needs_extra
def test_an_edit_that_the_pipeline_does_not_read_changes_nothing(copied: World, tiny_pipeline: Path) -> None:
    answer = _generate(copied, _key(copied, "nullspace"), tiny_pipeline)
    assert answer.status == 0 and "note: nullspace did not edit what the pipeline reads" in answer.out
    report = _report(copied)
    assert all(image["before"] == image["after"] for image in report["images"])
    assert all(rates["before"] == rates["after"] for rates in report["detection"].values())
    assert any("did not edit" in note for note in report["notes"])


@needs_extra
def test_what_changed_since_the_record_is_noted(
    copied: World, tiny_pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from methods.common.registry import Registry

    monkeypatch.setattr(Registry, "source_hash", lambda self, name: "0" * 64)
    answer = _generate(copied, _key(copied, "nullspace"), tiny_pipeline)
    assert answer.status == 0 and "note: the code of 'nullspace' is not what the record was made with" in answer.out
    assert "the data of" not in answer.out and "the weights of" not in answer.out


@needs_extra
def test_the_same_seeds_give_the_same_images(tiny_pipeline: Path) -> None:
    pipeline = load_pipeline(tiny_pipeline)
    settings = Settings(images=3, steps=2, guidance=7.5, seed=0, batch=2)
    request = ForgetRequest(classes=("apple",))

    def images(seed: int = 0, **changes: Any) -> Tensor:
        prompts = plan_prompts(TinyDataset(), request, images=3, seed=seed).prompts
        return torch.cat(list(generate(pipeline, prompts, replace(settings, **changes))))

    first = images()
    assert first.shape == (6, 3, SIDE, SIDE) and first.dtype == torch.uint8
    assert torch.equal(first, images())
    assert (first.int() - images(batch=6).int()).abs().max() <= 1
    for changed in (images(seed=1), images(guidance=1.0), images(steps=3)):
        assert not torch.equal(first, changed)


@needs_extra
def test_an_image_that_is_not_finite_is_an_error(tiny_pipeline: Path) -> None:
    pipeline = load_pipeline(tiny_pipeline)
    with torch.no_grad():
        pipeline.text_encoder.get_input_embeddings().weight.fill_(float("nan"))
    prompts = plan_prompts(TinyDataset(), ForgetRequest(classes=("apple",)), images=1, seed=0).prompts
    with pytest.raises(GenerationError, match="not finite"):
        next(generate(pipeline, prompts, Settings(images=1, steps=1, guidance=1.0, seed=0, batch=1)))


# -- bad input -----------------------------------------------------------------------------------------------


def test_pipelines_that_are_not_there(copied: World, tmp_path: Path) -> None:
    key = _key(copied, "nullspace")
    for name in (tmp_path / "nowhere", "CompVis/stable-diffusion-v1-4"):
        line = _generate(copied, key, name).error
        assert f"--pipeline {name} is not a folder here" in line and "hf download CompVis" in line
    assert "has no model_index.json" in _generate(copied, key, tmp_path).error
    _empty_pipeline(tmp_path)
    (tmp_path / "model_index.json").write_text("[]")
    assert "does not describe a pipeline" in _generate(copied, key, tmp_path).error
    index = {"_class_name": "StableDiffusionXLPipeline", "text_encoder": ["transformers", "CLIPTextModel"]}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    assert "holds a StableDiffusionXLPipeline" in _generate(copied, key, tmp_path).error


def _empty_pipeline(folder: Path) -> None:
    """What passes for a pipeline until it is loaded."""
    index = {"_class_name": "StableDiffusionPipeline", "text_encoder": ["transformers", "CLIPTextModel"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    for part in ("scheduler", "text_encoder", "tokenizer", "unet", "vae"):
        (folder / part).mkdir()


def test_keys_and_settings_that_make_no_sense(copied: World, tmp_path: Path) -> None:
    assert "no record has a key that begins with 'feedbeef'" in _generate(copied, "feedbeef", tmp_path).error
    key = _key(copied, "nullspace")
    for option, least in (("images", 1), ("steps", 1), ("guidance", 0), ("seed", 0), ("batch", 1)):
        line = _generate(copied, key, tmp_path, f"--{option}={least - 1}").error
        assert f"--{option} takes a number from {least} to" in line and f", not {least - 1}" in line
    assert "pipeline" in command("generate", key).error


def test_a_missing_extra(copied: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _empty_pipeline(tmp_path)
    for name in ("diffusers", "transformers"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            line = _generate(copied, _key(copied, "nullspace"), tmp_path).error
        assert "pip install -e '.[generation]'" in line


@needs_extra
def test_a_judge_that_is_the_model(copied: World, tiny_pipeline: Path, tiny_world: SimpleNamespace) -> None:
    line = _generate(copied, _key(copied, "nullspace"), tiny_pipeline, "--judge", tiny_world.model).error
    assert "is the model that was edited" in line and not (copied.results / "generation").exists()
    assert (
        "did you mean" in _generate(copied, _key(copied, "nullspace"), tiny_pipeline, "--judge", "shapes-rsnet").error
    )


@needs_extra
def test_pipelines_that_do_not_fit(copied: World, tiny_pipeline: Path, tmp_path: Path) -> None:
    key = _key(copied, "nullspace")
    wide = tmp_path / "wide"
    write_pipeline(wide, context=24, width=48, layers=1, heads=2)
    assert "does not fit the pipeline's text encoder" in _generate(copied, key, wide).error
    for damage, expected in (
        (_without_safetensors, "cannot be loaded"),
        (_truncated, "cannot be loaded"),
        (_without_tokenizer, "has no tokenizer: download"),
        (_empty_tokenizer, "its tokenizer files are incomplete"),
        (_other_tokens, "as other tokens than"),
    ):
        broken = tmp_path / damage.__name__
        shutil.copytree(tiny_pipeline, broken)
        damage(broken)
        assert expected in _generate(copied, key, broken).error
    assert not (copied.results / "generation").exists()


def _without_safetensors(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save({}, path.with_suffix(".bin"))
    path.unlink()


def _truncated(folder: Path) -> None:
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def _without_tokenizer(folder: Path) -> None:
    shutil.rmtree(folder / "tokenizer")


def _empty_tokenizer(folder: Path) -> None:
    shutil.rmtree(folder / "tokenizer")
    (folder / "tokenizer").mkdir()


def _other_tokens(folder: Path) -> None:
    """The vocabulary in another order."""
    (path,) = (p for p in (folder / "tokenizer").iterdir() if p.name in ("tokenizer.json", "vocab.json"))
    content = json.loads(path.read_text(encoding="utf-8"))
    tokens = content["model"]["vocab"] if "model" in content else content
    tokens["photo</w>"], tokens["drawing</w>"] = tokens["drawing</w>"], tokens["photo</w>"]
    path.write_text(json.dumps(content), encoding="utf-8")


@needs_extra
def test_folders_that_cannot_be_written(copied: World, tiny_pipeline: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    key = _key(copied, "nullspace")
    assert "cannot be written to" in _generate(copied, key, tiny_pipeline, "--out", tmp_path / "file").error
    (copied.results / "generation").write_text("in the way")
    assert "results cannot be written to" in _generate(copied, key, tiny_pipeline).error
