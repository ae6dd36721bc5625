"""The pool of seen and unseen images, and the halves of it that shadow models are trained on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import TinyDataset
from world import small_world

from datamodules.common.errors import BenchmarkError, RegimeViolationError
from datamodules.common.guard import ReadGuard, guarded
from datamodules.common.images import ChosenImages, ImageArray
from datamodules.common.registry import dataset_cards, open_dataset
from datamodules.common.request import ForgetRequest
from datamodules.common.shadow_pool import Pool, pool_of

DRAWN = ("few_shapes", "shapes")


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Pool]]:
    cache = tmp_path_factory.mktemp("cache")
    with small_world():
        yield {name: pool_of(open_dataset(name, None, cache, 64)) for name in DRAWN}


@pytest.mark.parametrize("name", DRAWN)
def test_unseen_images_are_in_no_split(name: str, pools: dict[str, Pool]) -> None:
    pool = pools[name]
    assert len(pool.further.images) == pool.seen == pool.size // 2
    unseen = {row.numpy().tobytes() for row in pool.further.images.read(range(pool.seen))}
    assert len(unseen) == pool.seen
    for part in ("train", "val", "test"):
        images = pool.dataset.split(part).images  # type: ignore[arg-type]
        assert unseen.isdisjoint(row.numpy().tobytes() for row in images.read(range(len(images))))


@pytest.mark.parametrize("name", DRAWN)
def test_unseen_images_are_of_the_same_kind(name: str, pools: dict[str, Pool]) -> None:
    own, further = pools[name].dataset.split("train"), pools[name].further
    assert own.labels is not None and further.labels is not None and further.captions is not None
    assert np.array_equal(np.bincount(own.labels), np.bincount(further.labels))
    for captions, label in zip(further.captions, further.labels, strict=True):
        assert len(captions) == 5 and pools[name].dataset.class_names[label] in captions[0]


@pytest.mark.parametrize("count", [2, 8])
def test_every_image_is_in_half_of_the_models(count: int, pools: dict[str, Pool]) -> None:
    contained = pools["shapes"].halves(count)
    assert contained.shape == (count, pools["shapes"].size)
    assert (contained.sum(axis=0) == count // 2).all()
    assert (contained.sum(axis=1) == pools["shapes"].seen).all()
    assert np.array_equal(contained, pools["shapes"].halves(count))
    assert len({row.tobytes() for row in contained}) == count


def test_an_odd_number_of_models_is_refused(pools: dict[str, Pool]) -> None:
    with pytest.raises(ValueError, match="3 shadow models cannot come in pairs"):
        pools["shapes"].halves(3)


def test_a_choice_is_the_data_set_with_other_training_images(pools: dict[str, Pool]) -> None:
    pool = pools["shapes"]
    rows = np.flatnonzero(pool.halves(2)[1])
    drawn, own = pool.choose(rows, "some"), pool.dataset
    split, train = drawn.split("train"), own.split("train")
    assert split.labels is not None and split.captions is not None and train.captions is not None
    both = torch.cat([each.images.read(range(pool.seen)) for each in (train, pool.further)])
    assert torch.equal(split.images.read(range(len(rows))), both[torch.from_numpy(rows)])
    assert pool.further.captions is not None
    assert split.captions == tuple((train.captions + pool.further.captions)[row] for row in rows)
    shapes, colours = drawn.label_sets("train")[:2]
    assert np.array_equal(shapes.labels, split.labels)
    assert all(colours.names[c] in texts[0] for c, texts in zip(colours.labels, split.captions, strict=True))
    assert drawn.split("test") is own.split("test")
    assert (drawn.name, drawn.class_names, drawn.gallery_size) == (own.name, own.class_names, own.gallery_size)
    assert len({own.revision, drawn.revision, pool.choose(rows, "others").revision}) == 3
    forget = drawn.forget_mask(split, ForgetRequest(classes=("star",)))
    assert forget.sum() == (split.labels == own.label_of["star"]).sum() > 0


def test_the_guard_knows_a_choice_by_its_own_name() -> None:
    parts = [ImageArray(np.full((3, 3, 2, 2), value, np.uint8), name=f"part-{value}") for value in (1, 2)]
    chosen = ChosenImages(parts, np.array([4, 0, 3]), name="chosen")
    assert chosen.read([0, 1, 2])[:, 0, 0, 0].tolist() == [2, 1, 2] and len(chosen) == 3 and chosen.size == 2
    allowed = {"chosen": np.array([True, False, True])}
    with guarded(ReadGuard(regime="forget", allowed=allowed)) as guard:
        chosen.read([0, 2])
        with pytest.raises(RegimeViolationError):
            chosen.read([1])
    assert guard.items_read == 2


@pytest.mark.parametrize("name", sorted(set(dataset_cards()) - set(DRAWN)))
def test_other_data_sets_say_that_they_have_no_further_images(name: str, tmp_path: Path) -> None:
    other = TinyDataset()
    other.card = dataset_cards()[name]  # type: ignore[misc]
    with pytest.raises(BenchmarkError, match=f"no further images of data set '{name}'"):
        pool_of(other)
