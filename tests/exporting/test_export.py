"""Models taken away: kept weights, the exported folder in a process that knows open_clip alone, the model card."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from openai_weights import Sizes, random_state
from PIL import Image
from safetensors.torch import save_file
from world import SUITE, Answer, World, command, metrics_of, small_world, write_plugin, write_suite

from benchmark.exporting.card import CardWriter, usage, value_text
from benchmark.exporting.config import TRUNK_MODULE, needs_trunk
from benchmark.exporting.folder import CARD, CONFIG, MODEL, RECORD, check_model, write_model
from benchmark.exporting.markdown import plain
from benchmark.exporting.origin import Origin, origin_of
from benchmark.exporting.original_card import original_card
from benchmark.models.compact import ClipTokenizer, save_compact
from benchmark.models.loading import load_clip
from benchmark.pretraining.recipe import load_recipe
from benchmark.records.record import Metric, Record
from benchmark.records.store import RecordStore
from datamodules.common.registry import open_dataset
from methods.common.card import MethodCard
from methods.common.clip import Clip

pytest_plugins = ("world",)

READER = """
import json, sys
import numpy as np, open_clip, torch
from PIL import Image
from pathlib import Path

torch.set_num_threads(1)
for model, given in zip(sys.argv[1::2], map(Path, sys.argv[2::2])):
    path, modules = sys.path[:], set(sys.modules)
    assert not [name for name in modules if name.split(".")[0] in ("benchmark", "methods", "datamodules")]
    if (Path(model) / "clip_trunks.py").exists():
        sys.path.insert(0, model)
        import clip_trunks
    clip, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{model}")
    clip.eval()
    assert not [name for name in sys.modules if name.split(".")[0] in ("benchmark", "methods", "datamodules")]
    tokens = open_clip.get_tokenizer(f"local-dir:{model}")(json.loads((given / "texts.json").read_text()))
    pictures = torch.stack([preprocess(Image.open(path)) for path in sorted(given.glob("*.png"))])
    with torch.no_grad():
        images, texts = clip.encode_image(pictures).numpy(), clip.encode_text(tokens).numpy()
    np.savez(given / "read.npz", images=images, texts=texts)
    sys.path[:] = path
"""


def _give(given: Path, pixels: np.ndarray, texts: list[str]) -> None:
    """Write pictures and texts for a fresh process."""
    given.mkdir()
    for number, picture in enumerate(pixels):
        Image.fromarray(picture.transpose(1, 2, 0)).save(given / f"{number:05d}.png")
    (given / "texts.json").write_text(json.dumps(texts))


def _read_elsewhere(*pairs: tuple[Path, Path]) -> None:
    """Encode what was given with a model, in a fresh process, through open_clip's own transforms and tokenizer.

    Args:
        pairs: A model's folder and the folder of pictures and texts. Models with modules of their own come last: what
            one of them brings, those after it would find.
    """
    arguments = [sys.executable, "-c", READER, *(str(folder) for pair in pairs for folder in pair)]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=pairs[0][1], env={"PATH": "/usr/bin:/bin"})
    assert done.returncode == 0, done.stderr


def _features(given: Path) -> tuple[np.ndarray, np.ndarray]:
    """Of the pictures and of the texts, as the fresh process left them."""
    with np.load(given / "read.npz") as content:
        return content["images"], content["texts"]


def _unit(features: Any) -> np.ndarray:
    features = np.asarray(features, dtype=np.float64)
    return features / np.linalg.norm(features, axis=-1, keepdims=True)


# -- kept weights --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(tiny_world: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> World:
    """Two methods on the shipped CLIP, whose image size is the data's, with their weights; not to be changed."""
    folder = tmp_path_factory.mktemp("real")
    text = SUITE.replace("seeds: [0, 1]", "seeds: [0]").replace("nullspace, random_noise", "nullspace, logit_mask")
    text = text.replace("[{{classes: [star]}}, {{concept: striped}}]", "[{{classes: [star]}}]")
    world = World(write_suite(folder, "shapes-resnet", text), tiny_world.cache, folder / "results")
    with small_world():
        assert world.run("--save-weights").status == 0
    return world


