"""The suites of the papers, from weights in OpenAI's format and folders in the official layouts to their tables."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import yaml
from layouts import noise_picture, write_flickr30k, write_tiny_imagenet
from openai_weights import SCALARS, released
from world import Answer, command

from benchmark import suites
from benchmark.suites.suite_file import load_suite
from datamodules import cifar100, tiny_imagenet
from datamodules.common.registry import dataset_class
from datamodules.common.split_file import SplitFileDataset

VISION = {
    "RN50": {"layers": [1, 1, 1, 1], "width": 8, "head_width": 32, "image_size": 32},
    "ViT-B-16": {"layers": 1, "width": 32, "head_width": 16, "patch_size": 16, "image_size": 32},
    "ViT-L-14": {"layers": 1, "width": 32, "head_width": 16, "patch_size": 16, "image_size": 32},
}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
NUMBERS = dict(zip(SCALARS, (32, 77, 49408), strict=True))
CIFAR_PER_CLASS = 6
SUITES = Path(suites.__file__).parent


@pytest.fixture(scope="module", autouse=True)
def tiny_backbones() -> Iterator[None]:
    """The published architectures' names, for towers of a few thousand weights."""
    with pytest.MonkeyPatch.context() as patch:
        for name, vision in VISION.items():
            config = {"embed_dim": 16, "quick_gelu": True, "vision_cfg": vision, "text_cfg": TEXT}
            patch.setitem(open_clip.factory._MODEL_CONFIGS, f"{name}-quickgelu", config)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Every data set of the papers with the classes that they forget and two more, two images of each a split."""
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        for task in load_suite("paper-lip").tasks:
            _split_file_data(folder, task.dataset, [name for (name,) in _single(task.requests)], patch)
        _tiny_imagenet(folder, patch)
        _cifar(folder, patch)
        _captioned(folder)
        yield folder


def _single(requests: tuple[object, ...]) -> list[tuple[str, ...]]:
    return [request.classes for request in requests if len(request.classes) == 1]  # type: ignore[attr-defined]


def _split_file_data(folder: Path, name: str, classes: list[str], patch: pytest.MonkeyPatch) -> None:
    kind = dataset_class(name)
    assert issubclass(kind, SplitFileDataset)
    root = folder / kind.card.folder
    split: dict[str, list[tuple[str, int, str]]] = {"train": [], "test": []}
    for label, each in enumerate([*classes, "one more", "another"]):
        for number, part in enumerate(("train", "train", "test", "test")):
            path = f"{label}/{number}.jpg"
            split[part].append((path, label, each.replace(" ", "_")))
            noise_picture(root / kind.images_folder / path, 10 * label + number)
    (root / kind.split_file.name).write_text(json.dumps(split))
    digest = hashlib.sha256((root / kind.split_file.name).read_bytes()).hexdigest()
    patch.setattr(kind, "split_file", replace(kind.split_file, sha256=(digest,)))


def _tiny_imagenet(folder: Path, patch: pytest.MonkeyPatch) -> None:
    names = {"n01443537": "goldfish", "n02279972": "monarch", "n04146614": "school bus"}
    counts = {"CLASSES": 3, "OFFICIAL_TRAIN_PER_CLASS": 4, "VAL_PER_CLASS": 2, "TEST_PER_CLASS": 2}
    for constant, value in counts.items():
        patch.setattr(tiny_imagenet, constant, value)
    write_tiny_imagenet(folder, names, list(names), train=4, test=2, side=32)


def _cifar(folder: Path, patch: pytest.MonkeyPatch) -> None:
    root = folder / "cifar-100-python"
    root.mkdir(parents=True)
    asked = list(max((r.classes for r in load_suite("paper-cliperase").tasks[0].requests), key=len))
    names = [*asked, *(f"filler {i}" for i in range(100 - len(asked)))]
    labels = np.repeat(np.arange(100), CIFAR_PER_CLASS).tolist()
    pixels = np.random.default_rng(0).integers(0, 255, (len(labels), 3072), dtype=np.uint8)
    content = {"data": pixels, "fine_labels": labels}
    meta = {"fine_label_names": [name.replace(" ", "_") for name in names]}
    for file, value in (("train", content), ("test", content), ("meta", meta)):
        (root / file).write_bytes(pickle.dumps(value))
    sums = {file: hashlib.md5((root / file).read_bytes()).hexdigest() for file in ("train", "test", "meta")}
    patch.setattr(cifar100, "MD5", sums)


def _captioned(folder: Path) -> None:
    conceptual, photographs, rows = folder / "conceptual12m", [], []
    for number in range(60):
        what = ("dog", "woman", "boat")[number % 3]
        photographs.append((f"{number}.jpg", "", [f"a {what} number {number}, seen {i} times" for i in range(5)]))
        noise_picture(conceptual / "images" / f"{number}.jpg", number)
        rows.append(f"{number}.jpg\ta {what} number {number}\n")
    flickr = write_flickr30k(folder, photographs)
    (flickr / "dataset_flickr30k.json").unlink()  # the split is then ours
    for number, (file, _, _) in enumerate(photographs):
        noise_picture(flickr / "flickr30k-images" / file, number)
    (conceptual / "metadata.tsv").write_text("".join(rows))


def weights(name: str, folder: Path) -> str:
    """A random model of the architecture in OpenAI's format; how `--model` names it."""
    torch.manual_seed(0)
    model = open_clip.create_model(f"{name}-quickgelu", device="cpu")
    with torch.no_grad():  # so that names and images differ enough for one to be climbed towards
        model.token_embedding.weight.normal_(std=0.5)
        model.token_embedding.weight[-1] = 0  # the end of text then holds what it attends to
        model.positional_embedding.zero_()
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(std=0.1)
        if "ViT" in name:
            model.visual.class_embedding.zero_()
            model.visual.positional_embedding.zero_()
    torch.save(released(model.state_dict(), NUMBERS), folder / f"{name}.pt")
    return f"{name}-quickgelu:{folder / name}.pt"


