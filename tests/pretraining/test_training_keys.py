"""What makes a retrained or shadow model what it is makes its file; prose does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from code_edits import code
from world import ROOT, small_world

from benchmark.pretraining import kept
from benchmark.pretraining.identity import training_identity
from benchmark.pretraining.recipe import load_recipe
from benchmark.pretraining.retrained import Retraining
from benchmark.pretraining.shadows import ShadowModels
from datamodules.common.request import ForgetRequest
from datamodules.shapes_world.dataset import WorldDataset

RECIPE = load_recipe("few-shapes")
STAR = {"few_shapes": ForgetRequest(classes=("star",))}


def paths(folder: Path, **changes: Any) -> tuple[Path, Path]:
    """Where a retrained and a shadow model lie, for a recipe with changes."""
    recipe = replace(RECIPE, **changes)
    with small_world():
        return Retraining(recipe, None, folder, "cpu").path(STAR, 0), ShadowModels(recipe, None, folder, "cpu").path(3)


def test_values_count_and_prose_does_not(tmp_path: Path) -> None:
    before = paths(tmp_path)
    assert paths(tmp_path, title=RECIPE.title + ".") == before
    for change in ({"epochs": RECIPE.epochs + 1}, {"templates": ("{}",)}, {"weight_decay": 0.0}):
        assert all(new != old for new, old in zip(paths(tmp_path, **change), before, strict=True))


def test_data_precision_seed_and_exclusions_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = paths(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(WorldDataset, "revision", "other")
        assert not set(paths(tmp_path)) & set(before)
    with monkeypatch.context() as patch:
        patch.setattr(kept, "resolve_precision", lambda *_: "bf16")
        bf16 = paths(tmp_path)
        patch.setattr(kept, "resolve_precision", lambda *_: "fp32")
        assert not set(bf16) & set(paths(tmp_path))
    with small_world():
        retraining = Retraining(RECIPE, None, tmp_path, "cpu")
        others = {retraining.path(STAR, 1), retraining.path({}, 0), before[0]}
    assert len(others) == 3


@pytest.mark.parametrize(
    ("file", "old", "new", "counts"),
    [
        ("benchmark/pretraining/optimizers.py", "BETAS = (", "BETAS = (0.0, ", True),
        ("benchmark/pretraining/muon.py", "3.4445", "3.0", True),
        ("benchmark/pretraining/stem.py", "EPS = 5e-4", "EPS = 5e-3", True),
        ("benchmark/pretraining/exclusions.py", "plural(name)", "name", True),
        ("benchmark/models/trunks.py", "stride=2", "stride=1", True),
        ("benchmark/pretraining/train.py", "math.log(100)", "math.log(50)", True),
        ("benchmark/pretraining/train.py", "Training a small CLIP", "The training of a small CLIP", False),
        ("benchmark/pretraining/checkpoint.py", "EVERY_SECONDS = 120.0", "EVERY_SECONDS = 60.0", False),
        ("benchmark/cli/pretrain.py", "0.95 * smooth[0]", "0.9 * smooth[0]", False),
    ],
)
def test_code_counts_by_meaning(file: str, old: str, new: str, counts: bool) -> None:
    before = training_identity(RECIPE, 0, revisions=["1"], precision="fp32")
    text = (ROOT / file).read_text(encoding="utf-8")
    assert old in text
    with code({ROOT / file: text.replace(old, new)}):
        after = training_identity(RECIPE, 0, revisions=["1"], precision="fp32")
    assert (after != before) == counts