def _record(world: World, method: str) -> Record:
    return next(record for record in world.records().values() if record.cell["method"] == method)


def _export(world: World, key: object, folder: Path, *options: object) -> Answer:
    with small_world():
        where = ("--results", world.results, "--cache-dir", world.cache)
        return command("export", key, folder, *where, *options)


def test_saving_weights_changes_no_record(finished: World, world: World) -> None:
    mine = World(finished.suite, finished.cache, world.results)
    assert mine.run("--save-weights", "--seeds", "0").status == 0
    others = finished.records()
    assert mine.records() and all(
        metrics_of(record) == metrics_of(others[key]) for key, record in mine.records().items()
    )
    kept = {path.stem for path in mine.results.glob("tiny/*.safetensors")}
    assert kept == set(mine.records())
    sizes = {
        r.cell["method"]: (mine.results / "tiny" / f"{k}.safetensors").stat().st_size for k, r in mine.records().items()
    }
    assert sizes["original"] < 1000 < sizes["nullspace"] < 40_000 < sizes["random_noise"]


def test_cells_that_are_done_run_again_for_their_weights_alone(finished: World, world: World) -> None:
    shutil.copytree(finished.results, world.results)
    mine = World(finished.suite, finished.cache, world.results)
    before = {path.name: path.read_bytes() for path in mine.results.glob("tiny/*.json")}
    answer = mine.run("--methods", "nullspace", "--save-weights")
    assert answer.status == 0 and "2 cells are done without weights" in answer.err
    assert {path.name: path.read_bytes() for path in mine.results.glob("tiny/*.json")} == before
    assert len(list(mine.results.glob("tiny/*.safetensors"))) == 2
    assert "nothing to do" in mine.run("--methods", "nullspace", "--save-weights").out


def test_weights_of_other_numbers_are_not_kept(finished: World, world: World) -> None:
    shutil.copytree(finished.results, world.results)
    mine = World(finished.suite, finished.cache, world.results)
    record = _record(mine, "nullspace")
    metric = record.metrics["retain/mean_recall"]
    other = replace(metric, value=metric.value + 0.1)
    path = RecordStore(mine.results).write(replace(record, metrics={**record.metrics, "retain/mean_recall": other}))
    data = json.loads(path.read_text())
    answer = mine.run("--methods", "nullspace", "--save-weights")
    assert answer.status == 1 and "retain/mean_recall" in answer.err and "--force --save-weights" in answer.err
    assert not path.with_suffix(".safetensors").exists() and json.loads(path.read_text()) == data


# -- the folder ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Whole:
    """An edited model's exported folder, what the command said, and what a fresh process is given to encode with it."""

    folder: Path
    said: str
    given: Path


