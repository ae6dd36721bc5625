"""Conceptual 12M from a local metadata file: splits by image, and each way in which the file can be wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datamodules.common.errors import BenchmarkError, DatasetCorruptError, DatasetNotFoundError
from datamodules.common.registry import open_dataset
from datamodules.common.request import ForgetRequest

NAME = "conceptual12m"
ROWS = [(f"part{i % 2}/{i:03}.jpg", f"a dog number {i}" if i % 5 == 0 else f"a boat number {i}") for i in range(60)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "data" / NAME
    random = np.random.default_rng(0)
    for path, _ in ROWS:
        target = root / "images" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (20, 24, 3), dtype=np.uint8)).save(target)
    write(root, ROWS)
    return root


def write(root: Path, rows: list[tuple[str, str]]) -> None:
    (root / "metadata.tsv").write_text("".join(f"{path}\t{caption}\n" for path, caption in rows), encoding="utf-8")


def opened(folder: Path):
    return open_dataset(NAME, folder.parent, folder.parent / "cache", 16)


def test_splits_are_disjoint_complete_and_by_image(folder: Path) -> None:
    data = opened(folder)
    captions = [caption for name in ("train", "val", "test") for (caption,) in data.split(name).captions]
    assert sorted(captions) == sorted(caption for _, caption in ROWS)
    sizes = {name: len(data.split(name).images) for name in ("train", "val", "test")}
    assert sizes["train"] > sizes["test"] > sizes["val"] > 0
    mask = data.forget_mask(data.split("train"), ForgetRequest(concept="dog"))
    assert 0 < mask.sum() < len(mask)


def test_no_image_changes_its_split_when_others_go(folder: Path) -> None:
    before = {caption: n for n in ("train", "val", "test") for (caption,) in opened(folder).split(n).captions}
    revision = opened(folder).revision
    write(folder, ROWS[10:])
    data = opened(folder)
    assert all(before[c] == n for n in ("train", "val", "test") for (c,) in data.split(n).captions)
    assert data.revision != revision


def test_a_row_without_its_image(folder: Path) -> None:
    (folder / "images" / ROWS[3][0]).unlink()
    (folder / "images" / ROWS[7][0]).unlink()
    with pytest.raises(DatasetCorruptError, match=r"2 of 60 listed images are missing, first image 3: .*003.jpg"):
        opened(folder)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("no tab here", "line 2 is not of the form"),
        ("x.jpg\t ", "line 2 is not"),
        ("part0/000.jpg\tagain", "line 2 names"),
    ],
)
def test_a_malformed_line(folder: Path, line: str, problem: str) -> None:
    (folder / "metadata.tsv").write_text(f"part0/000.jpg\ta dog\n{line}\n", encoding="utf-8")
    with pytest.raises(DatasetCorruptError, match=problem):
        opened(folder)


def test_what_to_put_where(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match=NAME):
        open_dataset(NAME, tmp_path, tmp_path, 16)
    (tmp_path / NAME).mkdir()
    with pytest.raises(DatasetCorruptError, match=r"metadata.tsv is missing; .*img2dataset"):
        open_dataset(NAME, tmp_path, tmp_path, 16)
    from datamodules.conceptual12m import Conceptual12M

    with pytest.raises(BenchmarkError, match="cannot be fetched automatically"):
        Conceptual12M.download(tmp_path)
