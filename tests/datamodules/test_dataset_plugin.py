"""A data set from outside the project: by file, by entry point, through `check`; and `plan` where files are missing."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from world import command

from benchmark.execution.dataset_contract import check_dataset
from datamodules.common import registry
from datamodules.common.errors import BenchmarkError
from datamodules.common.registry import dataset_cards, open_dataset
from methods.common.registry import Registry

FILE = """
import numpy as np

from datamodules.common.card import DatasetCard
from datamodules.common.dataset import Dataset, Split
from datamodules.common.images import ImageArray

CARD = DatasetCard(name="grey_squares", title="grey", tasks=("classification",), source="made", folder="")


class GreySquares(Dataset):
    card = CARD
    class_names = ("dark", "light")
    templates = ("a {} square.",)

    @property
    def revision(self):
        return self.revision_of("1")

    def _load(self, name):
        first = 0 if name == "train" else 50
        shades = np.array([first + n + 128 * (n % 2) for n in range(8)], dtype=np.uint8)
        pixels = np.broadcast_to(shades[:, None, None, None], (8, 3, 16, 16)).copy()
        return Split(name, ImageArray(pixels, name=f"{self.name}/{name}"), labels=np.arange(8) % 2)
"""


@pytest.fixture(autouse=True)
def forget_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_plugins", {})


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "grey_squares.py"
    path.write_text(FILE)
    return path


@pytest.mark.loads("name", "a data set in one Python file, `--plugin`", "loads")
def test_a_file_is_a_data_set_and_no_method(plugin: Path, tmp_path: Path) -> None:
    methods = Registry().names()
    assert Registry([plugin]).names() == methods and "grey_squares" in dataset_cards()
    dataset = open_dataset("grey_squares", None, tmp_path, 16)
    before = dataset.revision
    plugin.write_text(FILE.replace("128 *", "120 *"))
    Registry([plugin])
    assert open_dataset("grey_squares", None, tmp_path, 16).revision != before
    taken = tmp_path / "shapes.py"
    taken.write_text(FILE.replace("grey_squares", "shapes"))
    with pytest.raises(BenchmarkError, match="'shapes', but that name is taken"):
        Registry([taken])


@pytest.mark.loads("name", "a data set of a package's entry point", "loads")
def test_an_entry_point_is_a_data_set(plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = EntryPoint("grey_squares", "grey_squares:GreySquares", registry.ENTRY_POINTS)
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry] if group == registry.ENTRY_POINTS else [])
    registry._cards_of_packages.cache_clear()
    try:
        assert open_dataset("grey_squares", None, tmp_path, 16).class_names == ("dark", "light")
    finally:
        registry._cards_of_packages.cache_clear()
        sys.modules.pop("grey_squares", None)


def test_a_suite_runs_on_a_plugin(plugin: Path, tmp_path: Path) -> None:
    suite = tmp_path / "grey.yaml"
    suite.write_text(
        "title: grey\nmodels: [shapes-resnet]\nseeds: [0]\nmethods: [original]\n"
        "tasks:\n  - dataset: grey_squares\n    requests: [{classes: [dark]}]\n"
    )
    answer = command("run", "--suite", suite, "--plugin", plugin, "--results", tmp_path / "r", "--cache-dir", tmp_path)
    assert answer.status == 0 and "grey_squares" in answer.out, answer.err


def broken(plugin: Path, old: str, new: str) -> list[str]:
    assert old in FILE
    plugin.write_text(FILE.replace(old, new))
    return [finding.clause for finding in check_dataset(plugin, None, plugin.parent / "cache") if not finding.holds]


def test_check_keeps_a_good_one_and_names_what_is_broken(plugin: Path) -> None:
    assert broken(plugin, "grey", "grey") == []
    assert broken(plugin, '"a {} square."', '"a square."') == ["every prompt template takes one name"]
    assert broken(plugin, '("dark", "light")', '("dark", "dark")') == [
        "it has two classes or more, each with a name of its own"
    ]
    assert (
        broken(plugin, "np.arange(8) % 2)", "np.arange(8) % 3)")[0]
        == "every label is the place of a class name, in train"
    )
    assert broken(plugin, "else 50", "else 0") == ["no image of test is in train"]
    assert broken(plugin, "8) % 2)", "8) * 0)") == [
        f"every class has an image, in {part}" for part in ("train", "test")
    ]
    assert broken(plugin, "revision_of", "missing_member") == [
        "it can be opened and its splits train and test be loaded"
    ]
    moving = broken(plugin, 'revision_of("1")', "revision_of(id(self))")
    assert moving == ["its revision is the same when it is opened again"]


def test_check_on_the_command_line(plugin: Path, tmp_path: Path) -> None:
    answer = command("check", plugin, "--cache-dir", tmp_path / "cache")
    assert answer.status == 0 and "keeps the contract" in answer.out, answer.out


@pytest.mark.loads(
    "name",
    "nothing there yet: neither data nor weights",
    "`plan` lists the cells and what each still needs",
)
def test_plan_answers_without_data_and_without_weights(tmp_path: Path) -> None:
    suite = tmp_path / "mine.yaml"
    suite.write_text(
        "title: t\nmodels: [mini, 'ViT-B-32:nowhere.pt']\nseeds: [0, 1]\nmethods: [original, gradient_ascent]\ntasks:\n"
        "  - dataset: cifar100\n    requests: [{classes: [apple]}]\n"
        "  - dataset: shapes\n    others: [folder:pets]\n    requests: [{classes: [star]}]\n"
        "  - dataset: shapes\n    requests: [{concept: striped}]\n    models: [mini]\n"
    )
    where = ("--suite", suite, "--results", tmp_path / "r", "--cache-dir", tmp_path / "cache")
    plan = command("plan", *where, "--data-dir", tmp_path)
    assert plan.status == 0, plan.err
    needed = [line for line in plan.out.splitlines() if line.startswith("needed: ")]
    assert len(needed) == 3
    assert "download cifar100" in plan.out and "nowhere.pt" in plan.out and "train/CLASS/*.jpg" in plan.out
    assert "15 cells, 3 of them need nothing" in plan.out
    run = command("run", *where, "--data-dir", tmp_path)
    assert run.status == 2 and "cifar100" in run.error and "folder:pets" in run.error and "nowhere.pt" in run.error


def test_plan_without_files_says_which_methods_will_never_run(tmp_path: Path) -> None:
    suite = tmp_path / "mine.yaml"
    suite.write_text(
        "title: t\nmodels: ['ViT-B-16-SigLIP:nowhere.pt']\nseeds: [0]\nmethods: [original, ccup]\ntasks:\n"
        "  - dataset: cifar100\n    requests: [{classes: [apple]}]\n"
    )
    where = ("--suite", suite, "--results", tmp_path / "r", "--cache-dir", tmp_path / "cache")
    plan = command("plan", *where, "--data-dir", tmp_path)
    assert "n/a: ccup on ViT-B-16-SigLIP:nowhere.pt: its image encoder does not end in a linear projection" in plan.out
    assert "2 cells, 0 of them need nothing, 1 cannot be run" in plan.out and "--tokenizer DIR" in plan.out
