"""Folders of images as people have them: odd files and names, missing parts, formats, pictures that cannot be read."""

from __future__ import annotations

import io
import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from layouts import noise_picture, plain_picture, write_flickr30k
from PIL import Image
from world import command

from datamodules.common.class_folders import image_suffixes
from datamodules.common.dataset import Dataset
from datamodules.common.errors import BenchmarkError, DatasetCorruptError, UnreadableImageError
from datamodules.common.images import Framing
from datamodules.common.readable import unreadable_images
from datamodules.common.registry import open_dataset
from datamodules.common.request import ForgetRequest
from datamodules.common.wordnet import wordnet_names


def write(root: Path, part: str, kinds: tuple[str, ...] = ("cat", "dog"), count: int = 3) -> None:
    for number, kind in enumerate(kinds):
        for index in range(count):
            plain_picture(root / "pets" / part / kind / f"{index}.png", 50 * number + index)


def opened(root: Path, name: str = "pets", *, skip_unreadable: bool = False) -> Dataset:
    return open_dataset(f"folder:{name}", root, root / "cache", 16, skip_unreadable=skip_unreadable)


def counts(dataset: Dataset) -> tuple[int, int]:
    return len(dataset.split("train").images), len(dataset.split("test").images)


@pytest.mark.loads(
    "images",
    "dot files and folders (`.ipynb_checkpoints`, `._1.jpg`); other files",
    "ignored; counted by suffix",
)
def test_what_begins_with_a_dot_is_ignored_and_other_files_are_counted(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write(tmp_path, part)
        for name in ("cat/._0.png", ".DS_Store", "cat/.thumbs/0.jpg", ".git/x.png"):
            path = tmp_path / "pets" / part / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"no image")
    assert counts(opened(tmp_path)) == (6, 6) and opened(tmp_path).notes == ()
    for name in ("cat/1.HEIC", "cat/2.heic", "dog/Thumbs.db", "dog/readme"):
        (tmp_path / "pets" / "train" / name).write_bytes(b"no image")
    plain_picture(tmp_path / "pets" / "train" / "loose.png", 1)
    (note,) = opened(tmp_path).notes
    assert "5 files are left out" in note and "2 .heic" in note and "1 .db" in note and "1 without a suffix" in note
    assert "1 .png in no class folder" in note


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".JPG", ".webp", ".jp2", ".ppm", ".avif", ".gif"])
@pytest.mark.loads("images", "`.jfif`, `.jpe`, `.avif`, `.webp`, ...", "load")
def test_every_suffix_that_pillow_reads_is_read(suffix: str, tmp_path: Path) -> None:
    if suffix.lower() not in image_suffixes():
        pytest.skip(f"this Pillow was built without {suffix}")
    for part in ("train", "test"):
        write(tmp_path, part, count=1)
        picture = Image.new("RGB", (20, 20), (200, 10, 10))
        picture.save(tmp_path / "pets" / part / "cat" / f"more{suffix}")
    dataset = opened(tmp_path)
    assert counts(dataset) == (3, 3) and dataset.notes == ()
    red = dataset.split("train").images.read([1])[0, :, 8, 8].tolist()
    assert red == pytest.approx([200, 10, 10], abs=12)


@pytest.mark.loads("images", "folders in class folders", "their images belong to the class")
def test_images_in_deeper_folders_belong_to_their_class(tmp_path: Path) -> None:
    write(tmp_path, "train")
    write(tmp_path, "test")
    plain_picture(tmp_path / "pets" / "train" / "cat" / "2019" / "summer" / "x.png", 99)
    assert counts(opened(tmp_path)) == (7, 6)


@pytest.mark.loads("images", "train without test", "a fifth of each class is measured, and told")
def test_without_a_test_folder_the_split_is_stated_and_stays(tmp_path: Path) -> None:
    write(tmp_path, "train", count=10)
    dataset = opened(tmp_path)
    assert counts(dataset) == (16, 4) and "20% of the images of each class" in dataset.notes[0]
    tested = dataset._files["test"]  # type: ignore[attr-defined]
    again = opened(tmp_path)
    assert again._files["test"] == tested and again.revision == dataset.revision  # type: ignore[attr-defined]
    labels = dataset.split("test").labels
    assert labels is not None and labels.tolist() == [0, 0, 1, 1]
    (tmp_path / "pets" / "train").rename(tmp_path / "flat")
    assert counts(open_dataset("folder:flat", tmp_path, tmp_path / "cache", 16)) == (16, 4)