def shortened(suite: str, folder: Path) -> Path:
    """The suite's file with the first and the last request of each data set; it keeps its name, and all its rules."""
    content = yaml.safe_load((SUITES / f"{suite}.yaml").read_text())
    for task in content["tasks"]:
        task["requests"] = task["requests"][:1] + task["requests"][1:][-1:]
    classes = [request.get("classes") for task in content["tasks"] for request in task["requests"]]
    content["by_request"] = [rule for rule in content.get("by_request", ()) if rule.get("classes") in [None, *classes]]
    path = folder / f"{suite}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def run(suite: str, backbone: str, methods: str, settings: str, data: Path, folder: Path) -> Answer:
    where = ["--data-dir", data, "--cache-dir", data / "cache", "--results", folder / "results", "--device", "cpu"]
    model = weights(backbone, folder)
    chosen = ["--methods", methods, "--seeds", "0", "--model", model]
    return command(
        "run", "--suite", shortened(suite, folder), *where, *chosen, *(["--set", settings] if settings else [])
    )


def test_lip(data: Path, tmp_path: Path) -> None:
    quick = ["images=2", "iterations=60", "tries=9", "threshold=0.0", "max_steps=2", "draws=2"]
    answer = run("paper-lip", "ViT-B-16", "original,lip", ",".join(f"lip.{s}" for s in quick), data, tmp_path)
    assert answer.status == 0, answer.err[-2000:]
    tables = json.loads(command("tables", "lip", "--results", tmp_path / "results", "--format", "json").out)
    cells = [cell for table in tables if "ViT-B-16" in table["title"] for cell in table["rows"]]
    assert len({cell["row"] for cell in cells}) == 12 + 4, "single classes, and the three of each data set at once"
    run_rows = {cell["row"] for cell in cells if cell["measured"] is not None}
    assert len(run_rows) == 4 + 4, "one class of each data set, and its three at once"
    empty = {cell["column"] for cell in cells if cell["row"] in run_rows and cell["measured"] is None}
    assert empty <= {"100 S ↓"}, "S has no value where the class was never recognised"
    assert tables[2]["verdict"].startswith("BEFORE FORGETTING"), "random weights cannot have the paper's accuracies"


