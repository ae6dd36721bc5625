"""Stanford Cars, Stanford Dogs and Oxford Flowers: tiny folders in the official layouts, and the real split files."""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from layouts import plain_picture
from PIL import Image

from datamodules import oxford_flowers, stanford_cars, stanford_dogs
from datamodules.common import split_file
from datamodules.common.errors import BenchmarkError, DatasetCorruptError, RequestError, UnknownNameError
from datamodules.common.registry import dataset_class, open_dataset
from datamodules.common.request import ForgetRequest
from datamodules.common.split_file import SplitFileDataset

SIZE = 16
REAL_SPLITS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "splits"

KINDS: dict[str, type[SplitFileDataset]] = {
    "stanford_cars": stanford_cars.StanfordCars,
    "stanford_dogs": stanford_dogs.StanfordDogs,
    "oxford_flowers": oxford_flowers.OxfordFlowers,
}
CLASSES = ("first_class", "second", "third one")
"""Names as a split file holds them; an image of class i has a red channel of 40 + 80 i."""


def _path(name: str, part: str, label: int, number: int) -> str:
    """An image's path as the official layout has it."""
    if name == "stanford_cars":
        return f"cars_{'test' if part == 'test' else 'train'}/{10 * label + number:05}.jpg"
    if name == "stanford_dogs":
        return f"n0208{label}-{CLASSES[label]}-x/n0208{label}_{number}.jpg"
    return f"image_{10 * label + number:05}.jpg"


