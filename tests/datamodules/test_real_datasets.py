"""CIFAR-100, Flickr30K and Caltech-101: on tiny official-format files, and on the real data if at hand."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from layouts import plain_picture, write_flickr30k
from PIL import Image

from datamodules import caltech101, cifar100, flickr30k
from datamodules.common import files
from datamodules.common.dataset import Dataset
from datamodules.common.errors import (
    BenchmarkError,
    DatasetCorruptError,
    DatasetNotFoundError,
    RequestError,
    UnknownNameError,
    UnreadableImageError,
)
from datamodules.common.images import Preprocessing
from datamodules.common.registry import dataset_cards, dataset_class, open_dataset
from datamodules.common.request import ForgetRequest

NAMES = ("cifar100", "flickr30k", "caltech101")
ON_DISK = tuple(name for name, card in dataset_cards().items() if card.folder)
SIZE = 16


# -- tiny data in the official formats -----------------------------------------------------------------------


@pytest.fixture
def cifar_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three classes, 4 train and 2 test images each; one validation image a class."""
    folder = tmp_path / "data" / "cifar-100-python"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    contents: dict[str, object] = {"meta": {"fine_label_names": ["apple", "maple_tree", "wolf"]}}
    for name, each in (("train", 4), ("test", 2)):
        data = rng.integers(0, 256, (3 * each, 3 * 32 * 32), dtype=np.uint8)
        contents[name] = {"data": data, "fine_labels": [0, 1, 2] * each}
    for name, content in contents.items():
        (folder / name).write_bytes(pickle.dumps(content))
    monkeypatch.setattr(cifar100, "MD5", {n: hashlib.md5((folder / n).read_bytes()).hexdigest() for n in contents})
    monkeypatch.setattr(cifar100, "VAL_PER_CLASS", 1)
    return tmp_path / "data"


@pytest.fixture
def flickr_dir(tmp_path: Path) -> Path:
    """Eight train, two val and two test images with five captions each; every other image shows a dog."""
    folder = tmp_path / "data" / "flickr30k"
    images = []
    for index in range(12):
        name, split = f"{1000 + index}.jpg", "train" if index < 8 else "val" if index < 10 else "test"
        subject = "A man with two Dogs ." if index % 2 else "A cat on a hotdog stand ."
        texts = [f" {subject} ", *(f"Caption {i} of image {index} ." for i in range(1, 5))]
        images.append((name, split, texts))
        plain_picture(folder / "flickr30k-images" / name, 20 * index)
    write_flickr30k(tmp_path / "data", images)
    return tmp_path / "data"


