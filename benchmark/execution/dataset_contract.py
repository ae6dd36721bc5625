"""The contract tests on one data set, as a stranger's file meets them: what `check` runs on the file of a data set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from benchmark.execution.contract import Finding
from datamodules.common.card import DatasetCard
from datamodules.common.dataset import Dataset, Split, SplitName
from datamodules.common.errors import BenchmarkError
from datamodules.common.registry import add_dataset, dataset_class, open_dataset, read_card
from datamodules.common.templates import template_problem
from methods.common.plugins import import_plugin

SIDE = 32
"""The image size that a data set is asked for, in pixels."""
MEASURED: tuple[SplitName, ...] = ("train", "test")


def check_dataset(file: Path, data_dir: Path | None, cache_dir: Path) -> Iterator[Finding]:
    """Check the file of a data set, clause by clause; later clauses are left out where an earlier one makes them void.

    Args:
        file: The file; it is imported in this process, as a run does it.
        data_dir: Where its files are.
        cache_dir: Where decoded images are kept.
    """
    card = read_card(file)
    if card is None:
        yield Finding("the file declares CARD = DatasetCard(...) at top level", False)
        return
    yield Finding("the card can be read without importing the file", True, card.name)
    same = card.name == file.stem
    yield Finding("the card's name is the file's name", same, "" if same else f"{card.name} in {file.name}")
    try:
        add_dataset(file.resolve(), import_plugin)
        dataset_class(card.name)
    except Exception as error:  # noqa: BLE001 - whatever a stranger's file does when it is imported is the finding
        yield Finding("the file has a Dataset with card = CARD, under a name of its own", False, _told(error))
        return
    yield Finding("the file has a Dataset with card = CARD, under a name of its own", True)
    try:
        first, again = (open_dataset(card.name, data_dir, cache_dir, SIDE) for _ in range(2))
        yield from _names(first, card)
        yield Finding(
            "its revision is the same when it is opened again",
            bool(first.revision) and first.revision == again.revision,
        )
        for part in MEASURED:
            yield from _split(first.split(part), again.split(part), first, card)
    except Exception as error:  # noqa: BLE001 - as above
        yield Finding("it can be opened and its splits train and test be loaded", False, _told(error))
        return
    yield Finding("it can be opened and its splits train and test be loaded", True)
    yield from _parts_apart(first)


def _names(dataset: Dataset, card: DatasetCard) -> Iterator[Finding]:
    names, concepts = dataset.class_names, dataset.concept_names
    if "classification" in card.tasks:
        distinct = len(names) > 1 and len(set(names)) == len(names) and all(name.strip() for name in names)
        yield Finding("it has two classes or more, each with a name of its own", distinct, f"{len(names)} names")
    if "retrieval" in card.tasks:
        yield Finding("it has concepts to tell apart", len(set(concepts)) == len(concepts) > 1, f"{len(concepts)}")
    problems = [f"{template!r} {problem}" for template in dataset.templates if (problem := template_problem(template))]
    yield Finding("every prompt template takes one name", bool(dataset.templates) and not problems, "; ".join(problems))


def _split(split: Split, again: Split, dataset: Dataset, card: DatasetCard) -> Iterator[Finding]:
    where = f"in {split.name}"
    some = split.images.read(range(min(4, len(split.images))))
    square = some.dtype == torch.uint8 and some.ndim == 4 and some.shape[1] == 3 and some.shape[2] == some.shape[3]
    yield Finding(f"images are square, uint8, of shape (N, 3, S, S), {where}", bool(square), str(tuple(some.shape)))
    equal = torch.equal(some, again.images.read(range(len(some)))) and len(split.images) == len(again.images)
    yield Finding(f"images and their order are the same when it is opened again, {where}", equal)
    if "classification" in card.tasks:
        labels = np.empty(0) if split.labels is None else split.labels
        missing = sorted(set(range(len(dataset.class_names))) - set(labels.tolist()))
        inside = bool(len(labels)) and 0 <= labels.min() <= labels.max() < len(dataset.class_names)
        yield Finding(f"every label is the place of a class name, {where}", inside)
        detail = f"{len(missing)} without, such as {dataset.class_names[missing[0]]!r}" if missing else ""
        yield Finding(f"every class has an image, {where}", not missing, detail)
    if "retrieval" in card.tasks:
        empty = [n for n, texts in enumerate(split.captions or ((),)) if not any(text.strip() for text in texts)]
        yield Finding(f"every image has a caption, {where}", not empty, f"image {empty[0]}" if empty else "")


def _parts_apart(dataset: Dataset) -> Iterator[Finding]:
    """Whether images of the test split were handed out for training: by their pixels."""
    hashes = []
    for part in MEASURED:
        images = dataset.split(part).images
        hashes.append({images.read([index]).numpy().tobytes() for index in range(len(images))})
    shared = len(hashes[0] & hashes[1])
    yield Finding("no image of test is in train", not shared, f"{shared} are in both" if shared else "")


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, BenchmarkError) else f"{type(error).__name__}: {error}"
