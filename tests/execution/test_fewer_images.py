"""`test_images`: a fixed part of the retained test images is measured, and every forgotten one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import APPLE, TinyDataset
from world import World, small_world, write_suite

from benchmark.execution.runner import CellRunner
from benchmark.execution.tracking import Tracker
from benchmark.records.lookup import cell_of
from benchmark.records.store import RecordStore
from benchmark.suites.suite_file import SuiteError, load_suite
from datamodules.common.narrowed import FewerTestImages, NarrowedDataset, whole
from datamodules.common.request import ForgetRequest

pytest_plugins = ("world",)
SUITE = """title: a part of the test images
models: [{model}]
seeds: [0]
methods: [original, nullspace, random_noise]
test_images: 2
tasks:
  - dataset: shapes_colours
    others: [shapes_backgrounds, shapes]
    requests: [{{classes: [red]}}, {{classes: [blue]}}]
"""


def rows_of(part: FewerTestImages) -> list[int]:
    """Where the images of a part stand in the whole split."""
    every, chosen = (d.split("test").images.read(np.arange(len(d.split("test").images))) for d in (whole(part), part))
    places = [[i for i, image in enumerate(every) if torch.equal(image, other)] for other in chosen]
    assert all(len(found) == 1 for found in places)
    return [found[0] for found in places]


def test_as_many_of_each_class_are_measured_and_all_forgotten_ones() -> None:
    base = TinyDataset()
    part = FewerTestImages(base, 1, APPLE)
    labels = part.split("test").labels
    assert labels is not None
    assert np.bincount(labels).tolist() == [2, 1, 1, 1] and part.label_of["apple"] == 0
    assert part.forget_mask(part.split("test"), APPLE).sum() == 2
    assert part.split("train") is base.split("train") and part.split("val") is base.split("val")
    assert whole(part) is base and whole(FewerTestImages(NarrowedDataset(base, ["bus"]), 1)) is base
    assert np.bincount(FewerTestImages(base, 5, APPLE).split("test").labels).tolist() == [2, 2, 2, 2]  # type: ignore[arg-type]


def test_the_retained_part_is_the_same_for_every_request() -> None:
    parts = [FewerTestImages(TinyDataset(), 1, ForgetRequest(classes=(name,))) for name in ("apple", "bus")]
    nothing = FewerTestImages(TinyDataset(), 1)
    first, second = (set(rows_of(part)) for part in parts)
    assert set(rows_of(nothing)) == first & second and len(first - second) == len(second - first) == 1
    assert len({part.revision for part in (*parts, nothing)}) == 3
    assert len({part.split("test").images.name for part in (*parts, nothing)}) == 3


def test_a_part_of_a_part_has_the_images_of_the_whole() -> None:
    base = TinyDataset()
    part = FewerTestImages(NarrowedDataset(base, ["cat"]), 1, APPLE)
    labels, everything = part.split("test").labels, base.split("test").labels
    assert labels is not None and everything is not None and np.bincount(labels, minlength=4).tolist() == [2, 1, 0, 1]
    assert everything[rows_of(part)].tolist() == labels.tolist()


def test_images_with_captions_stay_whole() -> None:
    base = TinyDataset(captions=True)
    assert FewerTestImages(base, 1).split("test") is base.split("test")


def test_a_suite_measures_a_part_and_its_records_say_on_how_many_images(
    tiny_world: SimpleNamespace, tmp_path: Path
) -> None:
    world = World(write_suite(tmp_path, tiny_world.model, SUITE), tiny_world.cache, tmp_path / "results")
    with small_world():
        answer = world.run()
        assert answer.status == 0, answer.err
        plan = world.plan()
        session = CellRunner(plan.registry, plan.where, RecordStore(tmp_path / "x"), Tracker(None)).session
        records = world.records().values()
        assert len(records) == 6
        for record in records:
            cell = cell_of(record)
            assert cell in plan.cells and cell.test_images == 2 and record.cell["test_images"] == 2
            dataset, (backgrounds, shapes) = session.datasets(cell)
            mask = whole(dataset).forget_mask(whole(dataset).split("test"), cell.request)
            assert record.metrics["forget/acc1"].n == mask.sum() > 2
            assert record.metrics["retain/acc1"].n == 2 * (len(dataset.class_names) - 1)
            assert record.metrics["other/shapes_backgrounds/acc1"].n == 2 * len(backgrounds.class_names)
            assert record.metrics["other/shapes/acc1"].n == len(whole(shapes).split("test").images)
        assert not world.run().out.startswith("[")  # all is done
    text = world.suite.read_text()
    everything = tmp_path / "everything.yaml"
    everything.write_text(text.replace("test_images: 2\n", ""))
    with small_world():
        cells = World(everything, tiny_world.cache, tmp_path / "other").plan().cells
    assert {cell.key for cell in cells}.isdisjoint({record.key for record in records})
    assert "test_images" not in cells[0].identity()


@pytest.mark.parametrize("value", ["0", "-3", "many"])
def test_a_number_that_is_none_is_refused(value: str, tmp_path: Path) -> None:
    suite = tmp_path / "bad.yaml"
    suite.write_text(SUITE.format(model="shapes-resnet").replace("test_images: 2", f"test_images: {value}"))
    with pytest.raises(SuiteError, match="test_images"):
        load_suite(str(suite))
