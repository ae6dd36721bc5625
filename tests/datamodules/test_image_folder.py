"""Your own images, one folder a class: the layout, what is wrong with it, and a whole run on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layouts import plain_picture
from world import command

from datamodules.common.errors import BenchmarkError, DatasetCorruptError
from datamodules.common.registry import open_dataset
from datamodules.common.request import ForgetRequest

SHADES = {"red_panda": 200, "cat": 90, "Zebra": 20}


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Three classes of plain images; train image i of a class has a red channel of its shade + i."""
    for part, count in (("train", 6), ("test", 3)):
        for kind, shade in SHADES.items():
            for index in range(count):
                plain_picture(tmp_path / "pets" / part / kind / f"{index}.png", shade + index)
    (tmp_path / "pets" / "train" / "cat" / "notes.txt").write_text("not an image")
    return tmp_path / "pets"


def test_names_labels_and_pixels(pets: Path, tmp_path: Path) -> None:
    dataset = open_dataset("folder:pets", tmp_path, tmp_path / "cache", 16)
    assert (dataset.name, dataset.class_names) == ("folder:pets", ("Zebra", "cat", "red panda"))
    assert dataset.templates == ("a photo of a {}.",)
    for part, count in (("train", 6), ("test", 3)):
        split = dataset.split(part)  # type: ignore[arg-type]
        assert split.labels is not None and split.labels.dtype == np.int64
        assert split.labels.tolist() == [0] * count + [1] * count + [2] * count
        red = split.images.read(range(len(split.images)))[:, 0, 8, 8].tolist()
        assert red == [shade + i for shade in (20, 90, 200) for i in range(count)]
    mask = dataset.forget_mask(dataset.split("test"), ForgetRequest(classes=("red panda",)))
    assert mask.tolist() == [False] * 6 + [True] * 3
    with pytest.raises(DatasetCorruptError, match="val"):
        dataset.split("val")


def test_the_revision_moves_with_files_and_templates(pets: Path, tmp_path: Path) -> None:
    def revision() -> str:
        return open_dataset("folder:pets", tmp_path, tmp_path / "cache", 16).revision

    seen = [revision()]
    assert revision() == seen[0]
    (pets / "templates.txt").write_text("a {} at home.\nmy {}.\n")
    seen.append(revision())
    plain_picture(pets / "train" / "cat" / "new.png", 1)
    seen.append(revision())
    plain_picture(pets / "train" / "cat" / "new.png", 1, size=(80, 90))
    seen.append(revision())
    assert len(set(seen)) == 4
    assert open_dataset("folder:pets", tmp_path, tmp_path / "cache", 16).templates == ("a {} at home.", "my {}.")


def test_what_is_wrong_is_said(pets: Path, tmp_path: Path) -> None:
    def message(name: str = "folder:pets") -> str:
        with pytest.raises(BenchmarkError) as caught:
            _ = open_dataset(name, tmp_path, tmp_path / "cache", 16).revision
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "train/CLASS" in message("folder:petz") and "train/CLASS" in message("folder:")
    with pytest.raises(BenchmarkError, match="no --data-dir"):
        open_dataset("folder:pets", None, tmp_path, 16)
    (pets / "templates.txt").write_text("a photo\n")
    assert "'a photo'" in message()
    (pets / "templates.txt").unlink()
    (pets / "test" / "dog").mkdir()
    assert "'dog' is in only one of train and test" in message()
    (pets / "train" / "dog").mkdir()
    assert "class 'dog' has no image in train" in message()
    (pets / "train" / "dog").rmdir()
    (pets / "test" / "dog").rmdir()
    (pets / "train").rename(pets / "elsewhere")
    assert "train has no folder of a class" in message()


def test_one_class_or_one_name_twice_is_refused(tmp_path: Path) -> None:
    for part in ("train", "test"):
        plain_picture(tmp_path / "one" / part / "cat" / "1.png", 1)
        for kind in ("red_panda", "red panda"):
            plain_picture(tmp_path / "two" / part / kind / "1.png", 1)
    with pytest.raises(DatasetCorruptError, match="one class alone"):
        open_dataset("folder:one", tmp_path, tmp_path, 16)
    with pytest.raises(DatasetCorruptError, match="same class name"):
        open_dataset("folder:two", tmp_path, tmp_path, 16)


def test_a_suite_runs_on_it(pets: Path, tmp_path: Path) -> None:
    suite = tmp_path / "pets.yaml"
    suite.write_text(
        "title: my pets\nmodels: [shapes-resnet]\nseeds: [0]\nprecision: fp32\nmethods: [original, nullspace]\n"
        "tasks:\n  - dataset: folder:pets\n    requests:\n      - classes: [red panda]\n"
    )
    where = ("--results", tmp_path / "results", "--data-dir", tmp_path, "--cache-dir", tmp_path / "cache")
    answer = command("run", "--suite", suite, *where)
    assert answer.status == 0, answer.err
    assert "folder:pets" in answer.out and "nullspace" in answer.out
    assert "nothing to do" in command("run", "--suite", suite, *where).out
    suite.write_text(suite.read_text().replace("red panda", "red pandas"))
    wrong = command("run", "--suite", suite, *where)
    assert wrong.status == 2 and "did you mean 'red panda'" in wrong.error
    assert "folder:NAME" in command("list", "datasets").out
