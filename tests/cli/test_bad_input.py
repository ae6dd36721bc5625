"""Bad input: one clear line on standard error, status 2, before anything is run or written."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from layouts import plain_picture, write_flickr30k
from world import SUITE, World, command, write_plugin

from benchmark.records.store import RecordStore
from datamodules import cifar100

pytest_plugins = ("world",)


@pytest.fixture
def refused(world: World, monkeypatch: pytest.MonkeyPatch) -> object:
    """Runs what must be refused; gives the error line, having seen that no cell ran and nothing was written."""
    from benchmark.execution.runner import CellRunner

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a cell was run")

    monkeypatch.setattr(CellRunner, "run", never)

    def run(*options: object, text: str | None = None, name: str = "bad.yaml") -> str:
        suite = world.suite if text is None else world.suite.with_name(name)
        if text is not None:
            suite.write_text(text.replace("MODEL", _model_of(world)))
        line = World(suite, world.cache, world.results).run(*options).error
        assert world.files() == set()
        return line

    return run


def _model_of(world: World) -> str:
    return world.suite.read_text().split("models: [")[1].split("]")[0]


def _suite(**changes: str) -> str:
    text = SUITE.format(model="MODEL")
    for part, new in changes.items():
        assert _LINES[part] in text
        text = text.replace(_LINES[part], new)
    return text


_LINES = {
    "requests": "[{classes: [star]}, {concept: striped}]",
    "others": "[shapes_colours]",
    "seeds": "[0, 1]",
    "dataset": "dataset: shapes\n",
    "methods": "[original, nullspace, random_noise]",
    "title": "title: a tiny suite for tests",
}


# -- names ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--methods", "cliperace"), "unknown method 'cliperace': did you mean 'cliperase'"),
        (("--suite", "quik"), "unknown suite 'quik': did you mean 'quick'"),
        (("--suite", "none.yaml"), "none.yaml does not exist"),
        (("--model", "shapes-resnt"), "did you mean 'shapes-resnet'"),
        (("--model", "ViT-B-32/openia"), "did you mean 'openai'"),
        (("--model", "ViT-B-33/openai"), "did you mean 'ViT-B-32'"),
        (("--model", "nowhere.safetensors"), "no file nowhere.safetensors"),
        (("--model", "ViT-B-32:nowhere.pt"), "no file nowhere.pt"),
        (("--plugin", "nowhere.py"), "plugin file nowhere.py does not exist"),
        (("--set", "cliperace.epochs=1"), "did you mean 'cliperase'"),
        (
            ("--methods", "ccup", "--set", "ccup.forget_wait=1"),
            "method 'ccup': unknown hyperparameter 'forget_wait': did you mean",
        ),
        (("--methods", "original", "--set", "ccup.forget_wait=1"), "'forget_wait'"),
        (("--set", "nullspace.alpha=2"), "alpha=2.0 is out of its range [0, 1]"),
        (("--set", "nullspace.alpha=much"), "alpha='much' is not float"),
        (("--set", "nullspace.alpha=true"), "alpha=True is not float"),
        (("--methods", "cliperase", "--set", "cliperase.batch_size=2.5"), "batch_size=2.5 is not int"),
        (("--methods", "cliperase", "--set", "cliperase.forgetting=sine"), "use one of cosine, cross-entropy"),
        (("--set", "nullspace.alpha"), "is not of the form METHOD.HYPERPARAMETER=VALUE"),
        (("--set", "nullspace.alpha=.nan"), "alpha"),
        (("--set", "random_noise.scale=.inf"), "scale"),
        (("--set", "nullspace.alpha={"), "alpha"),
        (("--shard", "3/2"), "shard '3/2' is not of the form i/n"),
        (("--shard", "0/2"), "shard '0/2'"),
        (("--shard", "half"), "shard 'half'"),
        (("--shard", "1/²"), "shard '1/²'"),
        (("--seeds", "0,x"), "--seeds takes whole numbers"),
        (("--seeds", "-1"), "--seeds"),
        (("--seeds", "1.5"), "--seeds takes whole numbers"),
        (("--seeds", "²"), "--seeds takes whole numbers"),
        (("--keys", "ffffffffffff"), "no cell of suite"),
        (("--all", "--methods", "original"), "--all runs every method"),
        (("--colour", "red"), "--colour"),
        (("--nullspace.alpha", "3"), "a hyperparameter is given as --set nullspace.alpha=3"),
        (("--nullspace.alpha=3",), "a hyperparameter is given as --set nullspace.alpha=3"),
        (("--methods", "retrain"), "was not trained by a recipe of this project; leave it out"),
        (("--wandb", "perhaps"), "wandb"),
        (("--precision", "fp8"), "unknown precision 'fp8'"),
        (("--device", "toaster"), "unknown device 'toaster'"),
        (("--device", "mps"), "mps"),
        (("--device", "meta"), "meta"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_options(refused: object, options: tuple[str, ...], expected: str) -> None:
    assert expected in refused(*options)


def test_a_gpu_that_is_not_there(refused: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for device in ("cuda", "cuda:3"):
        assert "torch sees no GPU here: use --device cpu" in refused("--device", device)


def test_commands() -> None:
    for arguments in ((), ("walk",), ("list", "shops"), ("list",), ("run", "stray"), ("verify",)):
        assert command(*arguments).error
    assert "did you mean 'shapes-vit'" in command("pretrain", "shapes-vt").error
    assert "no file nowhere.py" in command("check", "nowhere.py").error


def test_pretraining_on_a_gpu_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    out = tmp_path / "x.safetensors"
    asked = ("pretrain", "shapes-resnet", "--out", out, "--cache-dir", world.cache, "--device", "cuda")
    for precision in ("auto", "fp32"):
        assert "no GPU" in command(*asked, "--precision", precision).error and not out.exists()


# -- suites --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"title": "title: x\nsedes: [0]"}, "bad.yaml, line 2: unknown key 'sedes': did you mean 'seeds'"),
        ({"others": "[]\n    request: []"}, "bad.yaml, line 8: tasks[0]: unknown key 'request': did you mean"),
        ({"title": ""}, "key 'title' is missing"),
        ({"title": "title: [x"}, "bad.yaml, line"),
        ({"seeds": "[zero]"}, "line 3: seeds[0] must be a whole number, not 'zero'"),
        ({"seeds": "[]"}, "line 3: seeds is empty"),
        ({"methods": "[cliperace]"}, "did you mean 'cliperase'"),
        ({"dataset": "dataset: shpes\n"}, "unknown data set 'shpes': did you mean 'shapes'"),
        ({"others": "[shapes_colors]"}, "did you mean 'shapes_colours'"),
        ({"others": "5"}, "line 7: tasks[0].others must be a list, not 5"),
        ({"others": "shapes_colours"}, "line 7: tasks[0].others must be a list"),
        ({"requests": "[{classes: [strar]}]"}, "unknown class of shapes 'strar': did you mean 'star'"),
        ({"requests": "[{class: [star]}]"}, "line 6: unknown key 'class'"),
        ({"requests": "[{classes: []}]"}, "line 6: a forget request names either classes or a concept"),
        ({"requests": "[{classes: star}]"}, "line 6: in a forget request classes and words are lists"),
        ({"requests": "[{concept: hexagn}]"}, "'hexagon'"),
        ({"requests": "[{concept: zeppelin}]"}, "the forget set of 'zeppelin' is empty in shapes/train"),
        ({"requests": "[{concept: a}]"}, "the forget set of 'a' is all of shapes/train"),
        ({"methods": "[original]\nhparams: {original: {x: 1}}"}, "method 'original': unknown hyperparameter 'x'"),
        ({"methods": "[original]\nvariants: {method: ccup}"}, "variants must be a list"),
        ({"methods": "[original]\nvariants: [{method: ccup}]"}, "the key 'hparams' is missing in variants[0]"),
        ({"methods": "[original]\nvariants: [{methods: ccup}]"}, "variants[0]: unknown key 'methods': did you mean"),
        (
            {"methods": "[original]\nvariants: [{method: ccup, hparams: {lambda: 1}}]"},
            "method 'ccup': unknown hyperparameter 'lambda'",
        ),
        ({"methods": "[original]\nvariants: [{method: cup, hparams: {}}]"}, "did you mean 'ccup'"),
        ({"methods": "[original]\nby_request: [{classes: [ring]}]"}, "the key 'hparams' is missing in by_request[0]"),
        (
            {"methods": "[original]\nby_request: [{classes: [ring], hparams: {lip: {threshold: 0.5}}}]"},
            "no request of this suite names the classes ['ring']",
        ),
        (
            {"methods": "[original]\nby_request: [{dataset: cifar100, hparams: {lip: {threshold: 0.5}}}]"},
            "no task of this suite is on the data set 'cifar100'",
        ),
        ({"methods": "[original]\nby_request: [{hparams: {lip: {thresh: 1}}}]"}, "method 'lip': unknown"),
        ({"methods": "[original]\nprecision: fp8"}, "unknown precision 'fp8'"),
    ],
    ids=lambda value: ",".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_suite_files(refused: object, changes: dict[str, str], expected: str) -> None:
    assert expected in refused(text=_suite(**changes))


def test_a_request_for_every_class(refused: object) -> None:
    from datamodules.shapes_world.vocabulary import VOCABULARY

    text = _suite(requests=f"[{{classes: [{', '.join(VOCABULARY['shape'])}]}}]")
    assert "the request forgets every class of 'shapes'" in refused(text=text)


def test_a_suite_name_that_cannot_name_a_folder(refused: object) -> None:
    assert "my suite" in refused(text=_suite(), name="my suite.yaml")


def test_a_suite_that_is_not_text(world: World) -> None:
    world.suite.write_bytes(b"title: caf\xe9\n")
    assert "tiny.yaml" in world.run().error


# -- data ----------------------------------------------------------------------------------------------------


CIFAR = "title: x\nmodels: [MODEL]\nseeds: [0]\ntasks: [{dataset: cifar100, requests: [{classes: [apple]}]}]\n"
FLICKR = "title: x\nmodels: [MODEL]\nseeds: [0]\ntasks: [{dataset: flickr30k, requests: [{concept: dog}]}]\n"
FLICKR_TOO = (
    "title: x\nmodels: [MODEL]\nseeds: [0]\nmethods: [original]\n"
    "tasks: [{dataset: shapes, others: [flickr30k], requests: [{classes: [star]}]}]\n"
)


def _flickr(folder: Path, bad: int | None = None) -> Path:
    """Twelve images: 8 train, 2 val, 2 test; every second shows a dog. One may be no image."""
    images = []
    for index in range(12):
        split = "train" if index < 8 else "val" if index < 10 else "test"
        texts = ["a dog ." if index % 2 else "a cat .", *(f"caption {i} of {index} ." for i in range(4))]
        images.append((f"{index}.jpg", split, texts))
        path = folder / "flickr30k" / "flickr30k-images" / f"{index}.jpg"
        plain_picture(path, 20 * index)
        if index == bad:
            path.write_bytes(path.read_bytes()[:40] + b"no image")
    write_flickr30k(folder, images)
    return folder


def test_missing_data(refused: object, tmp_path: Path) -> None:
    assert "no --data-dir was given" in refused(text=CIFAR)
    line = refused("--data-dir", tmp_path / "no", text=CIFAR)
    assert str(tmp_path / "no") in line and "download cifar100" in line


def test_wrong_checksum(refused: object, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "cifar-100-python"
    folder.mkdir(parents=True)
    for name in cifar100.MD5:
        (folder / name).write_bytes(b"not the official file")
    line = refused("--data-dir", tmp_path / "data", text=CIFAR)
    assert "is not the official file (md5" in line and "download cifar100" in line


def test_an_unreadable_image_is_named(refused: object, tmp_path: Path) -> None:
    line = refused("--data-dir", _flickr(tmp_path / "data", bad=5), "--cache-dir", tmp_path / "c", text=FLICKR)
    assert "1 image cannot be read" in line and "5.jpg" in line
    line = refused("--data-dir", _flickr(tmp_path / "more", bad=11), "--cache-dir", tmp_path / "c", text=FLICKR)
    assert "1 image cannot be read" in line and "11.jpg" in line


def test_an_unreadable_image_of_another_data_set(refused: object, tmp_path: Path) -> None:
    line = refused("--data-dir", _flickr(tmp_path / "data", bad=11), text=FLICKR_TOO)
    assert "1 image cannot be read" in line and "11.jpg" in line


def test_a_missing_image(refused: object, tmp_path: Path) -> None:
    data = _flickr(tmp_path / "data")
    (data / "flickr30k" / "flickr30k-images" / "3.jpg").unlink()
    assert "1 of 12 listed images are missing, first image 3" in refused("--data-dir", data, text=FLICKR)


def test_captions_only_cannot_forget_a_class(refused: object, tmp_path: Path) -> None:
    text = FLICKR.replace("concept: dog", "classes: [dog]")
    assert "has no classes: name a concept" in refused("--data-dir", _flickr(tmp_path / "data"), text=text)


# -- models, folders -----------------------------------------------------------------------------------------


def test_a_damaged_model(refused: object, tiny_world: SimpleNamespace, tmp_path: Path) -> None:
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(tiny_world.model.read_bytes()[:5000])
    assert "bad.safetensors" in refused("--model", bad)


def test_a_damaged_second_model(refused: object, tiny_world: SimpleNamespace, tmp_path: Path) -> None:
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(tiny_world.model.read_bytes()[:5000])
    assert "bad.safetensors" in refused("--model", f"{tiny_world.model},{bad}")


def test_results_that_cannot_be_written(world: World) -> None:
    world.results.write_text("in the way")
    assert "results cannot be written to" in world.run().error
    assert "cannot read" in world("plan").error
    assert world.results.read_text() == "in the way"


def test_a_cache_that_cannot_be_written(world: World, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    blocked = World(world.suite, tmp_path / "file", world.results)
    assert str(tmp_path / "file") in blocked.run().error and world.files() == set()


def test_plugins_that_declare_nothing(refused: object, tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text("x = 1\n")
    assert "declares no method" in refused("--plugin", tmp_path / "empty.py")
    (tmp_path / "broken.py").write_text("CARD = MethodCard(\n")
    assert "broken.py" in refused("--plugin", tmp_path / "broken.py")
    assert "that name is taken by" in refused("--plugin", write_plugin(tmp_path, "ccup"))


def test_a_plugin_whose_hyperparameters_are_no_dataclass(refused: object, tmp_path: Path) -> None:
    path = write_plugin(tmp_path)
    path.write_text(path.read_text().replace("@dataclass(frozen=True)\n", ""))
    assert "stranger" in refused("--plugin", path, "--methods", "stranger")


def test_a_plugin_that_cannot_be_imported(refused: object, tmp_path: Path) -> None:
    path = write_plugin(tmp_path)
    path.write_text(path.read_text() + "\nimport a_module_of_another_world\n")
    assert "stranger.py cannot be imported" in refused("--plugin", path, "--methods", "stranger")


# -- records -------------------------------------------------------------------------------------------------


def _spoil(finished: World, world: World, method: str) -> Path:
    shutil.copytree(finished.results, world.results)
    record = next(r for r in finished.records().values() if r.cell["method"] == method)
    path = RecordStore(world.results).path("tiny", record.key)
    path.write_text(path.read_text()[:300])
    return path


def test_a_damaged_record_is_set_aside_and_made_again(finished: World, world: World) -> None:
    path = _spoil(finished, world, "nullspace")
    again = finished.with_results(world.results)
    answer = again.run()
    assert answer.status == 0 and "1 cells run, 7 were done" in answer.out
    assert path.name in answer.err and "is not a whole record" in answer.err
    assert path.with_name(path.name + ".corrupt").is_file()
    assert set(again.records()) == set(finished.records())


def test_a_damaged_record_of_the_original_is_named_too(finished: World, world: World) -> None:
    path = _spoil(finished, world, "original")
    answer = finished.with_results(world.results).run("--methods", "nullspace", "--force")
    assert answer.status == 0 and path.exists() and path.name in answer.err


def test_the_leaderboard_names_a_damaged_record(finished: World, world: World) -> None:
    path = _spoil(finished, world, "nullspace")
    answer = command("leaderboard", "--results", world.results)
    assert answer.status == 0 and path.name in answer.err


def test_plan_names_a_damaged_record(finished: World, world: World) -> None:
    path = _spoil(finished, world, "nullspace")
    answer = finished.with_results(world.results)("plan")
    assert "7 done, 1 missing" in answer.out and path.name in answer.err


def test_an_empty_results_folder(tmp_path: Path) -> None:
    assert "make some with `python -m benchmark run --all`" in command("leaderboard", "--results", tmp_path).error
