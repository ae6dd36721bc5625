"""`development:NAME`: another data set whose test images are never read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny import SIDE, TinyDataset

from datamodules.common.dataset import Split, SplitName
from datamodules.common.errors import BenchmarkError
from datamodules.common.registry import open_dataset
from datamodules.common.request import ForgetRequest
from datamodules.development import SHARE, Development, development_revision


class Guarded(TinyDataset):
    """The tiny data set; its test images may not be read, and its validation images only if it has some."""

    has_validation = True

    def _load(self, name: SplitName) -> Split:
        if name == "test":
            pytest.fail("the test images were read")
        if name == "val" and not self.has_validation:
            raise BenchmarkError("there is no validation part")
        return super()._load(name)


def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, whole: Guarded) -> Development:
    monkeypatch.setattr("datamodules.development.open_dataset", lambda *_: whole)
    return Development(None, tmp_path, SIDE, "tiny")


def test_validation_images_stand_in_the_place_of_test_images(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = Guarded(cache_dir=tmp_path)
    dataset = opened(monkeypatch, tmp_path, whole)
    test, train = dataset.split("test"), dataset.split("train")
    assert test.images is whole.split("val").images and test.name == "test" and train.name == "train"
    assert train.images is whole.split("train").images and train.labels is whole.split("train").labels
    assert (dataset.name, dataset.class_names, dataset.templates) == ("tiny", whole.class_names, whole.templates)
    assert dataset.revision == development_revision(whole.revision) != whole.revision
    assert dataset.forget_mask(test, ForgetRequest(classes=("apple",))).sum() == 2
    with pytest.raises(BenchmarkError, match="use test"):
        dataset.split("val")


@pytest.mark.parametrize("captions", [False, True])
def test_without_validation_images_a_fifth_of_the_train_images_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, captions: bool
) -> None:
    whole = Guarded(cache_dir=tmp_path, captions=captions)
    whole.has_validation = False
    dataset = opened(monkeypatch, tmp_path, whole)
    test, train, before = dataset.split("test"), dataset.split("train"), whole.split("train")
    assert len(test.images) + len(train.images) == len(before.images)
    assert len(test.images) == pytest.approx(SHARE * len(before.images), abs=4)
    both = np.concatenate([split.images.read(np.arange(len(split.images))).numpy() for split in (train, test)])
    every = before.images.read(np.arange(len(before.images))).numpy()
    assert {image.tobytes() for image in both} == {image.tobytes() for image in every}, "each is in one of them"
    assert test.images.name != train.images.name, "the read guard tells them apart"
    if captions:
        assert set(test.captions or ()) | set(train.captions or ()) == set(before.captions or ())
    else:
        assert test.labels is not None and set(test.labels.tolist()) == {0, 1, 2, 3}, "of each class alike"
        row = next(i for i, image in enumerate(every) if image.tobytes() == both[len(train.images)].tobytes())
        assert before.labels is not None and test.labels[0] == before.labels[row]


def test_by_its_name(tmp_path: Path) -> None:
    assert open_dataset("development:shapes", None, tmp_path, 64).revision == development_revision(
        open_dataset("shapes", None, tmp_path, 64).revision
    )
    with pytest.raises(BenchmarkError, match="development: once"):
        open_dataset("development:development:shapes", None, tmp_path, 64)