@pytest.fixture(scope="module")
def whole(real: World, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """The edited model whose weights are kept beside its record; not to be changed."""
    folder = tmp_path_factory.mktemp("whole")
    answer = _export(real, _record(real, "nullspace").key[:12], folder / "model")
    assert answer.status == 0, answer.err
    with small_world():
        dataset = open_dataset("shapes", None, real.cache, 64)
        images = dataset.split("test").images
        pixels = images.read(range(len(images))).numpy()
    prompts = [template.format(name) for name in dataset.class_names for template in dataset.templates]
    _give(folder / "given", pixels, prompts)
    return Whole(folder / "model", answer.out, folder / "given")


def test_a_fresh_process_meets_the_record(real: World, whole: Whole, exported: dict[str, Exported]) -> None:
    record = _record(real, "nullspace")
    assert "taken: the weights kept beside the record" in whole.said
    assert {path.name for path in whole.folder.iterdir()} == {MODEL, CONFIG, CARD, RECORD}
    with small_world():
        dataset = open_dataset("shapes", None, real.cache, 64)
        split = dataset.split("test")
        forget = dataset.forget_mask(split, real.plan().cells[0].request)
    images, texts = _features(whole.given)
    classes = _unit(_unit(texts).reshape(len(dataset.class_names), len(dataset.templates), -1).mean(axis=1))
    right = (_unit(images) @ classes.T).argmax(axis=1) == split.labels
    assert right[forget].mean() == record.metrics["forget/acc1"].value
    assert right[~forget].mean() == record.metrics["retain/acc1"].value
    assert record.metrics["forget/acc1"].value != _record(real, "original").metrics["forget/acc1"].value
    outputs = RecordStore(real.results).outputs("tiny", record.key)
    assert outputs is not None and np.abs(_unit(images) - _unit(outputs.images)).max() < 2e-3  # half precision
    assert np.abs(classes - outputs.classifier).max() < 1e-5
    with small_world():
        again = command("verify", whole.folder / RECORD, "--cache-dir", real.cache)
    assert again.status == 0 and "equal: all" in again.out


def test_without_kept_weights_the_cell_runs_again(real: World, whole: Whole, tmp_path: Path) -> None:
    bare = real.with_results(tmp_path / "results")
    shutil.copytree(real.results, bare.results, ignore=shutil.ignore_patterns("*.safetensors"))
    second = _export(bare, _record(real, "nullspace").key, tmp_path / "two")
    assert second.status == 0
    assert "runs again" in second.out and "verified: the largest difference to the record is 0.0000" in second.out
    for name in (MODEL, CONFIG, CARD, RECORD):
        assert (whole.folder / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize("damage", ["truncated", "changed", "of another run"])
def test_kept_weights_that_are_not_the_record_s(real: World, whole: Whole, tmp_path: Path, damage: str) -> None:
    mine = real.with_results(tmp_path / "results")
    shutil.copytree(real.results, mine.results)
    path = RecordStore(mine.results).path("tiny", _record(real, "nullspace").key)
    weights = path.with_suffix(".safetensors")
    content = bytearray(weights.read_bytes())
    if damage == "truncated":
        weights.write_bytes(content[:-7])
    elif damage == "changed":
        content[-7] ^= 1
        weights.write_bytes(content)
    else:
        path.with_suffix(".npz").write_bytes(b"other outputs")
    answer = _export(mine, path, tmp_path / "model")
    assert answer.status == 0 and "damaged or of another run" in answer.out and "verified" in answer.out
    assert (tmp_path / "model" / MODEL).read_bytes() == (whole.folder / MODEL).read_bytes()


def test_what_cannot_be_exported(real: World, tmp_path: Path) -> None:
    key = _record(real, "nullspace").key
    assert "filters answers" in _export(real, _record(real, "logit_mask").key, tmp_path / "model").error
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("ten years of work")
    assert "not empty" in _export(real, key, tmp_path / "full").error
    assert "cannot be made" in _export(real, key, tmp_path / "full" / "thesis.tex" / "model").error
    assert "did you mean" in _export(real, key[:9] + "zz", tmp_path / "model").error
    changed = tmp_path / "changed.json"
    record = _record(real, "nullspace")
    metric = record.metrics["retain/acc1"]
    other = replace(metric, value=metric.value - 0.1)
    data = replace(record, metrics={**record.metrics, "retain/acc1": other}).to_dict()
    changed.write_text(json.dumps(data))
    assert "retain/acc1 is" in _export(real, changed, tmp_path / "model").error
    data["metrics"]["retain/acc1"]["value"] -= 0.1
    changed.write_text(json.dumps(data))
    assert "its digest is not that of its content" in _export(real, changed, tmp_path / "model").error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["changed.json", "full"]
    assert (tmp_path / "full" / "thesis.tex").read_text() == "ten years of work"


def test_an_empty_folder_is_filled(real: World, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    assert _export(real, _record(real, "original").key, tmp_path / "model").status == 0
    assert "as it came" in (tmp_path / "model" / CARD).read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


# -- other models --------------------------------------------------------------------------------------------


def _tiny_architecture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sizes: Sizes, **extra: Any) -> str:
    """A CLIP in OpenAI's format with random weights, and its architecture made known to open_clip."""
    from open_clip import factory

    layers: Any = list(sizes.depth) if not sizes.patch else sizes.depth[0]
    vision = {"image_size": sizes.side, "layers": layers, "width": sizes.vision}
    vision |= {"patch_size": sizes.patch, "head_width": 16} if sizes.patch else {"head_width": 32}
    text = {
        "context_length": sizes.context,
        "vocab_size": sizes.vocabulary,
        "width": sizes.text,
        "heads": 2,
        "layers": 1,
    }
    config = {"embed_dim": sizes.embed, "vision_cfg": vision, "text_cfg": text, "quick_gelu": True, **extra}
    monkeypatch.setitem(factory._MODEL_CONFIGS, "Tiny-quickgelu", config)
    path = tmp_path / "weights.safetensors"
    save_file({name: value.contiguous() for name, value in random_state(sizes).items()}, path)
    return f"Tiny-quickgelu:{path}"


RESNET = Sizes(16, 64, 8, (1, 1, 1, 1), 0, 32, text_depth=1, context=16)
VIT = Sizes(16, 48, 32, (2,), 16, 32, text_depth=1, context=16)


def _of_a_trunk(folder: Path) -> str:
    """The file of an untrained model of the kind of `micro`."""
    architecture, path = load_recipe("micro").architecture, folder / "trunk.safetensors"
    ids = ClipTokenizer(architecture.text["context_length"])(["a photo of a dog", "an apple"]).unique()
    save_compact(path, architecture.build(vocabulary=len(ids)), ids, architecture, {})
    return str(path)


KINDS = ("mini", "resnet", "vit", "trunk")
TEXTS = ["a photo of a dog", "Ünüsual tokens ☃", "word " * 90]


@dataclass(frozen=True)
class Exported:
    """A model, whether its trunk is ours, its exported folder, and what a fresh process was given to encode with it."""

    trunk: bool
    clip: Clip
    folder: Path
    given: Path
    pixels: np.ndarray


@pytest.fixture(scope="module")
def exported(whole: Whole, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exported]:
    """A model of each kind, exported, and read by one fresh process, as is `whole`."""
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        for kind in KINDS:
            folder = tmp_path_factory.mktemp(kind)
            model = kind
            if kind == "trunk":
                model = _of_a_trunk(folder)
            elif kind != "mini":
                model = _tiny_architecture(patch, folder, RESNET if kind == "resnet" else VIT)
            clip = load_clip(model)
            (folder / "model").mkdir()
            write_model(folder / "model", clip, model)
            assert check_model(folder / "model", clip, ["an apple", "a very unusual word: zxcv"]) < 1e-5
            side = clip.preprocessing.image_size
            pixels = np.random.default_rng(0).integers(0, 256, (3, 3, side, side), dtype=np.uint8)
            _give(folder / "given", pixels, TEXTS)
            made[kind] = Exported(needs_trunk(model), clip, folder / "model", folder / "given", pixels)
    _read_elsewhere((whole.folder, whole.given), *((each.folder, each.given) for each in made.values()))
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_survives(kind: str, exported: dict[str, Exported]) -> None:
    """Equal features in a fresh process: QuickGELU, channel statistics, context length and tokenizer included."""
    made = exported[kind]
    images, read = _features(made.given)
    with torch.no_grad():
        mine = made.clip.encode_image(made.clip.preprocessing(torch.from_numpy(made.pixels)))
        assert np.abs(_unit(images) - _unit(mine)).max() < 1e-5
        assert np.abs(_unit(read) - _unit(made.clip.encode_text(TEXTS))).max() < 1e-5
    assert json.loads((made.folder / CONFIG).read_text())["model_cfg"].get("quick_gelu", False) == (
        kind in ("resnet", "vit")
    )
    assert (made.folder / f"{TRUNK_MODULE}.py").exists() == made.trunk == (kind == "trunk")


def test_a_small_clip_leaves_as_it_came_by_its_name_or_its_file(tmp_path: Path) -> None:
    answer = command("export", "micro", tmp_path / "by_name")
    assert answer.status == 0 and "micro, as it came" in answer.out, answer.err
    page = (tmp_path / "by_name" / "README.md").read_text()
    assert "left out of training: nothing" in page and "cifar100, flickr30k, caltech101" in page
    assert "import clip_trunks" in page and "import clip_trunks" in answer.out
    about = {
        "recipe": "micro",
        "seed": 3,
        "precision": "bf16",
        "pairs": 7,
        "exclude": {"cifar100": {"classes": ["ray"]}},
    }
    assert "left out of training: ray of cifar100" in original_card(about, None)
    trained = Path(_of_a_trunk(tmp_path))  # says nothing of its making: a folder without a card
    assert command("export", trained, tmp_path / "by_file").status == 0
    assert not (tmp_path / "by_file" / "README.md").exists() and (tmp_path / "by_file" / CONFIG).exists()
    assert command("export", "micro", tmp_path / "by_file").status == 2  # nothing is overwritten


def test_the_card_says_what_must_be_imported_before_a_trunk_of_ours() -> None:
    plain_usage, ours = usage(None), usage(TRUNK_MODULE)
    assert "clip_trunks" not in plain_usage
    assert ours.endswith(plain_usage.removeprefix("```python\n"))
    assert ours.index("import clip_trunks") < ours.index("import open_clip\n") and "`sys.path`" in ours


def test_a_configuration_that_does_not_fit_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmark.exporting.config import ExportError

    model = _tiny_architecture(monkeypatch, tmp_path, VIT)
    clip = load_clip(model)
    write_model(tmp_path, clip, model)
    (tmp_path / "weights.safetensors").unlink()
    config = json.loads((tmp_path / CONFIG).read_text())
    for change, message in (({"quick_gelu": False}, "another model"), ({"embed_dim": 8}, "cannot read")):
        (tmp_path / CONFIG).write_text(json.dumps({**config, "model_cfg": {**config["model_cfg"], **change}}))
        with pytest.raises(ExportError, match=message):
            check_model(tmp_path, clip, ["a dog"])


def test_origins() -> None:
    assert origin_of("shapes-resnet") == Origin("shapes-resnet", "mit")
    assert origin_of("ViT-B-32/openai").licence == "mit"
    assert origin_of("ViT-B-32/laion2b_s34b_b79k").licence == "other"
    assert origin_of("ViT-B-32:/home/somebody/secret/w.pt") == Origin("ViT-B-32 (w.pt)", "other")


# -- the card ------------------------------------------------------------------------------------------------

HOSTILE = (
    "<script>alert(1)</script> | [x](http://evil.example) `rm -rf` **b** ![i](j)\n# head\n---\u202e www.evil.example"
)


def _card(record: Record, **more: Any) -> str:
    method = MethodCard("ccup", "a title", "a paper", "names", ("visual projection",), stochastic=False)
    return CardWriter(record, method, Origin("shapes-resnet", "mit"), **more).write()


def _some_record(**metrics: Metric) -> Record:
    cell = {
        "suite": "quick", "method": "ccup", "dataset": "shapes", "model": "shapes-resnet", "seed": 0,
        "request": {"classes": ["star"]}, "hparams": {"forget_weight": 1000.0},
    }  # fmt: skip
    found = {name.replace("__", "/").replace("_at_", "@"): metric for name, metric in metrics.items()}
    return Record(1, "0" * 64, cell, found, {"original": "1" * 64, "retrain": None}, {}, {"precision": "fp32"})


def test_the_card_says_what_the_records_hold() -> None:
    record = _some_record(
        forget__acc1=Metric(0.03, 100, (0.01, 0.085)),
        forget__probe_acc1=Metric(0.91, 100, (0.838, 0.952)),
        forget__relearn_acc1_at_16=Metric(0.87, 100, (0.79, 0.922)),
        retain__acc1=Metric(None),
    )
    card = _card(record, before={"forget/acc1": Metric(1.0, 100, (0.963, 1.0))})
    (scored,) = re.findall(r"^\| to forget: zero-shot top-1.*$", card, re.MULTILINE)
    assert scored.endswith("| 100.0 % [96.3, 100.0], n = 100 | 3.0 % [1.0, 8.5], n = 100 |")
    (probe,) = re.findall(r"^\| to forget: accuracy of a linear probe.*$", card, re.MULTILINE)
    assert probe.endswith("| not measured | 91.0 % [83.8, 95.2], n = 100 |")
    assert re.search(r"^\| to retain: zero-shot.*\| not measured \| not measured \|$", card, re.MULTILINE)
    assert "brings its accuracy to 87.0 % [79.0, 92.2]" in card
    assert "Not measured for this model: knn_probe" in card and "measure soft_prompt" in card
    assert "Not a privacy guarantee" in card and "never saw it" not in card
    assert "not at hand" in _card(record) and "never saw it" in _card(record, retrained={})


def test_hostile_names_do_nothing() -> None:
    record = _some_record()
    record.cell["request"] = {"classes": [HOSTILE]}
    record.cell["hparams"] = {HOSTILE: HOSTILE}
    record.cell["method"] = record.cell["dataset"] = HOSTILE
    record.provenance["packages"] = {HOSTILE: HOSTILE}
    method = MethodCard("some", "some", "some", "names", ("visual projection",), stochastic=False)
    for part in ("name", "title", "paper"):  # which a card refuses: whatever comes past that
        object.__setattr__(method, part, HOSTILE)
    card = CardWriter(record, method, Origin(HOSTILE, "other", HOSTILE)).write()
    _, head, body = card.split("---\n", 2)
    assert yaml.safe_load(head)["tags"][-1] == HOSTILE and yaml.safe_load(head)["base_model"] == HOSTILE
    honest = _card(_some_record())
    for pattern in (r"^#+ ", r"^---", r"^```", r"^\|", r"^- "):
        assert len(re.findall(pattern, body, re.MULTILINE)) == len(
            re.findall(pattern, honest.split("---\n", 2)[2], re.MULTILINE)
        ), pattern
    for markup in (r"<script", r"(?<!\\)\[x", r"(?<!\\)`rm", r"(?<!\\)!", r"http:", r"www\.", "\u202e"):
        assert re.search(rf"(?<!\\){markup}", body) is None, markup


def test_plain_text_is_left_alone() -> None:
    assert plain("a 3 % share (ICLR 2022), ViT-B/32: it's fine.") == "a 3 % share (ICLR 2022), ViT-B/32: it's fine."
    assert plain("x" * 1000) == "x" * 300 + "..."
    assert value_text(Metric(0.25), percent=False) == "0.250" and value_text(None, percent=True) == "not measured"


def test_a_stranger_s_method_is_exported(short_world: World, tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path)
    assert short_world.run("--plugin", plugin, "--methods", "stranger", "--save-weights").status == 0
    key = _record(short_world, "stranger").key
    where = ("--results", short_world.results, "--cache-dir", short_world.cache)
    assert "unknown method 'stranger'" in command("export", key, tmp_path / "model", *where).error
    assert command("export", key, tmp_path / "model", *where, "--plugin", plugin).status == 0
    assert "nobody 2025" in (tmp_path / "model" / CARD).read_text()