def test_ccup(data: Path, tmp_path: Path) -> None:
    answer = run("paper-ccup", "RN50", "original,nullspace", "", data, tmp_path)
    assert answer.status == 0, answer.err[-2000:]
    tables = json.loads(command("tables", "ccup", "--results", tmp_path / "results", "--format", "json").out)
    for table in tables:
        if "RN50," in table["title"]:
            found = {c["row"]: c["measured"] for c in table["rows"] if c["column"] == "class after ↓"}
            filled = {label for label, value in found.items() if value is not None}
            assert filled == {label for label in found if "partial projection" in label}, table["title"]
            assert len(filled) == (4 * 5 if "at once" in table["title"] else 5)


def test_cliperase(data: Path, tmp_path: Path) -> None:
    methods = "original,finetune_retain,cliperase"
    settings = ",".join(f"{m}.{s}" for m in ("finetune_retain", "cliperase") for s in ("max_steps=1", "batch_size=4"))
    answer = run("paper-cliperase", "ViT-L-14", methods, settings, data, tmp_path)
    assert answer.status == 0, answer.err[-2000:]
    tables = json.loads(command("tables", "cliperase", "--results", tmp_path / "results", "--format", "json").out)
    ablation = next(table for table in tables if "modules" in table["title"])
    assert all(cell["measured"] is not None for cell in ablation["rows"])
    rates = {
        record["cell"]["dataset"]: record["cell"]["hparams"]["learning_rate"]
        for file in (tmp_path / "results" / "paper-cliperase").glob("*.json")
        if (record := json.loads(file.read_text()))["cell"]["method"] == "cliperase"
    }
    assert rates == {"cifar100_70_30": 1e-6, "flickr30k": 1e-8, "flickr30k_by_row": 1e-8, "conceptual12m": 1e-6}
    retrieval = [table for table in tables if "image retrieval" in table["title"]]
    measured = {
        cell["measured"]
        for table in retrieval
        for cell in table["rows"]
        if (cell["row"], cell["column"]) == ("CLIPErase", "forget image R@10 ↓")
    }
    assert len(retrieval) == len(measured) == 2 and None not in measured, "a table for each of the two splits"


@pytest.mark.parametrize("suite", ["paper-lip", "paper-ccup", "paper-cliperase"])
def test_without_data_one_line_says_what_to_do_and_plan_shows_the_cells(suite: str, tmp_path: Path) -> None:
    run = command("run", "--suite", suite, "--results", tmp_path)
    assert run.status == 2 and "--data-dir" in run.error
    plan = command("plan", "--suite", suite, "--results", tmp_path)
    assert plan.status == 0, plan.err
    needed = [line for line in plan.out.splitlines() if line.startswith("needed: ")]
    data, weights = ([line for line in needed if kind in line] for kind in ("needed: data set ", "needed: model "))
    assert data and weights and len(needed) == len(data) + len(weights)
    assert all("--data-dir" in line for line in data) and all("--model" in line for line in weights)
    cells = plan.out.splitlines()[-1].split()[0]
    assert int(cells) > 10


@pytest.mark.parametrize("suite", ["paper-lip", "paper-ccup", "paper-cliperase"])
def test_plan_lists_the_cells_without_any_weights(suite: str, data: Path, tmp_path: Path) -> None:
    answer = command("plan", "--suite", suite, "--data-dir", data, "--results", tmp_path, "--cache-dir", data / "cache")
    assert answer.status == 0 and "0 done" in answer.out, answer.err