@pytest.mark.loads("images", "train and val without test", "val is measured, and told")
def test_without_test_but_with_val_the_val_folder_is_measured(tmp_path: Path) -> None:
    write(tmp_path, "train", count=5)
    write(tmp_path, "valid", count=2)
    dataset = opened(tmp_path)
    assert counts(dataset) == (10, 4) and "the images of val are measured" in dataset.notes[0]


@pytest.mark.loads("images", "a class of one image", "refused: the class is named")
def test_a_class_of_one_image_cannot_be_parted(tmp_path: Path) -> None:
    write(tmp_path, "train", count=1)
    with pytest.raises(DatasetCorruptError, match="class 'cat' has no image in test; two images are the least"):
        opened(tmp_path)


@pytest.mark.loads("images", "names with decomposed accents", "one class with the composed name")
def test_accents_in_either_form_are_one_class(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write(tmp_path, part, (unicodedata.normalize("NFD", "für_elise"), "naïve"))
    dataset = opened(tmp_path)
    assert dataset.class_names == ("für elise", "naïve")
    for given in ("für elise", unicodedata.normalize("NFD", "für elise"), "Für_Elise"):
        assert dataset.resolved(ForgetRequest(classes=(given,))).classes == ("für elise",)


@pytest.mark.loads("images", "folders of WordNet ids; `classnames.txt`", "ImageNet's names, or the file's")
def test_wordnet_folders_take_their_names_and_a_file_gives_others(tmp_path: Path) -> None:
    ids = ("n01440764", "n02012849", "n03126707")
    for part in ("train", "test"):
        write(tmp_path, part, ids)
    dataset = opened(tmp_path)
    assert dataset.class_names == ("tench", "crane bird", "construction crane") and "WordNet" in dataset.notes[0]
    assert dataset.resolved(ForgetRequest(classes=("n02012849",))) == ForgetRequest(classes=("crane bird",))
    before = dataset.revision
    names = tmp_path / "pets" / "classnames.txt"
    names.write_text("n01440764\tbig fish\nn02012849 crane, crane bird\n\n")
    dataset = opened(tmp_path)
    assert dataset.class_names == ("big fish", "crane", "construction crane"), "what the file leaves out keeps its name"
    assert dataset.revision != before and not dataset.notes
    for text, problem in (("n01440764\n", "line 1"), ("other\tname\n", "names no class folder")):
        names.write_text(text)
        with pytest.raises(DatasetCorruptError, match=problem):
            opened(tmp_path)


def test_wordnet_names_are_distinct() -> None:
    names = wordnet_names(["n02085620", "n02121808", "n99999999"])
    assert names == {"n02085620": "Chihuahua", "n02121808": "domestic cat"}


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Eight images a part, of which three of train are damaged: cut off, empty, of another kind."""
    for part in ("train", "test"):
        for kind in ("cat", "dog"):
            for index in range(4):
                noise_picture(tmp_path / "pets" / part / kind / f"{index}.jpg", index)
    cat = tmp_path / "pets" / "train" / "cat"
    whole = (cat / "1.jpg").read_bytes()
    (cat / "1.jpg").write_bytes(whole[: len(whole) // 2])
    (cat / "2.jpg").write_bytes(b"")
    (tmp_path / "pets" / "train" / "dog" / "3.jpg").write_text("<html>not found</html>")
    return tmp_path


@pytest.mark.loads("images", "unreadable images", "all named at once, by `plan`")
def test_all_unreadable_files_are_named_at_once(damaged: Path) -> None:
    with pytest.raises(UnreadableImageError) as caught:
        opened(damaged).check_images()
    message = str(caught.value)
    assert "3 images cannot be read" in message and "\n" not in message and "--skip-unreadable" in message
    for name in ("train/cat/1.jpg (", "train/cat/2.jpg (empty)", "train/dog/3.jpg (not an image"):
        assert name in message


def test_what_was_seen_is_remembered_until_a_file_changes(damaged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = opened(damaged).image_files
    assert files is not None
    monkeypatch.setattr("datamodules.common.readable.RECENT_SECONDS", -10.0)
    first = unreadable_images(files.folder, files.names, damaged / "cache")
    assert len(first) == 3
    with monkeypatch.context() as patch:
        patch.setattr("datamodules.common.readable.image_problem", lambda path: pytest.fail(f"{path} was read again"))
        assert unreadable_images(files.folder, files.names, damaged / "cache") == first
    plain_picture(damaged / "pets" / "train" / "cat" / "2.jpg", 9)
    assert len(unreadable_images(files.folder, files.names, damaged / "cache")) == 2


@pytest.mark.loads("images", "the same with `--skip-unreadable`", "left out, counted in the record")
def test_unreadable_files_are_left_out_on_request_and_counted(damaged: Path) -> None:
    dataset = opened(damaged, skip_unreadable=True)
    assert counts(dataset) == (5, 8) and dataset.skipped == ("train/cat/1.jpg", "train/cat/2.jpg", "train/dog/3.jpg")
    assert any("3 images that cannot be read" in note for note in dataset.notes)
    assert dataset.revision != opened(damaged).revision
    for index in (0, 3):
        (damaged / "pets" / "train" / "cat" / f"{index}.jpg").write_bytes(b"")
    with pytest.raises(DatasetCorruptError, match="class 'cat' has no image in train"):
        opened(damaged, skip_unreadable=True)


def test_plan_names_them_and_a_run_without_them_says_so_in_its_records(damaged: Path) -> None:
    for split in ("train", "test"):  # names that the model knows
        (damaged / "pets" / split / "cat").rename(damaged / "pets" / split / "star")
        (damaged / "pets" / split / "dog").rename(damaged / "pets" / split / "heart")
    suite = damaged / "pets.yaml"
    suite.write_text(
        "title: my pets\nmodels: [shapes-resnet]\nseeds: [0]\nmethods: [original]\n"
        "tasks:\n  - dataset: folder:pets\n    requests: [{classes: [Star]}]\n"
    )
    where = ("--suite", suite, "--results", damaged / "r", "--data-dir", damaged, "--cache-dir", damaged / "cache")
    plan = command("plan", *where)
    assert plan.status == 2 and "3 images cannot be read" in plan.error
    done = command("run", *where, "--skip-unreadable")
    assert done.status == 0, done.err
    assert "3 images that cannot be read are left out" in done.err
    (record,) = (damaged / "r").glob("pets/*.json")
    provenance = json.loads(record.read_text())["provenance"]
    assert provenance["images_skipped"] == {"folder:pets": 3} and "--skip-unreadable" in provenance["command"]


@pytest.mark.parametrize(
    ("mode", "problem"), [("F", "real numbers"), ("LAB", "mode LAB")], ids=["real numbers", "another colour space"]
)
@pytest.mark.loads("images", "real numbers, LAB, more than 16 bits", "named as unreadable")
def test_pixels_without_eight_bits_are_named(mode: str, problem: str, tmp_path: Path) -> None:
    write(tmp_path, "train")
    write(tmp_path, "test")
    Image.new(mode, (20, 20)).save(tmp_path / "pets" / "train" / "cat" / "odd.tif")
    with pytest.raises(UnreadableImageError, match=problem):
        opened(tmp_path).check_images()
    with pytest.raises(UnreadableImageError, match=problem):
        opened(tmp_path).split("train")


@pytest.mark.loads("images", "EXIF orientation, transparency", "as open_clip reads them")
def test_orientation_and_transparency_are_as_in_open_clip() -> None:
    """The decision that `ImageFolder` states: EXIF orientation is not applied, transparency is dropped."""
    stored = Image.fromarray(np.repeat(np.arange(0, 240, 4, dtype=np.uint8)[:, None, None], 60, 1).repeat(3, 2))
    exif = Image.Exif()
    exif[0x0112] = 6  # the viewer turns it by a quarter
    stream = io.BytesIO()
    stored.save(stream, "PNG", exif=exif)
    turned = Image.open(stream)
    assert turned.getexif()[0x0112] == 6
    assert (Framing(60)(turned) == Framing(60)(stored)).all()
    hidden = Image.new("RGBA", (20, 20), (250, 0, 0, 0))  # nothing is seen of it
    assert (Framing(20)(hidden) == np.array([250, 0, 0], dtype=np.uint8)[:, None, None]).all()


def test_a_published_data_set_cannot_leave_images_out(tmp_path: Path) -> None:
    folder = write_flickr30k(tmp_path, [("a.jpg", "train", ["a dog"]), ("b.jpg", "test", ["a cat"])])
    plain_picture(folder / "flickr30k-images" / "a.jpg", 1)
    (folder / "flickr30k-images" / "b.jpg").write_bytes(b"")
    with pytest.raises(BenchmarkError, match="published one"):
        open_dataset("flickr30k", tmp_path, tmp_path / "cache", 16, skip_unreadable=True)