@pytest.fixture
def caltech_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes; the images of val are listed but not there."""
    folder = tmp_path / "data" / "caltech101"
    classes = (("Faces", 0, "face"), ("sea_horse", 1, "sea_horse"))
    split = {
        part: [[f"{where}/image_{i:04}.jpg", label, name] for where, label, name in classes for i in numbers]
        for part, numbers in (("train", (1, 2, 3)), ("val", (4,)), ("test", (5, 6)))
    }
    for path, label, _ in split["train"] + split["test"]:
        plain_picture(folder / "101_ObjectCategories" / str(path), 50 + 100 * int(label))
    (folder / "split_zhou_Caltech101.json").write_text(json.dumps(split))
    _pin_caltech(folder, monkeypatch)
    return tmp_path / "data"


def _pin_caltech(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.sha256((folder / "split_zhou_Caltech101.json").read_bytes()).hexdigest()
    pinned = replace(caltech101.SPLIT_FILE, sha256=(digest,))
    monkeypatch.setattr(caltech101.Caltech101, "split_file", pinned)


# -- all data sets -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ON_DISK)
def test_card_and_class(name: str) -> None:
    card = dataset_cards()[name]
    assert card.name == name and card.source.startswith(("https://", "http://"))
    assert dataset_class(name).card.name == name


@pytest.mark.parametrize("name", ON_DISK)
def test_missing_folder_says_what_to_do(name: str, tmp_path: Path) -> None:
    for data_dir, where in ((tmp_path, str(tmp_path)), (None, "no --data-dir was given")):
        with pytest.raises(DatasetNotFoundError) as caught:
            open_dataset(name, data_dir, tmp_path, SIZE)
        message = str(caught.value)
        assert where in message and dataset_cards()[name].folder in message
        assert f"download {name}" in message and "\n" not in message


@pytest.mark.parametrize("name", NAMES)
def test_opening_and_asking_for_the_revision_decodes_nothing(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir = request.getfixturevalue({"cifar100": "cifar_dir", "flickr30k": "flickr_dir"}.get(name, "caltech_dir"))
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("an image was opened"))
    first, second = (open_dataset(name, data_dir, tmp_path / "cache", SIZE) for _ in range(2))
    assert first.revision == second.revision and not (tmp_path / "cache").exists()


# -- CIFAR-100 -----------------------------------------------------------------------------------------------


def test_cifar100_splits_and_class_names(cifar_dir: Path, tmp_path: Path) -> None:
    dataset = cifar100.CIFAR100(cifar_dir, tmp_path / "cache", SIZE)
    assert dataset.class_names == ("apple", "maple tree", "wolf")
    assert dataset.templates == ("a photo of a {}.",)
    official = pickle.loads((cifar_dir / "cifar-100-python" / "train").read_bytes())
    pixels = official["data"].reshape(-1, 3, 32, 32)
    train, val, test = (dataset.split(name) for name in ("train", "val", "test"))
    np.testing.assert_array_equal(train.images.read(range(9)).numpy(), pixels[:9])
    np.testing.assert_array_equal(val.images.read(range(3)).numpy(), pixels[9:])
    assert train.labels is not None and train.labels.tolist() == [0, 1, 2] * 3
    assert val.labels is not None and val.labels.tolist() == [0, 1, 2]
    assert len(test.images) == 6 and test.images.size == 32 and test.images.name == "cifar100/test"


def test_cifar100_maps_its_cache(cifar_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cifar100.CIFAR100(cifar_dir, tmp_path / "cache", SIZE).split("val").images.read([0, 1, 2])
    monkeypatch.setattr(pickle, "load", lambda *_, **__: pytest.fail("the official file was read again"))
    again = cifar100.CIFAR100(cifar_dir, tmp_path / "cache", SIZE).split("val").images.read([0, 1, 2])
    assert torch.equal(before, again)


def test_cifar100_revision_depends_on_the_validation_part(
    cifar_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = cifar100.CIFAR100(cifar_dir, tmp_path, SIZE)
    before = dataset.revision
    monkeypatch.setattr(cifar100, "VAL_PER_CLASS", 2)
    assert dataset.revision != before


@pytest.mark.parametrize("file", ["train", "test", "meta"])
def test_cifar100_wrong_or_missing_file(cifar_dir: Path, tmp_path: Path, file: str) -> None:
    path = cifar_dir / "cifar-100-python" / file
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DatasetCorruptError, match=rf"{file} is not the official file .*download cifar100"):
        cifar100.CIFAR100(cifar_dir, tmp_path, SIZE)
    path.unlink()
    with pytest.raises(DatasetCorruptError, match=rf"{file} is missing; delete .*download cifar100"):
        cifar100.CIFAR100(cifar_dir, tmp_path, SIZE)


def test_cifar100_forget_by_class(cifar_dir: Path, tmp_path: Path) -> None:
    dataset = cifar100.CIFAR100(cifar_dir, tmp_path, SIZE)
    request = ForgetRequest(classes=("maple tree",))
    assert dataset.forget_mask(dataset.split("test"), request).tolist() == [False, True, False] * 2
    assert dataset.names_for(request) == (("maple tree",), ("apple", "wolf"))
    with pytest.raises(UnknownNameError, match="did you mean 'maple tree'"):
        dataset.check_request(ForgetRequest(classes=("mable tree",)))
    with pytest.raises(RequestError, match="no captions"):
        dataset.check_request(ForgetRequest(concept="wolf"))


def test_cifar100_download(cifar_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "mirror.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(cifar_dir / "cifar-100-python", "cifar-100-python")
    official = torchvision.datasets.CIFAR100
    monkeypatch.setattr(official, "url", archive.as_uri())
    monkeypatch.setattr(official, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    cifar100.CIFAR100.download(tmp_path / "fetched")
    assert [p.name for p in (tmp_path / "fetched").iterdir()] == ["cifar-100-python"]
    assert len(cifar100.CIFAR100(tmp_path / "fetched", tmp_path, SIZE).split("test").images) == 6


# -- Flickr30K -----------------------------------------------------------------------------------------------


def test_flickr30k_splits_and_captions(flickr_dir: Path, tmp_path: Path) -> None:
    dataset = flickr30k.Flickr30k(flickr_dir, tmp_path, SIZE)
    sizes = [len(dataset.split(name).images) for name in ("train", "val", "test")]
    assert sizes == [8, 2, 2]
    captions = dataset.split("val").captions
    assert captions is not None and {len(each) for each in captions} == {5}
    assert captions[0][0] == "A cat on a hotdog stand ." and captions[1][1] == "Caption 1 of image 9 ."
    shade = dataset.split("test").images.read([1])[0, 0].float().mean().item()
    assert shade == pytest.approx(220, abs=3)  # image 11


def test_flickr30k_forget_by_concept(flickr_dir: Path, tmp_path: Path) -> None:
    dataset = flickr30k.Flickr30k(flickr_dir, tmp_path, SIZE)
    mask = dataset.forget_mask(dataset.split("train"), ForgetRequest(concept="dog"))
    assert mask.tolist() == [False, True] * 4  # "Dogs" counts, "hotdog" does not
    with pytest.raises(RequestError, match=r"empty in flickr30k/train.*that occur: man, dog"):
        dataset.forget_mask(dataset.split("train"), ForgetRequest(concept="zeppelin"))
    with pytest.raises(RequestError, match="no classes"):
        dataset.check_request(ForgetRequest(classes=("dog",)))
    forget, retain = dataset.names_for(ForgetRequest(concept="dog"))
    assert forget == ("dog",) and "dog" not in retain and len(retain) == len(flickr30k.CONCEPT_NAMES) - 1


def test_flickr30k_concept_names_are_distinct_words() -> None:
    names = flickr30k.CONCEPT_NAMES
    assert len(set(names)) == len(names) >= 60 and all(name.isalpha() and name.islower() for name in names)


def test_flickr30k_token_file_when_there_is_no_split(flickr_dir: Path, tmp_path: Path) -> None:
    complete = flickr30k.Flickr30k(flickr_dir, tmp_path, SIZE)
    (flickr_dir / "flickr30k" / "dataset_flickr30k.json").unlink()
    dataset = flickr30k.Flickr30k(flickr_dir, tmp_path, SIZE)
    assert dataset.revision != complete.revision
    token = flickr30k.read_token(flickr_dir / "flickr30k" / "results_20130124.token")
    assert [(name, texts) for name, _, texts in token] == [(name, texts) for name, _, texts in complete._entries]
    assert all(split == flickr30k.hashed_split(name) for name, split, _ in token)
    captions = dataset.split("train").captions
    assert captions is not None and len(captions) == sum(split == "train" for _, split, _ in token) > 0


def test_flickr30k_hashed_split_has_its_shares() -> None:
    splits = [flickr30k.hashed_split(f"{number}.jpg") for number in range(20_000)]
    assert splits.count("val") == pytest.approx(1000, abs=100)
    assert splits.count("test") == pytest.approx(1000, abs=100)


def test_flickr30k_malformed_annotations(flickr_dir: Path, tmp_path: Path) -> None:
    annotations = flickr_dir / "flickr30k" / "dataset_flickr30k.json"
    wrong_split = {"images": [{"filename": "1.jpg", "split": "restval", "sentences": [{"raw": "x"}]}]}
    for text in (
        '{"images": [',
        '{"pictures": []}',
        '{"images": [{"filename": "x"}]}',
        "[]",
        json.dumps(wrong_split),
    ):
        annotations.write_text(text)
        with pytest.raises(DatasetCorruptError, match=r"dataset_flickr30k.json cannot be read .*replace it"):
            flickr30k.Flickr30k(flickr_dir, tmp_path, SIZE)
    annotations.unlink()
    token = flickr_dir / "flickr30k" / "results_20130124.token"
    token.write_text("1000.jpg#0\tA dog .\n1000.jpg A cat .\n")
    with pytest.raises(DatasetCorruptError, match="line 2 is not of the form"):
        flickr30k.Flickr30k(flickr_dir, tmp_path, SIZE)
    token.write_text("1000.jpg#0\tA dog .\n")
    dataset = flickr30k.Flickr30k(flickr_dir, tmp_path, SIZE)
    empty = "val" if flickr30k.hashed_split("1000.jpg") != "val" else "test"
    with pytest.raises(DatasetCorruptError, match="gives no image to"):
        dataset.split(empty)
    token.unlink()
    with pytest.raises(DatasetCorruptError, match="neither"):
        flickr30k.Flickr30k(flickr_dir, tmp_path, SIZE)


def test_flickr30k_missing_images(flickr_dir: Path, tmp_path: Path) -> None:
    for number in (1003, 1007):
        (flickr_dir / "flickr30k" / "flickr30k-images" / f"{number}.jpg").unlink()
    with pytest.raises(DatasetCorruptError, match=r"2 of 12 listed images are missing, first image 3: .*1003\.jpg"):
        flickr30k.Flickr30k(flickr_dir, tmp_path, SIZE)


@pytest.mark.parametrize("damage", ["empty", "truncated", "text"])
def test_flickr30k_unreadable_image(flickr_dir: Path, tmp_path: Path, damage: str) -> None:
    path = flickr_dir / "flickr30k" / "flickr30k-images" / "1002.jpg"
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "truncated": whole[: len(whole) // 2], "text": b"not an image"}[damage])
    dataset = flickr30k.Flickr30k(flickr_dir, tmp_path / "cache", SIZE)
    with pytest.raises(UnreadableImageError, match=r"image 2 cannot be decoded: .*1002\.jpg"):
        dataset.split("train")
    assert not list((tmp_path / "cache").rglob("*.npy"))


def test_flickr30k_revision_follows_captions_and_images(flickr_dir: Path, tmp_path: Path) -> None:
    folder = flickr_dir / "flickr30k"
    revisions = [flickr30k.Flickr30k(flickr_dir, tmp_path, SIZE).revision]
    text = (folder / "dataset_flickr30k.json").read_text()
    (folder / "dataset_flickr30k.json").write_text(text.replace("Dogs", "Cats"))
    revisions.append(flickr30k.Flickr30k(flickr_dir, tmp_path, SIZE).revision)
    plain_picture(folder / "flickr30k-images" / "1000.jpg", 9, size=(640, 480))
    revisions.append(flickr30k.Flickr30k(flickr_dir, tmp_path, SIZE).revision)
    assert len(set(revisions)) == 3


def test_flickr30k_download_gives_advice(flickr_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"by hand: .*shannon.*caption_datasets\.zip"):
        flickr30k.Flickr30k.download(tmp_path / "elsewhere")
    flickr30k.Flickr30k.download(flickr_dir)  # nothing left to do


# -- Caltech-101 ---------------------------------------------------------------------------------------------


def test_caltech101_splits_and_class_names(caltech_dir: Path, tmp_path: Path) -> None:
    dataset = caltech101.Caltech101(caltech_dir, tmp_path, SIZE)
    assert dataset.class_names == ("face", "sea horse")
    train, test = dataset.split("train"), dataset.split("test")
    assert train.labels is not None and train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert len(test.images) == 4 and test.images.size == SIZE
    means = test.images.read(range(4))[:, 0].float().mean((1, 2))
    torch.testing.assert_close(means, torch.tensor([50.0, 50.0, 150.0, 150.0]), atol=3, rtol=0)
    mask = dataset.forget_mask(test, ForgetRequest(classes=("sea horse",)))
    assert mask.tolist() == [False, False, True, True]


def test_caltech101_val_is_asked_for_only_when_needed(
    caltech_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DatasetCorruptError, match=r"2 of 2 listed images are missing, first image 0: .*image_0004"):
        caltech101.Caltech101(caltech_dir, tmp_path, SIZE).split("val")
    without = caltech101.Caltech101(caltech_dir, tmp_path, SIZE).revision
    folder = caltech_dir / "caltech101"
    for name in ("Faces", "sea_horse"):
        plain_picture(folder / "101_ObjectCategories" / name / "image_0004.jpg", 10)
    complete = caltech101.Caltech101(caltech_dir, tmp_path, SIZE)
    assert len(complete.split("val").images) == 2 and complete.revision != without
    split = json.loads((folder / "split_zhou_Caltech101.json").read_text())
    del split["val"]
    (folder / "split_zhou_Caltech101.json").write_text(json.dumps(split))
    _pin_caltech(folder, monkeypatch)
    with pytest.raises(DatasetCorruptError, match="has no val images"):
        caltech101.Caltech101(caltech_dir, tmp_path, SIZE).split("val")


def test_caltech101_wrong_split_file_or_missing_image(caltech_dir: Path, tmp_path: Path) -> None:
    folder = caltech_dir / "caltech101"
    image = folder / "101_ObjectCategories" / "Faces" / "image_0006.jpg"
    image.unlink()
    with pytest.raises(DatasetCorruptError, match=r"1 of 4 listed images are missing, first image 1: .*image_0006"):
        caltech101.Caltech101(caltech_dir, tmp_path, SIZE)
    split = folder / "split_zhou_Caltech101.json"
    split.write_text(split.read_text() + " ")
    with pytest.raises(DatasetCorruptError, match=r"is not CoOp's file .*fetch the official one"):
        caltech101.Caltech101(caltech_dir, tmp_path, SIZE)
    split.unlink()
    with pytest.raises(DatasetCorruptError, match="is missing; fetch the official one"):
        caltech101.Caltech101(caltech_dir, tmp_path, SIZE)


def test_caltech101_download(caltech_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as tar:
        tar.add(caltech_dir / "caltech101" / "101_ObjectCategories", "101_ObjectCategories")
    archive = tmp_path / "mirror.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("caltech-101/101_ObjectCategories.tar.gz", inner.getvalue())
    monkeypatch.setattr(caltech101, "ARCHIVE_URL", archive.as_uri())
    monkeypatch.setattr(caltech101, "ARCHIVE_MD5", hashlib.md5(archive.read_bytes()).hexdigest())
    target = tmp_path / "fetched"
    with pytest.raises(BenchmarkError, match="one file is left to fetch by hand: split_zhou_Caltech101"):
        caltech101.Caltech101.download(target)
    assert [p.name for p in (target / "caltech101").iterdir()] == ["101_ObjectCategories"]
    split = (caltech_dir / "caltech101" / "split_zhou_Caltech101.json").read_bytes()
    (target / "caltech101" / "split_zhou_Caltech101.json").write_bytes(split)
    caltech101.Caltech101.download(target)  # nothing left to do
    assert len(caltech101.Caltech101(target, tmp_path, SIZE).split("train").images) == 6


# -- shared helpers ------------------------------------------------------------------------------------------


def test_checksum_is_kept_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    first = files.checksum(path, "md5")
    assert first == hashlib.md5(b"one").hexdigest()
    monkeypatch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("the file was read again"))
    assert files.checksum(path, "md5") == first
    monkeypatch.undo()
    path.write_bytes(b"four")
    assert files.checksum(path, "md5") == hashlib.md5(b"four").hexdigest()


def test_preprocessing_agrees_with_pil_bicubic() -> None:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    pictures = [Image.fromarray(each).resize((32, 32), Image.Resampling.BILINEAR) for each in coarse]
    pictures.append(Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)))  # pure noise
    native = torch.from_numpy(np.stack([np.asarray(p).transpose(2, 0, 1) for p in pictures]))
    preprocessing = Preprocessing(64)
    normalised = preprocessing(native)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (preprocessing.mean, preprocessing.std))
    ours = (normalised * std + mean) * 255
    pil = np.stack([np.asarray(p.resize((64, 64), Image.Resampling.BICUBIC)).transpose(2, 0, 1) for p in pictures])
    assert normalised.shape == (5, 3, 64, 64) and normalised.dtype == torch.float32
    assert (ours - torch.from_numpy(pil).float()).abs().max().item() <= 2


# -- the real data -------------------------------------------------------------------------------------------


def _lengths(dataset: Dataset, *names: str) -> list[int]:
    return [len(dataset.split(name).images) for name in names]  # type: ignore[arg-type]


def test_real_cifar100(real_data_dir: Path, real_cache_dir: Path) -> None:
    dataset = open_dataset("cifar100", real_data_dir, real_cache_dir, 32)
    assert _lengths(dataset, "train", "val", "test") == [45_000, 5_000, 10_000]
    assert len(dataset.class_names) == 100 and dataset.class_names[47] == "maple tree"
    for name, each in (("train", 450), ("val", 50), ("test", 100)):
        labels = dataset.split(name).labels  # type: ignore[arg-type]
        assert labels is not None and set(np.bincount(labels)) == {each}
    official = torchvision.datasets.CIFAR100(real_data_dir, train=False, download=False)
    picture, label = official[1234]
    test = dataset.split("test")
    assert test.labels is not None and test.labels[1234] == label
    np.testing.assert_array_equal(test.images.read([1234])[0].permute(1, 2, 0).numpy(), np.asarray(picture))


def test_real_flickr30k(real_data_dir: Path, real_cache_dir: Path) -> None:
    dataset = open_dataset("flickr30k", real_data_dir, real_cache_dir, 32)
    assert _lengths(dataset, "train", "val", "test") == [6_993, 242, 243]
    train = dataset.split("train")
    assert train.captions is not None and {len(each) for each in train.captions} == {5}
    assert train.captions[0][0].startswith("A child in a pink dress")
    for concept in dataset.concept_names[::8]:
        assert dataset.forget_mask(train, ForgetRequest(concept=concept)).sum() >= 30, concept
    with Image.open(real_data_dir / "flickr30k" / "flickr30k-images" / "1000268201.jpg") as picture:
        small = np.asarray(picture.convert("RGB").resize((32, 32), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(train.images.read([0])[0].permute(1, 2, 0).numpy(), small)


def test_real_flickr30k_token_file_has_the_same_captions(real_data_dir: Path) -> None:
    folder = real_data_dir / "flickr30k"
    by_json = flickr30k.read_karpathy(folder / "dataset_flickr30k.json")
    by_token = flickr30k.read_token(folder / "results_20130124.token")
    assert {name: texts for name, _, texts in by_json} == {name: texts for name, _, texts in by_token}


def test_real_caltech101(real_data_dir: Path, real_cache_dir: Path) -> None:
    dataset = open_dataset("caltech101", real_data_dir, real_cache_dir, 32)
    assert _lengths(dataset, "train", "test") == [4_128, 2_465]
    assert len(dataset.class_names) == 100 and dataset.class_names[0] == "face"
    assert dataset.class_names[-1] == "yin yang" and not any("_" in name for name in dataset.class_names)
    test = dataset.split("test")
    assert test.labels is not None and set(test.labels) == set(range(100))
    with pytest.raises(DatasetCorruptError, match="val"):
        dataset.split("val")
