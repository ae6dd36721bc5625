"""The Python API: light to import, equal to the command line in its numbers, honest in its refusals."""

from __future__ import annotations

import ast
import doctest
import inspect
import io
import pkgutil
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from world import World, command, small_world, write_plugin

import benchmark as cub
from benchmark import api
from benchmark.evaluation.measures import relearning
from benchmark.models.image_input import TransformError, of_transform
from benchmark.utils.bar import bar
from datamodules.common import content
from datamodules.common.errors import BenchmarkError
from datamodules.common.images import Preprocessing
from methods.common.clip import Clip, state_hash
from methods.common.registry import Registry

pytest_plugins = ("world",)
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def cache(tiny_world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The small world in an empty folder, with the cache that all tests share."""
    monkeypatch.setenv("CLIP_UNLEARNING_CACHE", str(tiny_world.cache))
    monkeypatch.chdir(tmp_path)
    with small_world():
        yield tiny_world.cache


@pytest.fixture
def clip(tiny_world: SimpleNamespace, cache: Path) -> Clip:
    return cub.load_model(str(tiny_world.model), device="cpu")


@pytest.fixture
def shapes(clip: Clip) -> cub.Dataset:
    return cub.load_dataset("shapes", clip)


def whole(clip: Clip) -> str:
    return state_hash(clip.model, lambda _: True)


# -- the package -----------------------------------------------------------------------------------------------


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, benchmark as cub\n"
        "names = dir(cub)\n"
        "cub.list_methods(), cub.list_suites()\n"
        "heavy = {'torch', 'pandas', 'lightning', 'open_clip', 'wandb', 'scipy'} & set(sys.modules)\n"
        "print(sorted(heavy), all(name in names for name in ('load_model', 'unlearn', 'audit', 'RunResult')))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[] True", done.stderr


def test_every_name_of_the_package_is_there_and_typed() -> None:
    """A type checker sees the imports under TYPE_CHECKING: they must be those that are fetched."""
    tree = ast.parse((ROOT / "benchmark" / "__init__.py").read_text())
    checked = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {a.name: n.module for n in checked.body if isinstance(n, ast.ImportFrom) for a in n.names}
    assert typed == cub._PLACES and {"evaluate", "export", "leaderboard", "list_models"} <= set(typed)
    assert all(getattr(cub, name) is not None for name in typed)
    with pytest.raises(AttributeError, match="no attribute 'unlern'"):
        cub.unlern  # noqa: B018


def test_no_module_has_the_name_of_what_the_package_offers() -> None:
    """Importing a module puts it in its package under its name, in the place of a function of that name."""
    modules = {module.name for module in pkgutil.iter_modules(cub.__path__)}
    assert len(modules) > 10 and not modules & set(cub._PLACES)


def test_no_key_depends_on_the_api() -> None:
    """Every import of the project runs the package's own module: what it names must not count as used."""
    from benchmark.suites.digests import LOADS_OPEN_CLIP, NOT_COUNTED, SHOWS, UNLEARNS
    from datamodules.common.code_closure import project_code

    places = project_code().places(*UNLEARNS, LOADS_OPEN_CLIP, stops=(*NOT_COUNTED, *SHOWS))
    rooms = {path.relative_to(ROOT).parts[:2] for path in places}
    assert ("benchmark", "execution") in rooms
    assert not {("benchmark", room) for room in ("__init__.py", "api", "cli", "leaderboard", "report")} & rooms


def test_the_examples_of_the_docstrings_run(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of the file, each with what those before it have made."""
    monkeypatch.setattr(relearning, "STEPS", 2)  # of an attack that no example depends on
    monkeypatch.setattr(relearning, "RATES", (1e-6,))
    order = ("load_model", "load_dataset", "unlearn", "evaluate", "audit", "export", "run", "leaderboard")
    public = [getattr(api, name) for name in (*order, *(name for name in api.__all__ if name.startswith("list_")))]
    assert {function.__name__ for function in public} == set(api.__all__) - {"RunResult"}
    names: dict[str, object] = {"cub": cub}
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for function in public:
        found = doctest.DocTestFinder(recurse=False).find(function, function.__name__, globs=names)
        assert found and found[0].examples, f"{function.__name__} has no example"
        found[0].globs = names
        said = io.StringIO()
        assert runner.run(found[0], out=said.write, clear_globs=False).failed == 0, said.getvalue()


# -- unlearn and evaluate --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "seed", "request_"),
    [("random_noise", 1, {"classes": ["star"]}), ("nullspace", 0, {"concept": "striped"})],
)
def test_keys_and_numbers_are_those_of_a_suite(
    finished: World, clip: Clip, shapes: cub.Dataset, method: str, seed: int, request_: dict[str, object]
) -> None:
    others = [cub.load_dataset("shapes_colours", clip)]
    result = cub.unlearn(clip, method, shapes, others=others, seed=seed, **request_)  # type: ignore[arg-type]
    measured = cub.evaluate(result)
    key = replace(result.cell, suite="tiny").key
    record = finished.records()[key]
    assert measured.metrics == record.metrics
    original = finished.records()[str(record.references["original"])]
    assert dict(measured.before) == original.metrics
    assert (result.cost.flops, result.unlearned.edited_bytes) == (record.cost["flops"], record.cost["edited_bytes"])


def test_the_model_that_is_given_stays_as_it_is(clip: Clip, shapes: cub.Dataset) -> None:
    before = whole(clip)
    result = cub.unlearn(clip, "ccup", shapes, classes=["star"], forget_weight=30, progress=False)
    assert whole(clip) == before != whole(result.clip)
    assert result.original is clip and result.cell.hparams["forget_weight"] == 30.0
    assert "ccup" in repr(result) and "star" in repr(result) and "names" in repr(result)


def test_further_measures_and_what_could_not_be_measured(clip: Clip, shapes: cub.Dataset) -> None:
    result = cub.unlearn(clip, "nullspace", shapes, classes=["star"])
    measured = cub.evaluate(result, ["linear_probe", "true_name_rank"])
    rows = {row["metric"]: row for row in measured.to_pandas().to_dict("records")}
    assert set(rows) == set(measured.metrics) >= {"forget/acc5", "forget/acc1", "score/kravets"}
    for name, metric in measured.metrics.items():
        ends = metric.ci95 or (None, None)
        for column, value in (("value", metric.value), ("n", metric.n), ("low", ends[0]), ("high", ends[1])):
            shown = rows[name][column]
            assert np.isnan(shown) if value is None else shown == value
        assert rows[name]["original"] == measured.before[name].value or measured.before[name].value is None
    assert (rows["forget/acc1"]["direction"], rows["retain/acc1"]["direction"]) == ("lower", "higher")
    assert list(measured.not_measured) == ["linear_probe"] and "too few" in measured.not_measured["linear_probe"]
    assert rows["forget/probe_acc1"]["direction"] == "lower" and "linear_probe: not measured" in str(measured)
    with pytest.raises(BenchmarkError, match="did you mean 'linear_probe'"):
        cub.evaluate(result, ["linear_prob"])


def test_wrong_names_and_values_are_refused_with_the_nearest(clip: Clip, shapes: cub.Dataset) -> None:
    for arguments, meant in (
        ({"method": "ccup", "classes": ["star"], "retain_wieght": 1}, "'retain_weight'"),
        ({"method": "ccup", "classes": ["star"], "retain_weight": -1}, "out of its range"),
        ({"method": "ccupp", "classes": ["star"]}, "'ccup'"),
        ({"method": "ccup", "classes": ["sttar"]}, "'star'"),
        ({"method": "ccup", "classes": "star"}, "list of names"),
        ({"method": "ccup"}, "either classes or a concept"),
        ({"method": "retrain", "classes": ["star"]}, "no retrained model"),
        ({"method": "missing.py", "classes": ["star"]}, "does not exist"),
    ):
        method = str(arguments.pop("method"))
        with pytest.raises(BenchmarkError) as caught:
            cub.unlearn(clip, method, shapes, **arguments)  # type: ignore[arg-type]
        assert meant in str(caught.value) and "\n" not in str(caught.value)


def test_no_hyperparameter_is_called_like_an_argument() -> None:
    mine = set(inspect.signature(api.unlearn).parameters)
    registry = Registry()
    for name in registry.names():
        assert not mine & set(registry.declaration(name).hyperparameters.__dataclass_fields__), name


def test_a_method_may_be_a_file(clip: Clip, shapes: cub.Dataset, tmp_path: Path) -> None:
    result = cub.unlearn(clip, write_plugin(tmp_path), shapes, classes=["star"], factor=0.25)
    assert result.cell.method == "stranger" and result.cell.hparams == {"factor": 0.25}
    name = next(name for name in result.unlearned.edited if name.endswith("weight"))
    torch.testing.assert_close(result.clip.model.state_dict()[name], 0.25 * clip.model.state_dict()[name])


# -- names alone -----------------------------------------------------------------------------------------------


def test_names_alone_are_enough_for_a_method_that_reads_no_more(clip: Clip) -> None:
    few = cub.unlearn(clip, "ccup", classes=["red panda"], names_to_keep=["cat", "Red Panda", "dog"])
    assert few.unlearned.edited and few.runner.session.dataset(
        few.cell.dataset, clip.preprocessing.framing
    ).class_names == (*("red panda", "cat", "dog"),)
    with pytest.raises(BenchmarkError, match="names alone"):
        cub.evaluate(few)
    with pytest.raises(BenchmarkError, match="reads images"):
        cub.unlearn(clip, "gradient_ascent", classes=["star"], names_to_keep=["heart"])
    with pytest.raises(BenchmarkError, match="no name is left"):
        cub.unlearn(clip, "ccup", classes=["cat"], names_to_keep=["cat"])


def test_by_default_the_names_of_imagenet_are_kept(clip: Clip) -> None:
    from datamodules.in_memory import NamesDataset

    names = NamesDataset(["red panda"]).class_names
    assert names[0] == "red panda" and names.count("red panda") == 1 and 900 < len(names) <= 1000 and "tench" in names


# -- data in memory --------------------------------------------------------------------------------------------


def as_lists(data: cub.Dataset) -> tuple[np.ndarray, list[str], list[tuple[str, ...]], list[str]]:
    """The images, class names, captions and parts of both splits of a data set."""
    pixels, labels, captions, parts = [], [], [], []
    for part in ("train", "test"):
        split = data.split(part)  # type: ignore[arg-type]
        assert split.labels is not None and split.captions is not None
        pixels.append(split.images.read(range(len(split.images))).numpy())
        labels += [data.class_names[label] for label in split.labels]
        captions += list(split.captions)
        parts += [part] * len(split.images)
    return np.concatenate(pixels), labels, captions, parts


def test_an_array_in_memory_gives_the_numbers_of_the_same_images_by_name(clip: Clip, shapes: cub.Dataset) -> None:
    pixels, labels, captions, parts = as_lists(shapes)
    mine = cub.load_dataset(
        "mine",
        clip,
        images=pixels.transpose(0, 2, 3, 1),
        labels=labels,
        class_names=shapes.class_names,
        captions=captions,
        parts=parts,  # type: ignore[arg-type]
        templates=shapes.templates,
        concepts=shapes.concept_names,
    )
    for request in ({"classes": ["star"]}, {"concept": "striped"}):
        here, there = (
            cub.evaluate(cub.unlearn(clip, "nullspace", data, **request)).metrics  # type: ignore[arg-type]
            for data in (mine, shapes)
        )
        assert here == there and len(here) > 4


def test_pictures_in_memory_become_what_their_files_would(clip: Clip, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    pictures = [Image.fromarray(draw.integers(0, 256, (40 + k, 50, 3), dtype=np.uint8)) for k in range(8)]
    for number, picture in enumerate(pictures):
        folder = tmp_path / "pets" / ("train" if number < 4 else "test") / ("cat" if number % 2 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        picture.save(folder / f"{number}.png")
    files = cub.load_dataset("folder:pets", clip, data_dir=tmp_path)
    labels = ["cat" if number % 2 else "dog" for number in range(8)]
    mine = cub.load_dataset("pets", clip, images=pictures, labels=labels, parts=["train"] * 4 + ["test"] * 4)
    assert mine.class_names == files.class_names == ("cat", "dog")
    for part in ("train", "test"):
        here, there = mine.split(part), files.split(part)  # type: ignore[arg-type]
        assert here.labels is not None and there.labels is not None
        order = np.argsort(here.labels, kind="stable")
        assert torch.equal(here.images.read(order), there.images.read(range(4)))
        assert here.labels[order].tolist() == there.labels.tolist()


def test_the_revision_of_images_in_memory_is_their_content() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)
    given = {"images": pixels, "labels": [0, 1] * 8, "class_names": ["cat", "dog"]}
    first = cub.load_dataset(**given)  # type: ignore[arg-type]
    assert first.revision == cub.load_dataset(**given).revision  # type: ignore[arg-type]
    other = pixels.copy()
    other[3, 0, 0, 0] ^= 1
    for change in ({"images": other}, {"class_names": ["dog", "cat"]}, {"seed": 1}, {"templates": ["one {}"]}):
        assert cub.load_dataset(**{**given, **change}).revision != first.revision  # type: ignore[arg-type]
    split = first.split("test")
    assert split.labels is not None and sorted(split.labels.tolist()) == [0] * 4 + [1] * 4


def test_data_in_memory_that_does_not_fit_is_one_clear_line(clip: Clip) -> None:
    pixels = np.zeros((8, 32, 32, 3), dtype=np.uint8)
    pictures = [Image.fromarray(each) for each in pixels]
    good: dict[str, object] = {"images": pixels, "labels": ["cat", "dog"] * 4}
    for change, says in (
        ({"labels": None}, "images alone"),
        ({"labels": ["cat"] * 6 + ["dog"]}, "8 images but 7 labels"),
        ({"labels": [0, 1] * 4}, "need class_names"),
        ({"labels": [0, 2] * 4, "class_names": ["cat", "dog"]}, "from 0 to 1"),
        ({"labels": ["cat"] * 8}, "at least two names"),
        ({"labels": ["cat", "dgo"] * 4, "class_names": ["cat", "dog"]}, "'dgo' is not among"),
        ({"images": pixels.astype(float)}, "uint8"),
        ({"images": ["a.png"] * 8}, "PIL images"),
        ({"images": pictures}, "give the clip"),
        ({"templates": ["a photo"]}, "needs one {}"),
        ({"parts": ["train"] * 8}, "no image in the test split|test split is empty"),
        ({"parts": ["val"] * 8}, "'train' or 'test'"),
        ({"captions": ["", *"abcdefg"]}, "none empty"),
        ({"test_share": 2}, "between 0 and 1"),
    ):
        with pytest.raises(BenchmarkError, match=says):
            cub.load_dataset(**{**good, **change})  # type: ignore[arg-type]
    with pytest.raises(BenchmarkError, match="give the model"):
        cub.load_dataset("cifar100")
    with pytest.raises(BenchmarkError, match="did you mean 'shapes'"):
        cub.load_dataset("shape", clip)


# -- models in memory ------------------------------------------------------------------------------------------


def identity_of(clip: Clip, dataset: cub.Dataset) -> str:
    return cub.unlearn(clip, "nullspace", dataset, classes=["star"]).cell.weights


def transform_of(side: int, *steps: object, interpolation: str = "bicubic") -> transforms.Compose:
    way = transforms.InterpolationMode(interpolation)
    first = [transforms.Resize(side, interpolation=way), transforms.CenterCrop(side), transforms.ToTensor()]
    return transforms.Compose([*first, *(steps or [transforms.Normalize((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))])])


def test_a_model_in_memory_gives_the_numbers_of_the_same_model_by_name(clip: Clip, shapes: cub.Dataset) -> None:
    import open_clip

    look = clip.preprocessing
    transform = transform_of(look.image_size, transforms.Normalize(look.mean, look.std))
    mine = cub.load_model(clip.copy().model, transform=transform, name="mine", device="cpu")
    assert mine.name == "memory:mine" and mine.preprocessing == look
    assert torch.equal(mine.tokenize(["a red star"]), clip.tokenize(["a red star"]))
    mine.scale = clip.scale
    by_name, in_memory = (cub.evaluate(cub.unlearn(each, "ccup", shapes, classes=["star"])) for each in (clip, mine))
    assert by_name.metrics == in_memory.metrics
    look = replace(mine.preprocessing, resize="squash")
    squashed = cub.load_model(clip.copy().model, name="mine", device="cpu")
    squashed.preprocessing, squashed.scale = look, clip.scale
    weights = {identity_of(each, shapes) for each in (mine, cub.load_model(clip.copy().model, transform=transform))}
    assert weights == {in_memory.record.cell["weights"]} and identity_of(squashed, shapes) not in weights
    theirs = cub.load_model(clip.copy().model, tokenizer=open_clip.get_tokenizer("ViT-B-32"), transform=transform)
    assert theirs.tokenize(["x"]).shape == (1, 77)


def test_a_transform_is_read_or_refused(clip: Clip) -> None:
    assert of_transform(transform_of(48)) == Preprocessing(48, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    import open_clip

    ready = open_clip.image_transform(32, is_train=False)
    assert of_transform(ready) == Preprocessing(32)
    for transform, says in (
        (transform_of(48, transforms.ColorJitter()), "ColorJitter"),
        (transform_of(48, interpolation="nearest"), "nearest"),
        (transforms.Compose([transforms.CenterCrop(48)]), "no Normalize"),
        (transforms.Compose([transforms.CenterCrop(64), transforms.CenterCrop(48)]), "64 pixels and crops 48"),
        (transforms.Compose([transforms.CenterCrop((32, 48))]), "square"),
        (lambda image: image, "cannot be repeated"),
    ):
        with pytest.raises(TransformError, match=says):
            of_transform(transform)
    with pytest.raises(TransformError, match="48 pixels, the model takes 32"):
        cub.load_model(clip.model, transform=transform_of(48))


def test_a_model_in_memory_that_cannot_be_used_is_refused(clip: Clip) -> None:
    with pytest.raises(BenchmarkError, match="no open_clip model"):
        cub.load_model(torch.nn.Linear(2, 2))
    with pytest.raises(BenchmarkError, match="pickled"):
        cub.load_model(clip.model, tokenizer=lambda texts: clip.tokenize(texts))
    with pytest.raises(BenchmarkError, match="token ids"):
        cub.load_model(clip.model, tokenizer=len)  # type: ignore[arg-type]
    with pytest.raises(BenchmarkError, match="brings its tokenizer"):
        cub.load_model("mini", tokenizer=clip.tokenize)
    with pytest.raises(BenchmarkError, match="in the memory"):
        cub.load_model("memory:mine")


def test_a_model_from_memory_is_exported_where_its_architecture_is_told(clip: Clip, tmp_path: Path) -> None:
    mine = cub.load_model(clip.copy().model, device="cpu")
    with pytest.raises(BenchmarkError, match=r"architecture=\.\.\., such as ViT-B-32"):
        cub.export(mine, tmp_path / "mine")
    with pytest.raises(BenchmarkError, match="did you mean 'ViT-B-32'"):
        cub.export(mine, tmp_path / "mine", architecture="ViTB-32")
    folder = cub.export(clip, tmp_path / "plain")
    assert sorted(path.name for path in folder.iterdir()) == ["open_clip_config.json", "open_clip_model.safetensors"]
    assert not (tmp_path / "mine").exists()


# -- suites, leaderboards, lists -------------------------------------------------------------------------------


def test_a_run_and_its_leaderboard_are_those_of_the_command_line(finished: World, cache: Path, tmp_path: Path) -> None:
    given = {"results": tmp_path / "runs", "cache_dir": finished.cache, "device": "cpu", "progress": False}
    done = cub.run(str(finished.suite), ["nullspace"], **given)  # type: ignore[arg-type]
    theirs = {key: record for key, record in finished.records().items() if record.cell["method"] == "nullspace"}
    assert done.failures == () and {record.key: record.metrics for record in done.records} == {
        key: record.metrics for key, record in theirs.items()
    }
    frame = done.to_pandas().set_index("key")
    assert all(
        frame.loc[key, "forget/mean_recall"] == theirs[key].metrics["forget/mean_recall"].value for key in theirs
    )
    board = cub.leaderboard(tmp_path / "runs")
    assert str(board) == command("leaderboard", "--results", tmp_path / "runs").out
    rows = board.to_pandas().set_index(["kind", "method"])
    assert rows.loc[("class", "nullspace"), "rank"] == 1 and not rows["brought"].any()
    assert set(done.leaderboard().to_pandas()["method"]) == {"nullspace"}
    both = cub.leaderboard(tmp_path / "runs", reference=True).to_pandas()
    assert {"tiny", "quick"} <= set(both["suite"])


def test_force_has_files_of_data_sets_read_again(
    finished: World, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "RECENT_SECONDS", -60.0)
    shutil.copytree(finished.results, tmp_path / "runs")
    (tmp_path / "image.png").write_bytes(b"an image")
    for force in (False, True):
        content.content_digest(tmp_path, ["image.png"], finished.cache)
        remembered = set((finished.cache / "digests").glob("*.json"))
        done = cub.run(
            *(str(finished.suite), ["original"]),
            force=force,
            results=tmp_path / "runs",
            cache_dir=finished.cache,
            device="cpu",
            progress=False,
        )
        assert remembered and done.failures == () and all(file.exists() != force for file in remembered)


def test_a_failure_is_told_and_the_rest_goes_on(finished: World, cache: Path, tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path, body="raise RuntimeError('no luck')")
    done = cub.run(
        str(finished.suite),
        ["stranger", "nullspace"],
        seeds=[0],
        plugins=[plugin],
        results=tmp_path / "runs",
        device="cpu",
        progress=False,
    )
    assert len(done.failures) == 2 and all("no luck" in message for _, message in done.failures)
    assert {record.cell["method"] for record in done.records} == {"nullspace"} and "no luck" in repr(done)


@pytest.mark.parametrize("what", ["methods", "datasets", "models", "suites", "measures"])
def test_lists_are_those_of_the_command_line(what: str) -> None:
    table = getattr(cub, f"list_{what}")()
    shown = command("list", what).out
    assert len(table) > 3 and all(name in shown for name in table)
    assert list(table.to_pandas().iloc[:, 0]) == list(table.names) and table.names[0] in repr(table)


def test_a_bar_is_shown_in_a_terminal_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, shown, seen in ((Terminal(), True, True), (Terminal(), False, False), (io.StringIO(), True, False)):
        monkeypatch.setattr(sys, "stderr", stream)
        with bar("ccup: star", shown=shown) as work:
            work.phase("unlearning")
            work.step(1, 2)
        assert ("ccup: star" in stream.getvalue()) == seen
