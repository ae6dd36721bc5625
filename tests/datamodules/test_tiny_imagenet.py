"""Tiny-ImageNet, on three classes in the official layout."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest
import torch
from layouts import plain_picture, write_tiny_imagenet
from PIL import Image

from datamodules import tiny_imagenet
from datamodules.common.errors import BenchmarkError, DatasetCorruptError, UnknownNameError
from datamodules.common.request import ForgetRequest
from datamodules.tiny_imagenet import TinyImageNet, distinct_names

WNIDS = ("n03126707", "n01443537", "n02012849")  # not sorted, as in the official file
WORDS = {
    "n01443537": "goldfish, Carassius auratus",
    "n02012849": "crane, wader",
    "n03126707": "crane",
    "n00001740": "entity",
}


@pytest.fixture
def tiny_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three classes of 12 official train and 2 official val images each; 2 of each class are held out for val."""
    for constant, value in (("CLASSES", 3), ("OFFICIAL_TRAIN_PER_CLASS", 12)):
        monkeypatch.setattr(tiny_imagenet, constant, value)
    for constant in ("VAL_PER_CLASS", "TEST_PER_CLASS"):
        monkeypatch.setattr(tiny_imagenet, constant, 2)
    write_tiny_imagenet(tmp_path / "data", WORDS, WNIDS, train=12, test=2)
    return tmp_path / "data"


def _reds(dataset: TinyImageNet, name: str) -> list[float]:
    images = dataset.split(name).images  # type: ignore[arg-type]
    return images.read(range(len(images)))[:, 0].float().mean((1, 2)).tolist()


def test_splits_and_class_names(tiny_dir: Path, tmp_path: Path) -> None:
    dataset = TinyImageNet(tiny_dir, tmp_path / "cache", 224)
    assert dataset.class_names == ("goldfish", "crane, wader", "crane")
    assert dataset.templates == ("a photo of a {}.",)
    train, val, test = (dataset.split(name) for name in ("train", "val", "test"))
    assert train.labels is not None and train.labels.tolist() == [0] * 10 + [1] * 10 + [2] * 10
    assert val.labels is not None and val.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert test.labels is not None and test.labels.tolist() == [2, 0, 1, 2, 0, 1]
    assert test.images.size == 64 and test.images.name == "tiny_imagenet/test"
    assert _reds(dataset, "val") == pytest.approx([50, 55, 130, 135, 210, 215], abs=3)  # 10 and 11, not 8 and 9
    assert _reds(dataset, "test") == pytest.approx([0, 40, 80, 120, 160, 200], abs=3)
    grey = test.images.read([1])[0]
    assert torch.equal(grey[0], grey[2])


def test_opening_decodes_nothing(tiny_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("an image was opened"))
    first, second = (TinyImageNet(tiny_dir, tmp_path / "cache", 64) for _ in range(2))
    assert first.revision == second.revision and not (tmp_path / "cache").exists()


def test_revision_follows_images_annotations_and_the_validation_part(
    tiny_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_dir / "tiny-imagenet-200"
    revisions = [TinyImageNet(tiny_dir, tmp_path, 64).revision]
    plain_picture(folder / "train" / "n01443537" / "images" / "n01443537_0.JPEG", 9, size=(200, 200))
    revisions.append(TinyImageNet(tiny_dir, tmp_path, 64).revision)
    for file in ("words.txt", "val/val_annotations.txt"):
        lines = (folder / file).read_text().splitlines()
        (folder / file).write_text("\n".join(reversed(lines)))
        revisions.append(TinyImageNet(tiny_dir, tmp_path, 64).revision)
    monkeypatch.setattr(tiny_imagenet, "VAL_PER_CLASS", 3)
    revisions.append(TinyImageNet(tiny_dir, tmp_path, 64).revision)
    assert len(set(revisions)) == 5


def test_forget_by_class(tiny_dir: Path, tmp_path: Path) -> None:
    dataset = TinyImageNet(tiny_dir, tmp_path / "cache", 64)
    mask = dataset.forget_mask(dataset.split("test"), ForgetRequest(classes=("crane",)))
    assert mask.tolist() == [True, False, False] * 2
    with pytest.raises(UnknownNameError, match="did you mean 'goldfish'"):
        dataset.check_request(ForgetRequest(classes=("goldfisch",)))


def test_missing_images(tiny_dir: Path, tmp_path: Path) -> None:
    for index in (3, 7):
        (tiny_dir / "tiny-imagenet-200" / "train" / "n02012849" / "images" / f"n02012849_{index}.JPEG").unlink()
    with pytest.raises(DatasetCorruptError, match=r"2 of 30 listed images are missing, first image 13: .*_3\.JPEG"):
        TinyImageNet(tiny_dir, tmp_path, 64)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("wnids.txt", None, "wnids.txt is missing"),
        ("words.txt", None, "words.txt is missing"),
        ("val/val_annotations.txt", None, "val_annotations.txt is missing"),
        ("wnids.txt", "n01443537\nn01443537\nn02012849\n", "names 2 classes, not 3"),
        ("words.txt", "n01443537\tgoldfish\n", "has no name for 2 classes, the first is n02012849"),
        ("val/val_annotations.txt", "val_0.JPEG\tn01443537\nval_1.JPEG\n", "has no known class in line 2"),
        ("val/val_annotations.txt", "val_0.JPEG\tn01443537\n", "does not give 2 images to each of 3 classes"),
    ],
)
def test_wrong_or_missing_annotations(
    tiny_dir: Path, tmp_path: Path, file: str, content: str | None, message: str
) -> None:
    path = tiny_dir / "tiny-imagenet-200" / file
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(DatasetCorruptError) as caught:
        assert TinyImageNet(tiny_dir, tmp_path, 64).class_names
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert str(path) in str(caught.value) and f"download tiny_imagenet --data-dir {tiny_dir}" in str(caught.value)


def test_names_are_told_apart_by_further_synonyms() -> None:
    assert distinct_names({"n1": ["crane"], "n2": ["heron"]}) == ("crane", "heron")
    assert distinct_names({"n1": ["crane"], "n2": ["crane", "wader"]}) == ("crane", "crane, wader")
    assert distinct_names({"n1": ["Cardigan", "corgi"], "n2": ["cardigan"]}) == ("Cardigan, corgi", "cardigan")
    shared = {"n1": ["a", "b", "c"], "n2": ["a", "b", "d"], "n3": ["a", "e"]}
    assert distinct_names(shared) == ("a, b, c", "a, b, d", "a, e")
    assert distinct_names({"n1": ["crane"], "n2": ["crane"]}) == ("crane, n1", "crane, n2")


def test_download(tiny_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "mirror.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in sorted(tiny_dir.rglob("*.*")):
            packed.write(path, path.relative_to(tiny_dir))
    monkeypatch.setattr(tiny_imagenet, "ARCHIVE_URL", "file:///nowhere.zip")
    with pytest.raises(BenchmarkError, match=r"by hand: fetch .*tiny-imagenet-200 holds train, val and wnids\.txt"):
        TinyImageNet.download(tmp_path / "fetched")
    monkeypatch.setattr(tiny_imagenet, "ARCHIVE_URL", archive.as_uri())
    monkeypatch.setattr(tiny_imagenet, "ARCHIVE_MD5", hashlib.md5(archive.read_bytes()).hexdigest())
    TinyImageNet.download(tmp_path / "fetched")
    assert [p.name for p in (tmp_path / "fetched").iterdir()] == ["tiny-imagenet-200"]
    assert len(TinyImageNet(tmp_path / "fetched", tmp_path / "cache", 64).split("test").images) == 6
