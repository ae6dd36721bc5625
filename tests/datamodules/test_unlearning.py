"""Each data regime hands out exactly its parts, and the guard refuses everything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import APPLE, NAMES, SIDE, TinyDataset

from datamodules.common.batches import CyclingBatches
from datamodules.common.dataset import Dataset
from datamodules.common.errors import RegimeViolationError, RequestError, UnknownNameError
from datamodules.common.guard import ReadGuard, guarded
from datamodules.common.images import ImageArray, Preprocessing
from datamodules.common.module import PARTS_OF, REGIMES, ForgetSpec, Regime, UnlearningDataModule
from datamodules.common.request import ForgetRequest

WITH_DATA = [regime for regime in REGIMES if PARTS_OF[regime]]
PREPROCESSING = Preprocessing(SIDE)


def module(dataset: Dataset, regime: Regime, *, seed: int = 0, request: ForgetRequest = APPLE) -> UnlearningDataModule:
    return UnlearningDataModule(
        dataset, request, regime=regime, preprocessing=PREPROCESSING, cache_dir=Path("unused"), seed=seed
    )


def batches(data: UnlearningDataModule, *, steps: int = 9, batch_size: int = 4) -> list[Any]:
    data.plan(steps=steps, batch_size=batch_size)
    sent = (batch[0] if isinstance(batch, tuple) else batch for batch in data.train_dataloader())
    loaded = [data.on_after_batch_transfer(batch, 0) for batch in sent]  # as the Trainer does
    assert len(loaded) == steps
    return loaded


@pytest.mark.parametrize("regime", WITH_DATA)
def test_a_batch_holds_exactly_the_allowed_parts(regime: Regime) -> None:
    dataset = TinyDataset()
    pixels, labels = dataset.split("train").images.read(range(24)), dataset.split("train").labels
    seen: dict[str, set[int]] = {}
    for batch in batches(module(dataset, regime)):
        assert set(batch) == set(PARTS_OF[regime])
        for part, pairs in batch.items():
            for image, text, label in zip(pairs["images"], pairs["texts"], pairs["labels"], strict=True):
                distance = (PREPROCESSING(pixels) - image).abs().flatten(1).amax(1)
                index = int(distance.argmin())
                assert distance[index] == 0 and labels[index] == label
                assert text == f"a photo of a {NAMES[label]}"
                assert (label == 0) == (part == "forget")
                seen.setdefault(part, set()).add(index)
            assert {int(i) for i in pairs["indices"]} <= seen[part]
    every = {"forget": set(range(0, 24, 4)), "retain": {i for i in range(24) if i % 4}}
    assert seen == {part: every[part] for part in PARTS_OF[regime]}


@pytest.mark.parametrize("regime", ["none", "names"])
def test_without_data_a_batch_is_the_step(regime: Regime) -> None:
    data = module(TinyDataset(), regime)
    assert data.sizes == {}
    assert [int(batch) for batch in batches(data, steps=3)] == [0, 1, 2]


@pytest.mark.parametrize("regime", WITH_DATA)
def test_captions_are_those_of_the_image_and_all_are_drawn(regime: Regime) -> None:
    dataset = TinyDataset(captions=True)
    captions = dataset.split("train").captions
    data = module(dataset, regime, request=ForgetRequest(concept="apple"))
    drawn: set[str] = set()
    for batch in batches(data, steps=40):
        for part, pairs in batch.items():
            for text, index, label in zip(pairs["texts"], pairs["indices"], pairs["labels"], strict=True):
                assert text in captions[index] and label == -1
                assert ("apple" in text) == (part == "forget")
                drawn.add(text)
    parts = PARTS_OF[regime]
    assert drawn == {t for i, two in enumerate(captions) for t in two if ("retain", "forget")[i % 4 == 0] in parts}


def test_seed_decides_order_and_captions() -> None:
    def texts(seed: int) -> list[str]:
        data = module(TinyDataset(captions=True), "retain", seed=seed, request=ForgetRequest(concept="apple"))
        return [text for batch in batches(data) for text in batch["retain"]["texts"]]

    assert texts(1) == texts(1) != texts(2)


@settings(max_examples=60, deadline=None)
@given(items=st.integers(1, 30), batch=st.integers(1, 40), steps=st.integers(0, 25), seed=st.integers(0, 2**31))
def test_cycling_covers_each_item_once_a_pass(items: int, batch: int, steps: int, seed: int) -> None:
    found = list(CyclingBatches(items, batch, steps, seed=seed))
    assert len(found) == steps == len(CyclingBatches(items, batch, steps, seed=seed))
    assert all(len(each) == min(items, batch) for each in found)
    flat = [item for each in found for item in each]
    for start in range(0, len(flat), items):
        one_pass = flat[start : start + items]
        assert len(set(one_pass)) == len(one_pass) and set(one_pass) <= set(range(items))
    assert found == list(CyclingBatches(items, batch, steps, seed=seed))


def test_passes_are_shuffled_anew() -> None:
    first, second = CyclingBatches(20, 20, 2, seed=0)
    assert first != second and sorted(first) == sorted(second)


def test_a_part_smaller_than_a_batch_gives_the_whole_part() -> None:
    for batch in batches(module(TinyDataset(), "forget+retain"), steps=3, batch_size=16):
        assert len(set(map(float, batch["forget"]["images"].sum((1, 2, 3))))) == 6
        assert len(batch["retain"]["images"]) == 16


@pytest.mark.parametrize("regime", WITH_DATA)
@pytest.mark.parametrize("captions", [False, True])
def test_held_out_images_never_come_in_training(regime: Regime, captions: bool) -> None:
    dataset = TinyDataset(captions=captions)
    data = module(dataset, regime, request=ForgetRequest(concept="apple") if captions else APPLE)
    every = {part: set(range(0, 24, 4)) if part == "forget" else {i for i in range(24) if i % 4} for part in data.sizes}
    data.plan(steps=1, batch_size=4)
    with guarded(data.guard()) as guard:
        held = data.hold_out(2)
        assert guard.items_read == sum(len(p["texts"]) for each in held.values() for p in each)
        seen: dict[str, set[int]] = {}
        for batch in batches(data):
            for part, pairs in batch.items():
                seen.setdefault(part, set()).update(pairs["indices"].tolist())
    kept = {part: {i for pairs in each for i in pairs["indices"].tolist()} for part, each in held.items()}
    assert {part: len(each) for part, each in kept.items()} == {part: min(8, len(every[part]) // 2) for part in every}
    for part, whole in every.items():
        assert kept[part] | seen[part] == whole and not kept[part] & seen[part]
    for each in held.values():
        for pairs in each:
            assert len(pairs["texts"]) <= 4
            for text, label, index in zip(pairs["texts"], pairs["labels"], pairs["indices"], strict=True):
                assert NAMES[index % 4] in text and label == (-1 if captions else index % 4)
                assert not captions or text.endswith(str(int(index)))


def test_what_is_held_out_depends_on_the_seed_alone() -> None:
    def drawn(seed: int) -> list[int]:
        data = module(TinyDataset(), "retain", seed=seed)
        data.plan(steps=1, batch_size=4)
        return [i for pairs in data.hold_out(2)["retain"] for i in pairs["indices"].tolist()]

    assert drawn(0) == drawn(0) != drawn(1)


def test_the_guard_allows_what_the_regime_gives_and_counts_it() -> None:
    dataset = TinyDataset()
    data = module(dataset, "forget")
    images = dataset.split("train").images
    with guarded(data.guard()) as guard:
        batches(data, steps=3, batch_size=6)
        assert (guard.items_read, guard.items_distinct) == (18, 6)
        images.read([0, 4])
        assert (guard.items_read, guard.items_distinct) == (20, 6)
        for forbidden in ([1], [0, 1], [-1]):
            with pytest.raises(RegimeViolationError, match="'forget'"):
                images.read(forbidden)
        with pytest.raises(RegimeViolationError, match="tiny/test"):
            dataset.split("test").images.read([0])
        assert guard.items_read == 20
    images.read([1])


@pytest.mark.parametrize("regime", ["none", "names"])
def test_without_data_every_read_is_refused(regime: Regime) -> None:
    dataset = TinyDataset()
    with guarded(module(dataset, regime).guard()), pytest.raises(RegimeViolationError):
        dataset.split("train").images.read([0])


def test_the_guard_ends_with_its_block_even_after_an_error() -> None:
    dataset = TinyDataset()
    with pytest.raises(RegimeViolationError), guarded(module(dataset, "none").guard()):
        dataset.split("train").images.read([0])
    assert len(dataset.split("train").images.read([0])) == 1


def test_guards_nest() -> None:
    dataset = TinyDataset()
    images = dataset.split("train").images
    outer, inner = module(dataset, "forget").guard(), module(dataset, "forget").guard()
    with guarded(outer):
        with guarded(inner):
            images.read([0])
        images.read([4])
        with guarded(ReadGuard("none", {})), pytest.raises(RegimeViolationError):
            images.read([0])
    assert (inner.items_read, outer.items_distinct) == (1, 2)


def reachable(root: object) -> list[object]:
    found: list[object] = []
    seen: set[int] = set()
    queue = [root]
    while queue:
        value = queue.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        found.append(value)
        if isinstance(value, dict):
            queue.extend([*value.keys(), *value.values()])
        elif isinstance(value, list | tuple | set | frozenset):
            queue.extend(value)
        elif hasattr(value, "__dict__") and not isinstance(value, type):
            queue.extend(vars(value).values())
        if getattr(value, "__closure__", None):
            queue.extend(cell.cell_contents for cell in value.__closure__)
    return found


@pytest.mark.parametrize("regime", REGIMES)
def test_no_image_and_no_data_set_is_reachable_without_a_part(regime: Regime) -> None:
    dataset = TinyDataset()
    dataset.split("train")
    data = module(dataset, regime)
    data.plan(steps=2, batch_size=2)
    found = [*reachable(data), *reachable(data.train_dataloader())]
    assert any(isinstance(value, ImageArray) for value in found) == bool(PARTS_OF[regime])
    assert not any(isinstance(value, Dataset) for value in found)
    images = [value for value in found if isinstance(value, np.ndarray) and value.dtype == np.uint8]
    assert bool(images) == bool(PARTS_OF[regime])


def test_names_come_with_the_specification() -> None:
    spec = ForgetSpec.of(TinyDataset(), ForgetRequest(classes=("cat", "apple")))
    assert spec.forget_names == ("cat", "apple") and spec.retain_names == ("bus", "sunflower")
    assert spec.all_names == ("cat", "apple", "bus", "sunflower")
    concept = ForgetSpec.of(TinyDataset(captions=True), ForgetRequest(concept="bus"))
    assert concept.forget_names == ("bus",) and concept.retain_names == ("apple", "cat", "sunflower")
    beside = ForgetSpec.of(TinyDataset(captions=True), ForgetRequest(concept="bus"), [TinyDataset()]).others
    assert [each.names for each in beside] == [TinyDataset().class_names] and beside[0].templates
    assert concept.others == ()


def test_requests_that_cannot_be_served_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="'sunflower'"):
        module(TinyDataset(), "names", request=ForgetRequest(classes=("sunflowers",)))
    with pytest.raises(RequestError):
        module(TinyDataset(), "names", request=ForgetRequest(classes=NAMES))
    with pytest.raises(RequestError, match="empty"):
        module(TinyDataset(captions=True), "forget", request=ForgetRequest(concept="zebra"))
    with pytest.raises(RequestError, match="all of"):
        module(TinyDataset(captions=True), "forget", request=ForgetRequest(concept="x", words=("one", "a")))
