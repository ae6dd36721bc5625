"""The leaky split of Flickr30K: by row as CLIPErase's code has it, deterministic, and flagged by all captions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from layouts import plain_picture, write_flickr30k

from datamodules import flickr30k_by_row
from datamodules.common.errors import BenchmarkError, DatasetCorruptError, RequestError
from datamodules.common.module import UnlearningDataModule
from datamodules.common.request import ForgetRequest
from datamodules.flickr30k import Flickr30k
from datamodules.flickr30k_by_row import Flickr30kByRow, rows_to_train

IMAGES, CAPTIONS, SIZE = 40, 5, 8
DOG = ForgetRequest(concept="dog")
SIDES = ("train", "test")


def caption(image: int, number: int) -> str:
    """Every fourth image shows a dog, which only one of its captions says: another one for each image."""
    what = "dog" if image % 4 == 0 and number == (image // 4) % CAPTIONS else "boat"
    return f"a {what}, image {image}, caption {number}"


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Forty images in the official layout, all in Karpathy's train split: the split by row ignores it."""
    entries = [(f"{i}.jpg", "train", [caption(i, n) for n in range(CAPTIONS)]) for i in range(IMAGES)]
    folder = write_flickr30k(tmp_path / "data", entries)
    for i in range(IMAGES):
        plain_picture(folder / "flickr30k-images" / f"{i}.jpg", 6 * i)
    return tmp_path / "data"


def opened(data_dir: Path) -> Flickr30kByRow:
    return Flickr30kByRow(data_dir, data_dir.parent / "cache", SIZE)


def captions(dataset: Flickr30k, name: str) -> tuple[tuple[str, ...], ...]:
    found = dataset.split(name).captions  # type: ignore[arg-type]
    assert found is not None
    return found


def images_of(texts: tuple[tuple[str, ...], ...]) -> list[int]:
    """Which image each entry is of, as its captions say; all of them must agree."""
    found = [{int(text.split("image ")[1].split(",")[0]) for text in each} for each in texts]
    assert all(len(each) == 1 for each in found)
    return [each.pop() for each in found]


def test_rows_are_split_70_to_30_and_none_is_on_both_sides(data_dir: Path) -> None:
    dataset = opened(data_dir)
    train, test = ([text for each in captions(dataset, name) for text in each] for name in SIDES)
    assert (len(train), len(test)) == (140, 60)
    assert not set(train) & set(test)
    assert set(train) | set(test) == {caption(i, n) for i in range(IMAGES) for n in range(CAPTIONS)}


def test_images_are_on_both_sides_once_each_and_that_is_the_leak(data_dir: Path) -> None:
    dataset = opened(data_dir)
    train, test = (images_of(captions(dataset, name)) for name in SIDES)
    assert len(set(train)) == len(train) and len(set(test)) == len(test)
    shared = set(train) & set(test)
    assert len(shared) > IMAGES / 2
    for image in shared:
        seen = dataset.split("train").images.read([train.index(image)])
        assert torch.equal(seen, dataset.split("test").images.read([test.index(image)]))
        assert seen[0, 0].float().mean().item() == pytest.approx(6 * image, abs=3)


def test_the_split_by_image_has_no_such_leak(data_dir: Path) -> None:
    (data_dir / "flickr30k" / "dataset_flickr30k.json").unlink()
    dataset = Flickr30k(data_dir, data_dir.parent / "cache", SIZE)
    train, test = (set(images_of(captions(dataset, name))) for name in SIDES)
    assert train and test and not train & test


