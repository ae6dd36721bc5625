"""What a process that unlearns is handed: by data regime, just the parts that it gives, and nothing that leads on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import APPLE, TinyDataset

from datamodules.common.dataset import Dataset
from datamodules.common.errors import RegimeViolationError
from datamodules.common.handed import HandedDataset, parts_of, write_names, write_part
from datamodules.common.module import REGIMES, ForgetSpec
from datamodules.common.request import ForgetRequest

CONCEPT = ForgetRequest(concept="apple")


def _handed(dataset: Dataset, request: ForgetRequest, regime: str, folder: Path) -> HandedDataset:
    write_names(dataset, folder / "names.json")
    parts = {part: folder / part for part in parts_of(regime)}
    for part, place in parts.items():
        write_part(dataset, request, part, place)
    return HandedDataset(folder / "names.json", parts)


@pytest.mark.parametrize("captions", [False, True], ids=["classes", "captions"])
@pytest.mark.parametrize("regime", REGIMES)
def test_the_train_split_holds_what_the_regime_gives(regime: str, captions: bool, tmp_path: Path) -> None:
    dataset, request = TinyDataset(captions=captions, cache_dir=tmp_path), CONCEPT if captions else APPLE
    handed = _handed(dataset, request, regime, tmp_path)
    if not parts_of(regime):
        with pytest.raises(RegimeViolationError, match="not given"):
            handed.split("train")
        return
    split, given = dataset.split("train"), handed.split("train")
    mask = dataset.forget_mask(split, request)
    rows = np.concatenate([np.flatnonzero(mask if part == "forget" else ~mask) for part in parts_of(regime)])
    assert torch.equal(given.images.read(np.arange(len(given.images))), split.images.read(rows))
    assert handed.forget_mask(given, request).tolist() == mask[rows].tolist()
    if split.labels is not None:
        assert given.labels is not None and given.labels.tolist() == split.labels[rows].tolist()
    if split.captions is not None:
        assert given.captions == tuple(tuple(split.captions[row]) for row in rows)


@pytest.mark.parametrize("split", ["test", "val"])
def test_no_other_split_is_there(split: str, tmp_path: Path) -> None:
    handed = _handed(TinyDataset(), APPLE, "forget+retain", tmp_path)
    with pytest.raises(RegimeViolationError, match="not given"):
        handed.split(split)  # type: ignore[arg-type]


def test_names_are_the_same_and_hold_no_path(tmp_path: Path) -> None:
    dataset = TinyDataset(captions=True, cache_dir=tmp_path / "secret")
    handed = _handed(dataset, APPLE, "names", tmp_path)
    assert ForgetSpec.of(handed, APPLE) == ForgetSpec.of(dataset, APPLE)
    assert ForgetSpec.of(handed, CONCEPT) == ForgetSpec.of(dataset, CONCEPT)
    assert "secret" not in json.dumps(json.loads((tmp_path / "names.json").read_text()))
    assert handed.data_dir is None