def _pin(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = KINDS[name]
    digest = hashlib.sha256((folder / kind.split_file.name).read_bytes()).hexdigest()
    monkeypatch.setattr(kind, "split_file", replace(kind.split_file, sha256=(digest,)))


Make = Callable[[str], Path]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A data folder with three classes of 2 train, 1 val and 2 test images; those of val are listed but not there."""

    def build(name: str) -> Path:
        folder = tmp_path / "data" / name
        split: dict[str, list[tuple[str, int, str]]] = {}
        for part, numbers in (("train", (1, 2)), ("val", (3,)), ("test", (4, 5))):
            split[part] = [(_path(name, part, i, n), i, each) for i, each in enumerate(CLASSES) for n in numbers]
        for path, label, _ in split["train"] + split["test"]:
            plain_picture(folder / KINDS[name].images_folder / path, 40 + 80 * label)
        (folder / KINDS[name].split_file.name).write_text(json.dumps(split))
        _pin(name, folder, monkeypatch)
        return tmp_path / "data"

    return build


@pytest.mark.parametrize("name", KINDS)
def test_splits_names_and_templates(name: str, make: Make, tmp_path: Path) -> None:
    dataset = open_dataset(name, make(name), tmp_path / "cache", SIZE)
    assert isinstance(dataset, KINDS[name])
    assert dataset.class_names == ("first class", "second", "third one")
    flower = ", a type of flower" if name == "oxford_flowers" else ""
    assert dataset.templates == (f"a photo of a {{}}{flower}.",)
    train, test = dataset.split("train"), dataset.split("test")
    assert train.labels is not None and train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert len(test.images) == 6 and test.images.size == SIZE and test.images.name == f"{name}/test"
    means = test.images.read(range(6))[:, 0].float().mean((1, 2))
    torch.testing.assert_close(means, torch.tensor([40.0, 40.0, 120.0, 120.0, 200.0, 200.0]), atol=3, rtol=0)


@pytest.mark.parametrize("name", KINDS)
def test_opening_decodes_nothing(name: str, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data_dir = make(name)
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("an image was opened"))
    first, second = (open_dataset(name, data_dir, tmp_path / "cache", SIZE) for _ in range(2))
    assert first.revision == second.revision and not (tmp_path / "cache").exists()


@pytest.mark.parametrize("name", KINDS)
def test_revision_follows_the_size_of_an_image(name: str, make: Make, tmp_path: Path) -> None:
    data_dir = make(name)
    before = open_dataset(name, data_dir, tmp_path, SIZE).revision
    plain_picture(data_dir / name / KINDS[name].images_folder / _path(name, "test", 1, 4), 9, size=(200, 100))
    assert open_dataset(name, data_dir, tmp_path, SIZE).revision != before


@pytest.mark.parametrize("name", KINDS)
def test_missing_images(name: str, make: Make, tmp_path: Path) -> None:
    data_dir = make(name)
    with pytest.raises(DatasetCorruptError, match="3 of 3 listed images are missing, first image 0: "):
        open_dataset(name, data_dir, tmp_path, SIZE).split("val")
    for number in (4, 5):
        path = _path(name, "test", 2, number)
        (data_dir / name / KINDS[name].images_folder / path).unlink()
    with pytest.raises(DatasetCorruptError, match="2 of 6 listed images are missing, first image 4: ") as caught:
        open_dataset(name, data_dir, tmp_path, SIZE)
    assert _path(name, "test", 2, 4) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", KINDS)
def test_wrong_or_missing_split_file(name: str, make: Make, tmp_path: Path) -> None:
    path = make(name) / name / KINDS[name].split_file.name
    path.write_text(path.read_text() + " ")
    whose = "the Lip authors'" if name == "stanford_dogs" else "CoOp's"
    for state in (f"is not {whose} file (sha256 ", "is missing; fetch the official one, linked from https://"):
        with pytest.raises(DatasetCorruptError) as caught:
            open_dataset(name, path.parents[1], tmp_path, SIZE)
        assert f"{path} {state}" in str(caught.value) and "\n" not in str(caught.value)
        path.unlink(missing_ok=True)


@pytest.mark.parametrize("name", KINDS)
def test_forget_by_class(name: str, make: Make, tmp_path: Path) -> None:
    dataset = open_dataset(name, make(name), tmp_path / "cache", SIZE)
    request = ForgetRequest(classes=("first class",))
    assert dataset.forget_mask(dataset.split("test"), request).tolist() == [True] * 2 + [False] * 4
    assert dataset.names_for(request) == (("first class",), ("second", "third one"))
    with pytest.raises(UnknownNameError, match="did you mean 'first class'"):
        dataset.check_request(ForgetRequest(classes=("frist class",)))
    with pytest.raises(RequestError, match="no captions"):
        dataset.check_request(ForgetRequest(concept="second"))


# -- download ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "module", "checksum"),
    [
        ("stanford_dogs", stanford_dogs, "ARCHIVE_SHA256"),
        ("oxford_flowers", oxford_flowers, "ARCHIVE_MD5"),
    ],
)
def test_download(
    name: str, module: object, checksum: str, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete, kind = make(name) / name, KINDS[name]
    archive = tmp_path / "mirror.tar"
    with tarfile.open(archive, "w:gz" if name == "oxford_flowers" else "w") as tar:
        tar.add(complete / kind.images_folder, kind.images_folder)
    monkeypatch.setattr(module, "ARCHIVE_URL", archive.as_uri())
    monkeypatch.setattr(module, checksum, "0000")
    with pytest.raises(DatasetCorruptError, match=rf"expected 0000.*by hand: fetch .*{kind.images_folder} holds"):
        kind.download(tmp_path / "fetched")
    algorithm = checksum.removeprefix("ARCHIVE_").lower()
    monkeypatch.setattr(module, checksum, hashlib.new(algorithm, archive.read_bytes()).hexdigest())
    target = tmp_path / "fetched" / name
    with pytest.raises(BenchmarkError, match=f"one file is left to fetch by hand: {kind.split_file.name}, linked"):
        kind.download(tmp_path / "fetched")
    assert [p.name for p in target.iterdir()] == [kind.images_folder]
    (target / kind.split_file.name).write_bytes((complete / kind.split_file.name).read_bytes())
    monkeypatch.setattr(module, "ARCHIVE_URL", "file:///nowhere")
    kind.download(tmp_path / "fetched")  # nothing left to do
    assert len(open_dataset(name, tmp_path / "fetched", tmp_path / "cache", SIZE).split("train").images) == 6


def test_download_of_stanford_cars_gives_advice(make: Make, tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"unpack cars_train\.tgz .*split_zhou_StanfordCars\.json") as caught:
        stanford_cars.StanfordCars.download(tmp_path / "elsewhere")
    assert str(tmp_path / "elsewhere" / "stanford_cars") in str(caught.value) and "\n" not in str(caught.value)
    data_dir = make("stanford_cars")
    stanford_cars.StanfordCars.download(data_dir)  # nothing left to do
    (data_dir / "stanford_cars" / "split_zhou_StanfordCars.json").unlink()
    with pytest.raises(BenchmarkError, match="one file is left to fetch by hand: split_zhou_StanfordCars"):
        stanford_cars.StanfordCars.download(data_dir)


# -- the real split files ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "classes", "sizes", "some_names"),
    [
        ("stanford_cars", 196, [6509, 1635, 8041], ["2009 Spyker C8 Coupe", "2011 Ford Ranger SuperCab"]),
        ("stanford_dogs", 120, [6122, 6122, 8336], ["Pekinese", "toy poodle", "Shih", "black", "wire"]),
        ("caltech101", 100, [4128, 1649, 2465], ["euphonium", "minaret", "yin yang"]),
        ("oxford_flowers", 102, [4093, 1633, 2463], ["gazania", "tree mallow", "hard-leaved pocket orchid"]),
    ],
)
def test_real_split_file(
    name: str, classes: int, sizes: list[int], some_names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = dataset_class(name)
    assert issubclass(kind, SplitFileDataset)
    packed = REAL_SPLITS / f"{kind.split_file.name}.gz"
    if not packed.is_file():
        pytest.skip("the real split files (../shared/data/splits beside the repository) are not here")
    folder = tmp_path / kind.card.folder
    folder.mkdir()
    (folder / kind.split_file.name).write_bytes(gzip.decompress(packed.read_bytes()))
    counted: list[int] = []
    monkeypatch.setattr(split_file, "file_sizes", lambda _, names: dict.fromkeys(names, 1))
    monkeypatch.setattr(split_file, "decode_once", lambda paths, *_, **__: counted.append(len(paths)) or paths)
    monkeypatch.setattr(split_file, "Split", lambda name, images, labels: set(labels))
    dataset = kind(tmp_path, tmp_path, SIZE)
    for part in ("train", "val", "test"):
        assert dataset.split(part) == set(range(classes))  # type: ignore[arg-type]
    assert counted == sizes
    assert len(dataset.class_names) == len(set(dataset.class_names)) == classes
    assert set(some_names) <= set(dataset.class_names)
    dataset.check_request(ForgetRequest(classes=tuple(some_names)))