def test_the_split_is_the_same_every_time_and_is_that_of_the_seed(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, again = (tuple(captions(opened(data_dir), name) for name in SIDES) for _ in range(2))
    assert first == again
    rows = [caption(i, n) for i in range(IMAGES) for n in range(CAPTIONS)]
    wanted = {rows[k] for k in np.random.default_rng(0).permutation(200)[:140]}
    assert {text for each in first[0] for text in each} == wanted
    revision = opened(data_dir).revision
    monkeypatch.setattr(flickr30k_by_row, "SEED", 1)
    assert tuple(captions(opened(data_dir), name) for name in SIDES) != first
    assert opened(data_dir).revision != revision


def test_both_annotation_files_give_the_same_rows(data_dir: Path) -> None:
    by_json = tuple(captions(opened(data_dir), name) for name in SIDES)
    (data_dir / "flickr30k" / "dataset_flickr30k.json").unlink()
    assert tuple(captions(opened(data_dir), name) for name in SIDES) == by_json


def test_an_image_is_flagged_by_any_caption_of_either_side(data_dir: Path) -> None:
    dataset = opened(data_dir)
    only_elsewhere = 0
    for name in SIDES:
        mask, texts = dataset.forget_mask(dataset.split(name), DOG), captions(dataset, name)  # type: ignore[arg-type]
        assert mask.tolist() == [image % 4 == 0 for image in images_of(texts)]
        says_so = [any("dog" in text for text in each) for each in texts]
        only_elsewhere += sum(flag and not said for flag, said in zip(mask, says_so, strict=True))
    assert only_elsewhere > 0, "some image must be flagged by a caption of the other side alone"


def test_training_gets_the_flagged_images_with_their_own_sides_captions(data_dir: Path) -> None:
    dataset = opened(data_dir)
    data = UnlearningDataModule(
        dataset, DOG, regime="forget+retain", preprocessing=lambda x: x.float(), cache_dir=data_dir  # type: ignore[arg-type]
    )  # fmt: skip
    train = images_of(captions(dataset, "train"))
    forget = sum(image % 4 == 0 for image in train)
    assert data.sizes == {"forget": forget, "retain": len(train) - forget}
    test = {text for each in captions(dataset, "test") for text in each}
    data.plan(steps=20, batch_size=len(train))
    for batch, _, _ in data.train_dataloader():
        assert not test & {*batch["forget"]["texts"], *batch["retain"]["texts"]}
        assert all(image % 4 == 0 for image in images_of(tuple((text,) for text in batch["forget"]["texts"])))


def test_an_annotation_file_without_images_is_told(data_dir: Path) -> None:
    (data_dir / "flickr30k" / "dataset_flickr30k.json").write_text('{"images": []}')
    with pytest.raises(DatasetCorruptError, match="gives no image to train"):
        opened(data_dir).split("train")


def test_a_forget_set_that_is_empty_or_everything_is_told(data_dir: Path) -> None:
    dataset = opened(data_dir)
    with pytest.raises(RequestError, match="empty in flickr30k_by_row/test"):
        dataset.forget_mask(dataset.split("test"), ForgetRequest(concept="zeppelin"))
    with pytest.raises(RequestError, match="is all of flickr30k_by_row/train"):
        dataset.forget_mask(dataset.split("train"), ForgetRequest(concept="image"))


def test_decoded_images_do_not_collide_with_those_of_the_split_by_image(data_dir: Path) -> None:
    cache = data_dir.parent / "cache"
    by_image = Flickr30k(data_dir, cache, SIZE)
    assert len(by_image.split("train").images) == IMAGES
    before = {path.name: path.read_bytes() for path in (cache / "images").iterdir()}
    by_row = opened(data_dir)
    assert len(by_row.split("train").images) < IMAGES or len(by_row.split("test").images) < IMAGES
    after = {path.name for path in (cache / "images").iterdir()}
    assert len(before) == 1 and len(after) == 3
    assert all((cache / "images" / name).read_bytes() == content for name, content in before.items())
    assert by_row.revision != by_image.revision
    assert by_row.split("test").images.name == "flickr30k_by_row/test"


def test_what_is_wrong_is_one_line_that_names_this_data_set(data_dir: Path) -> None:
    with pytest.raises(BenchmarkError, match="'flickr30k_by_row' has no validation part"):
        opened(data_dir).split("val")
    (data_dir / "flickr30k" / "flickr30k-images" / "7.jpg").unlink()
    with pytest.raises(DatasetCorruptError, match=r"'flickr30k_by_row': 1 of 40 listed images are missing.* 7:"):
        opened(data_dir)
    for file in ("dataset_flickr30k.json", "results_20130124.token"):
        (data_dir / "flickr30k" / file).unlink()
    with pytest.raises(DatasetCorruptError, match="'flickr30k_by_row': neither"):
        opened(data_dir)
    with pytest.raises(BenchmarkError, match="'flickr30k_by_row' cannot be fetched"):
        Flickr30kByRow.download(data_dir.parent)


@pytest.mark.parametrize("counts", [[5, 1, 4], [1] * 10, [2, 0, 8]])
def test_seven_of_ten_rows_train_however_many_captions_an_image_has(counts: list[int]) -> None:
    sides = rows_to_train(counts)
    assert [len(each) for each in sides] == counts and sum(int(each.sum()) for each in sides) == 7
