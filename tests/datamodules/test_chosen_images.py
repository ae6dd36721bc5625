"""Requests by chosen images: how images are named, what is to be forgotten, what the images are measured on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layouts import plain_picture
from tiny import NAMES, TinyDataset, tiny_clip

from datamodules.common.chosen_images import ChosenImagesDataset, serving, train_files, train_rows
from datamodules.common.errors import RequestError
from datamodules.common.image_request import ImagesRequest, chooses_images, images_of, read_request
from datamodules.common.module import ForgetSpec, UnlearningDataModule
from datamodules.common.narrowed import FewerTestImages
from datamodules.common.request import ForgetRequest
from datamodules.image_folder import ImageFolder
from methods.common.card import MethodCard
from methods.common.served import why_not_asked

ALONE = read_request({"images": [3, "5"]})
NAMED = read_request({"images": [3, 5], "classes": ["Apple"]})


@pytest.fixture
def folder(tmp_path: Path) -> ImageFolder:
    """Two classes of three train and two test images, one file name in both."""
    for part, count in (("train", 3), ("test", 2)):
        for name in ("ring", "star"):
            for number in range(count):
                plain_picture(tmp_path / "pets" / part / name / f"{number}.png", 40 * number)
    return ImageFolder(tmp_path, tmp_path / "cache", 8, "pets")


def test_requests_read_back_as_they_were_written() -> None:
    for data in ({"images": [3, "a/b.jpg"]}, {"images": [0], "classes": ["cat"]}, {"images": [0], "concept": "dog"}):
        request = read_request(data)
        assert chooses_images(request) and request.to_dict() == data and read_request(request.to_dict()) == request
    assert images_of(ALONE) == (3, 5) and (ALONE.names, ALONE.kind) == ((), "2 images")
    assert (NAMED.names, NAMED.kind, read_request({"images": [7]}).kind) == (("Apple",), "2 images", "1 image")
    assert not chooses_images(read_request({"classes": ["cat"]}))
    assert str(read_request({"images": [7]})) == "train image 7" and str(read_request({"images": ["a.jpg"]})) == "a.jpg"
    others = {str(read_request({"images": [3, last]})) for last in range(4, 9)}
    assert len(others) == 5, "boards tell requests apart by these words"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"images": []}, "at least one"),
        ({"images": "a.jpg"}, "list"),
        ({"images": [-1]}, "neither a path nor a row"),
        ({"images": [True]}, "neither"),
        ({"images": [" "]}, "neither"),
        ({"images": [1], "classes": ["a"], "concept": "b"}, "either classes or a concept"),
        ({"images": [1], "class": ["a"]}, "unknown key"),
    ],
)
def test_what_is_no_request(data: dict[str, object], says: str) -> None:
    with pytest.raises(RequestError, match=says):
        read_request(data)


@pytest.mark.loads("request", "chosen images by path, end of path or row", "the forget set is these images")
def test_an_image_is_named_by_its_path_the_end_of_it_or_its_row(folder: ImageFolder) -> None:
    files = train_files(folder)
    assert files == tuple(f"train/{name}/{number}.png" for name in ("ring", "star") for number in range(3))
    assert train_rows(folder, ["star/0.png", "./train/ring/2.png", 2, "train\\ring\\1.png"]) == (1, 2, 3)
    for image, says in (
        ("0.png", "is several train images of 'folder:pets', such as train/star/0.png"),
        ("ring/7.png", "no train image of 'folder:pets'; one is 'train/ring/"),
        ("test/ring/0.png", "no train image"),
        (6, "6 train images, 0 to 5: no row 6"),
    ):
        with pytest.raises(RequestError) as told:
            train_rows(folder, [image])
        assert says in str(told.value), image
    with pytest.raises(RequestError, match="every train image"):
        train_rows(folder, list(range(6)))
    with pytest.raises(RequestError, match="are no files: name them by their rows in the train part, 0 to 23"):
        train_rows(TinyDataset(), ["a.jpg"])


@pytest.mark.loads("request", "the same images named otherwise, in another order", "the same request, the same key")
def test_spelling_and_order_make_no_other_request(folder: ImageFolder) -> None:
    requests = [read_request({"images": images}) for images in (["star/0.png", 0], [0, 3], ["ring/0.png", 3, 0])]
    resolved = {serving(folder, request).resolved(request) for request in requests}
    assert [request.to_dict() for request in resolved] == [{"images": ["train/ring/0.png", "train/star/0.png"]}]
    named = read_request({"images": [0], "classes": ["RING"]})
    assert serving(folder, named).resolved(named).to_dict() == {"images": ["train/ring/0.png"], "classes": ["ring"]}


@pytest.mark.parametrize("captions", [False, True])
def test_the_forget_set_is_these_images_and_the_test_images_are_retained(captions: bool) -> None:
    base = TinyDataset(captions=captions)
    data = serving(base, ALONE)
    assert isinstance(data, ChosenImagesDataset) and data.revision != base.revision
    assert np.flatnonzero(data.forget_mask(data.split("train"), ALONE)).tolist() == [3, 5]
    train, test, both = base.split("train"), base.split("test"), data.split("test")
    assert np.flatnonzero(data.forget_mask(both, ALONE)).tolist() == [0, 1]
    every = both.images.read(range(10))
    assert every[:2].equal(train.images.read([3, 5])) and every[2:].equal(test.images.read(range(8)))
    assert both.images.read([4, 1, 0]).equal(every[[4, 1, 0]])
    if captions:
        assert both.captions == (train.captions[3], train.captions[5], *test.captions)
    else:
        assert both.labels.tolist() == [3, 1, *test.labels.tolist()]
    assert both.images.name != test.images.name, "features are kept by it"
    assert data.names_for(ALONE) == ((), NAMES)
    assert serving(base, ForgetRequest(classes=("apple",))) is base


def test_a_method_is_handed_the_images_and_the_names_that_the_request_says() -> None:
    clip = tiny_clip("vit")
    for request, forget, retain in ((ALONE, (), NAMES), (NAMED, ("apple",), NAMES[1:])):
        data = serving(TinyDataset(), request)
        spec = ForgetSpec.of(data, request)
        assert (spec.forget_names, spec.retain_names) == (forget, retain)
        module = UnlearningDataModule(data, request, regime="forget+retain", preprocessing=clip.preprocessing)
        assert module.sizes == {"forget": 2, "retain": 22}
        module.plan(steps=1, batch_size=30)
        (batch,) = [batch for batch, *_ in module.train_dataloader()]
        assert sorted(batch["forget"]["indices"].tolist()) == [3, 5]
        assert {3, 5}.isdisjoint(batch["retain"]["indices"].tolist())
        assert set(batch["forget"]["texts"]) == {"a photo of a bus", "a photo of a sunflower"}


def test_where_fewer_test_images_are_measured_the_chosen_ones_stay(folder: ImageFolder) -> None:
    fewer = FewerTestImages(folder, 1)
    assert train_files(fewer) == train_files(folder)
    data = serving(fewer, read_request({"images": ["ring/0.png"]}))
    assert data.split("test").labels.tolist() == [0, 0, 1] and len(data.split("train").images) == 6


@pytest.mark.loads(
    "request",
    "chosen images without a name, for a method that needs one",
    "n/a in `plan`, with the reason",
)
def test_which_methods_cannot_serve_it() -> None:
    def card(regime: str, **more: tuple[str, ...]) -> MethodCard:
        return MethodCard("some", "some", "some", regime, ("visual",), **more)  # type: ignore[arg-type]

    assert "add classes or a concept" in why_not_asked(card("names"), ALONE)
    assert "add classes" in why_not_asked(card("forget", needs=("names to forget",)), ALONE)
    assert "not without chosen images" in why_not_asked(card("pretraining"), NAMED)
    for regime in ("none", "forget", "retain", "forget+retain"):
        assert why_not_asked(card(regime), ALONE) == ""
    assert why_not_asked(card("names"), NAMED) == ""
    assert why_not_asked(card("names"), ForgetRequest(classes=("apple",))) == ""


def test_handed_files_understand_it_without_the_data_set(tmp_path: Path) -> None:
    from datamodules.common.handed import HandedDataset, write_names, write_part

    for number, (request, forget) in enumerate(((ALONE, ()), (NAMED, ("apple",)))):
        data, parts = serving(TinyDataset(), request), tmp_path / str(number)
        parts.mkdir()
        write_names(data, parts / "names.json")
        write_part(data, request, "forget", parts / "forget")
        handed = HandedDataset(parts / "names.json", {"forget": parts / "forget"})
        again = read_request(request.to_dict())
        assert isinstance(again, ImagesRequest)
        assert ForgetSpec.of(handed, again).forget_names == forget
        split = handed.split("train")
        assert len(split.images) == 2 and handed.forget_mask(split, again).all()
