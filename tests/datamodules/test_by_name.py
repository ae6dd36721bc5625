"""Data sets by name: torchvision's and the hub's, ImageNet and COCO, on a few made files in the real layouts."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layouts import plain_picture
from PIL import Image

from datamodules.common.cifar100_superclasses import SUPERCLASSES
from datamodules.common.dataset import Dataset
from datamodules.common.errors import BenchmarkError, DatasetCorruptError, MissingFilesError, UnknownNameError
from datamodules.common.registry import dataset_class, open_dataset
from datamodules.common.request import ForgetRequest


def opened(name: str, root: Path) -> Dataset:
    return open_dataset(name, root, root / "cache", 16)


def food101(root: Path) -> None:
    lists: dict[str, dict[str, list[str]]] = {"train": {}, "test": {}}
    for kind, shade in (("apple_pie", 50), ("sushi", 150)):
        for index in range(3):
            plain_picture(root / "food-101" / "images" / kind / f"{index}.jpg", shade + 10 * index)
            lists["test" if index == 2 else "train"].setdefault(kind, []).append(f"{kind}/{index}")
    (root / "food-101" / "meta").mkdir()
    for part, listed in lists.items():
        (root / "food-101" / "meta" / f"{part}.json").write_text(json.dumps(listed))


def oxford_pets(root: Path) -> None:
    folder = root / "oxford-iiit-pet"
    (folder / "annotations").mkdir(parents=True)
    for part, indices in (("trainval", (0, 1)), ("test", (2,))):
        lines = [
            f"{kind}_{index} {label} 1 1"
            for label, kind in ((1, "Abyssinian"), (2, "great_pyrenees"))
            for index in indices
        ]
        (folder / "annotations" / f"{part}.txt").write_text("\n".join(lines) + "\n")
    for kind, shade in (("Abyssinian", 50), ("great_pyrenees", 150)):
        for index in range(3):
            plain_picture(folder / "images" / f"{kind}_{index}.jpg", shade + 10 * index)


def dtd(root: Path) -> None:
    folder = root / "dtd" / "dtd"
    (folder / "labels").mkdir(parents=True)
    for part, indices in (("train", (0, 1)), ("val", (3,)), ("test", (2,))):
        listed = [f"{kind}/{kind}_{index}.jpg" for kind in ("banded", "polka-dotted") for index in indices]
        (folder / "labels" / f"{part}1.txt").write_text("\n".join(listed) + "\n")
    for kind, shade in (("banded", 50), ("polka-dotted", 150)):
        for index in range(4):
            plain_picture(folder / "images" / kind / f"{kind}_{index}.jpg", shade + 10 * index)


def fgvc_aircraft(root: Path) -> None:
    folder = root / "fgvc-aircraft-2013b" / "data"
    (folder / "images").mkdir(parents=True)
    (folder / "variants.txt").write_text("707-320\nF/A-18\n")
    for part, indices in (("trainval", (0, 1)), ("test", (2,))):
        lines = [f"{n}{index} {name}" for n, name in ((1, "707-320"), (2, "F/A-18")) for index in indices]
        (folder / f"images_variant_{part}.txt").write_text("\n".join(lines) + "\n")
    for number, shade in ((1, 50), (2, 150)):
        for index in range(3):
            plain_picture(folder / "images" / f"{number}{index}.jpg", shade + 10 * index)


def eurosat(root: Path) -> None:
    for kind, shade in (("AnnualCrop", 50), ("SeaLake", 150)):
        for index in range(3):
            plain_picture(root / "eurosat" / "2750" / kind / f"{kind}_{index}.jpg", shade + 10 * index)


def sun397(root: Path) -> None:
    folder = root / "SUN397"
    for kind, shade in (("a/abbey", 50), ("a/apartment_building/outdoor", 150)):
        for index in range(3):
            plain_picture(folder / kind / f"sun_{index}{shade}.jpg", shade + 10 * index)
    (folder / "ClassName.txt").write_text("/a/abbey\n/a/apartment_building/outdoor\n")


MADE: dict[str, tuple[Callable[[Path], None], str, tuple[str, str]]] = {
    "food101": (food101, "Food101", ("apple pie", "sushi")),
    "oxford_pets": (oxford_pets, "OxfordIIITPet", ("Abyssinian", "Great Pyrenees")),
    "dtd": (dtd, "DTD", ("banded", "polka-dotted")),
    "fgvc_aircraft": (fgvc_aircraft, "FGVCAircraft", ("707-320", "F/A-18")),
    "eurosat": (eurosat, "EuroSAT", ("annual crop land", "lake or sea")),
    "sun397": (sun397, "SUN397", ("abbey", "apartment building outdoor")),
}


@pytest.mark.parametrize("name", MADE)
@pytest.mark.loads("name", "`torchvision:NAME`", "loads from torchvision's files")
def test_sets_of_torchvision(name: str, tmp_path: Path) -> None:
    make, official, names = MADE[name]
    make(tmp_path)
    dataset, same = opened(name, tmp_path), opened(f"torchvision:{official}", tmp_path)
    assert dataset.class_names == names == same.class_names and dataset.templates == same.templates
    dataset.check_images()
    assert dataset.image_files is not None and len(dataset.image_files.names) >= 6
    shades: dict[str, list[int]] = {}
    for part, count in (("train", 4), ("test", 2)):
        split, other = dataset.split(part), same.split(part)  # type: ignore[arg-type]
        assert split.labels is not None and len(split.images) == count
        np.testing.assert_array_equal(split.images.read(range(count)), other.images.read(range(count)))
        shades[part] = [round(int(image[0, 8, 8]), -1) for image in split.images.read(range(count))]
        assert [int(shade > 100) for shade in shades[part]] == split.labels.tolist()
        assert sorted(split.labels.tolist()) == [0] * (count // 2) + [1] * (count // 2)
    assert len({*shades["train"], *shades["test"]}) == 6, "no image is in both"
    assert bool(dataset.notes) == (name in ("eurosat", "sun397"))
    before = dataset.revision
    plain_picture(next(tmp_path.rglob("*.jpg")), 7, size=(31, 20))
    assert opened(name, tmp_path).revision != before


def test_a_set_of_torchvision_without_image_files(tmp_path: Path) -> None:
    import pickle

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rng = np.random.default_rng(0)
    batches = [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]
    for name in batches:
        data = {"data": rng.integers(0, 255, (2, 3072), dtype=np.uint8), "labels": [0, 1]}
        (folder / name).write_bytes(pickle.dumps(data))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": ["airplane", "automobile"]}))
    from unittest.mock import patch

    with patch("torchvision.datasets.cifar.check_integrity", return_value=True):
        dataset = opened("torchvision:CIFAR10", tmp_path)
    assert dataset.class_names == ("airplane", "automobile") and dataset.image_files is None
    assert len(dataset.split("train").images) == 10 and dataset.split("test").labels.tolist() == [0, 1]  # type: ignore[union-attr]


@pytest.mark.loads("name", "a set whose files are not there", "one line: what, where from, where to")
def test_what_is_missing_is_said(tmp_path: Path) -> None:
    for name in (*MADE, "imagenet", "coco_karpathy"):
        with pytest.raises(MissingFilesError, match=f"download {name}"):
            opened(name, tmp_path)
    with pytest.raises(UnknownNameError, match="did you mean 'Food101'"):
        opened("torchvision:Food102", tmp_path)
    (tmp_path / "food-101").mkdir()
    with pytest.raises(DatasetCorruptError, match="torchvision cannot read"):
        opened("food101", tmp_path)


def test_fetching_without_a_network_says_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.food101.download_and_extract_archive", refuse)
    with pytest.raises(BenchmarkError, match=r"no network.*by hand: unpack it from https://.*food-101"):
        dataset_class("food101").download(tmp_path)
    for name in ("imagenet", "coco_karpathy"):
        with pytest.raises(BenchmarkError, match="by hand"):
            dataset_class(name).download(tmp_path)


# -- ImageNet and COCO -------------------------------------------------------------------------------------------------


@pytest.mark.loads("name", "ImageNet from its validation images", "loads, with open_clip's names")
def test_imagenet_from_its_validation_images_alone(tmp_path: Path) -> None:
    for shade, wnid in enumerate(("n01440764", "n02012849")):
        for index in range(5):
            plain_picture(tmp_path / "imagenet" / "val" / wnid / f"ILSVRC2012_val_{index}.JPEG", 100 * shade + index)
    dataset = opened("imagenet", tmp_path)
    assert dataset.name == "imagenet" and dataset.class_names == ("tench", "crane bird")
    assert [len(dataset.split(part).images) for part in ("train", "test")] == [8, 2] and "20%" in dataset.notes[0]
    assert dataset.resolved(ForgetRequest(classes=("n02012849",))).classes == ("crane bird",)
    for shade, wnid in enumerate(("n01440764", "n02012849")):
        plain_picture(tmp_path / "imagenet" / "train" / wnid / f"{wnid}_1.JPEG", 100 * shade)
    dataset = opened("imagenet", tmp_path)
    assert [len(dataset.split(part).images) for part in ("train", "test")] == [2, 10]
    plain_picture(tmp_path / "imagenet" / "train" / "fish" / "1.JPEG", 1)
    plain_picture(tmp_path / "imagenet" / "val" / "fish" / "1.JPEG", 1)
    with pytest.raises(DatasetCorruptError, match="'fish', which is no WordNet id"):
        opened("imagenet", tmp_path)


@pytest.mark.loads("name", "COCO captions in Karpathy's split", "loads")
def test_coco_in_karpathys_split(tmp_path: Path) -> None:
    images = []
    for index, split in enumerate(("train", "restval", "val", "test")):
        folder = "train2014" if split == "train" else "val2014"
        name = f"COCO_{folder}_{index}.jpg"
        plain_picture(tmp_path / "coco" / folder / name, 40 * index)
        texts = [f"a dog by a fire hydrant {i}" if index % 2 else f"a cat {i}" for i in range(5)]
        images.append(
            {"filepath": folder, "filename": name, "split": split, "sentences": [{"raw": text} for text in texts]}
        )
    (tmp_path / "coco" / "dataset_coco.json").write_text(json.dumps({"images": images}))
    dataset = opened("coco_karpathy", tmp_path)
    train = dataset.split("train")
    assert len(train.images) == 2 and len(dataset.split("val").images) == 1 and len((train.captions or [()])[0]) == 5
    assert dataset.forget_mask(train, ForgetRequest(concept="Fire hydrants")).tolist() == [False, True]
    (tmp_path / "coco" / "dataset_coco.json").unlink()
    with pytest.raises(DatasetCorruptError, match=r"dataset_coco\.json from https"):
        opened("coco_karpathy", tmp_path)


# -- CIFAR-100 ---------------------------------------------------------------------------------------------------------


def test_superclasses_are_twenty_of_five_and_stand_for_their_classes() -> None:
    from datamodules.cifar100 import CIFAR100

    classes = [name for group in SUPERCLASSES.values() for name in group]
    assert len(SUPERCLASSES) == 20 and len(classes) == len(set(classes)) == 100

    class Named(CIFAR100):
        class_names = tuple(sorted(classes))  # type: ignore[assignment]

    dataset = Named.__new__(Named)
    request = dataset.resolved(ForgetRequest(classes=("Large_Carnivores", "tiger", "apple")))
    assert request.classes == ("bear", "leopard", "lion", "tiger", "wolf", "apple") and request.kind == "6 classes"
    assert "bear" not in dataset.names_for(request)[1]


@pytest.mark.usefixtures("real_data_dir")
def test_superclasses_are_those_of_the_official_file(real_data_dir: Path) -> None:
    import pickle

    folder = real_data_dir / "cifar-100-python"
    meta, test = (pickle.loads((folder / name).read_bytes(), encoding="latin1") for name in ("meta", "test"))
    official: dict[str, set[str]] = {}
    for fine, coarse in zip(test["fine_labels"], test["coarse_labels"], strict=True):
        official.setdefault(meta["coarse_label_names"][coarse], set()).add(
            meta["fine_label_names"][fine].replace("_", " ")
        )
    plain = {name.replace("_", " ").replace("-", " "): classes for name, classes in official.items()}
    assert {name.replace("-", " "): set(classes) for name, classes in SUPERCLASSES.items()} == plain


# -- the hub -----------------------------------------------------------------------------------------------------------


def parquet(path: Path, rows: list[dict[str, Any]], names: list[str] | None) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    features: dict[str, Any] = {"image": {"_type": "Image"}}
    if names is not None:
        features["label"] = {"names": names, "_type": "ClassLabel"}
    about = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    path.parent.mkdir(parents=True, exist_ok=True)
    arrow = pa.Table.from_pylist(rows)
    pq.write_table(arrow.replace_schema_metadata(about), path)


def image_struct(shade: int) -> dict[str, Any]:
    stream = io.BytesIO()
    Image.new("RGB", (20, 20), (shade, 0, 0)).save(stream, "PNG")
    return {"bytes": stream.getvalue(), "path": None}


@pytest.mark.loads("name", "`hf:ORG/NAME` with labels (parquet)", "loads")
def test_a_labelled_set_of_the_hub(tmp_path: Path) -> None:
    names = ["red_panda", "cat"]
    for part, first, count in (("train", 0, 4), ("test", 100, 2)):
        rows = [{"image": image_struct(first + n), "label": n % 2} for n in range(count)]
        parquet(tmp_path / "zoo" / "pets" / "data" / f"{part}-00000-of-00001.parquet", rows, names)
    dataset = opened("hf:zoo/pets", tmp_path)
    assert (dataset.name, dataset.class_names, dataset.notes) == ("hf:zoo/pets", ("red panda", "cat"), ())
    test = dataset.split("test")
    assert test.images.read([0, 1])[:, 0, 8, 8].tolist() == [100, 101] and test.labels.tolist() == [0, 1]  # type: ignore[union-attr]
    before = dataset.revision
    parquet(
        tmp_path / "zoo" / "pets" / "data" / "test-00000-of-00001.parquet",
        [{"image": image_struct(9), "label": -1}, {"image": image_struct(8), "label": -1}],
        names,
    )
    hidden = opened("hf:zoo/pets", tmp_path)
    assert hidden.revision != before
    with pytest.raises(DatasetCorruptError, match="hidden labels"):
        hidden.split("test")


@pytest.mark.loads("name", "`hf:ORG/NAME` with captions", "loads; parted where it has one part")
def test_a_captioned_set_of_the_hub_is_parted_where_it_has_one_part(tmp_path: Path) -> None:
    rows = [{"image": image_struct(n), "caption": [f"a dog {n}", "snow"]} for n in range(10)]
    parquet(tmp_path / "zoo" / "texts" / "train-0.parquet", rows, None)
    dataset = opened("hf:zoo/texts", tmp_path)
    train = dataset.split("train")
    assert len(train.images) == 8 and len(dataset.split("test").images) == 2 and "20%" in dataset.notes[0]
    for index, (caption, _) in enumerate(train.captions or ()):
        assert int(train.images.read([index])[0, 0, 8, 8]) == int(caption.split()[-1])
    with pytest.raises(BenchmarkError, match="no validation part"):
        dataset.split("val")


@pytest.mark.loads("name", "a set that is nowhere, or has other columns", "one line")
def test_a_set_that_is_nowhere_and_a_name_of_another_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise OSError("offline")

    pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(MissingFilesError, match=r"offline.*put the parquet files of https://huggingface\.co"):
        opened("hf:zoo/none", tmp_path)
    for name in ("hf:zoo", "hf:../x", "hf:a/b/c"):
        with pytest.raises(BenchmarkError, match="write hf:ORG/NAME"):
            opened(name, tmp_path)
