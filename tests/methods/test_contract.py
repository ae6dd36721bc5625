"""What every method of the registry keeps, run under a real Trainer on tiny CLIPs: the contract of its base class."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from tiny import APPLE, TinyDataset, tiny_clip
from torch import Tensor

from datamodules.common import synthetic
from datamodules.common.dataset import Dataset, Split, SplitName
from datamodules.common.errors import BenchmarkError, RegimeViolationError
from datamodules.common.guard import ReadGuard, guarded
from datamodules.common.images import ImageArray
from datamodules.common.module import Retrained, UnlearningDataModule
from methods.common.base import UnlearningMethod
from methods.common.card import resolve
from methods.common.clip import changed_tensors
from methods.common.registry import Registry

KINDS = ("resnet", "vit", "timm")
REGISTRY = Registry()
NAMES = REGISTRY.names()
QUICK = {"batch_size": 4, "max_steps": 3, "iterations": 3, "images": 2, "draws": 2, "threshold": 0.0, "scaling": 0.5}
"""`scaling`: chosen on held-out images it would be 0, since a CLIP with random weights has nothing to forget."""


@dataclass
class Run:
    """One method's run, of its name and architecture, and what it left."""

    asked: tuple[str, str]
    method: UnlearningMethod[Any]
    before: dict[str, Tensor]
    guard: ReadGuard
    sizes: dict[str, int]

    @property
    def changed(self) -> set[str]:
        return set(changed_tensors(self.before, self.method.clip.model.state_dict().items()))


class SmallestDataset(TinyDataset):
    """Two classes, of which every split has one image each."""

    @property
    def class_names(self) -> tuple[str, ...]:
        return super().class_names[:2]

    def _load(self, name: SplitName) -> Split:
        split = super()._load(name)
        assert split.labels is not None
        return Split(name, ImageArray(split.images.read([0, 1]).numpy(), name=f"smallest/{name}"), split.labels[:2])


def unlearn(
    name: str,
    kind: str,
    cache_dir: Path,
    *,
    captions: bool = False,
    seed: int = 0,
    train_mode: bool = False,
    dataset: Dataset | None = None,
) -> Run:
    declaration = REGISTRY.declaration(name)
    clip, dataset = tiny_clip(kind), dataset or TinyDataset(captions=captions, cache_dir=cache_dir)
    clip.model.train(train_mode)
    request = type(APPLE)(concept="apple") if captions else APPLE
    data = UnlearningDataModule(
        dataset,
        request,
        regime=declaration.card.regime,
        preprocessing=clip.preprocessing,
        cache_dir=cache_dir,
        retrained=Retrained(tiny_clip(kind, seed=5).model.state_dict(), 12.0),
    )
    fields = declaration.hyperparameters.__dataclass_fields__
    quick = {key: value for key, value in QUICK.items() if key in fields}
    L.seed_everything(seed, verbose=False)
    hyperparameters = resolve(declaration.hyperparameters, "small", quick)
    method = REGISTRY.method_class(name)(clip, data.spec, hyperparameters)
    data.plan(steps=method.planned_steps(data.sizes), batch_size=method.batch_size())
    before = {n: v.clone() for n, v in clip.model.state_dict().items()}
    with (
        pytest.MonkeyPatch.context() as patch,
        guarded(data.guard()) as guard,
        warnings.catch_warnings(),
    ):
        # A tiny CLIP with random weights takes hundreds of steps to say the name: take what there is.
        patch.setattr(synthetic, "_accepted", lambda model, target, x, threshold: x.new_ones(len(x)).bool())
        warnings.simplefilter("ignore")
        L.Trainer(
            accelerator="cpu",
            max_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        ).fit(method, datamodule=data)
    return Run((name, kind), method, before, guard, dict(data.sizes))


@pytest.fixture(scope="module", params=[(n, k) for n in NAMES for k in KINDS], ids="-".join)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return unlearn(*request.param, tmp_path_factory.mktemp("cache"))


def test_only_declared_entries_change(run: Run) -> None:
    assert {n for n in run.changed if not run.method.may_edit(n)} == set()


def test_something_changes_unless_nothing_is_declared(run: Run) -> None:
    assert bool(run.changed) == (run.method.card.edits != ("nothing",))


def test_batch_norm_statistics_and_temperature_stay(run: Run) -> None:
    moved = [n for n in run.changed if "running_" in n or "num_batches" in n or n == "logit_scale"]
    if run.method.card.regime == "pretraining":
        assert "logit_scale" not in moved, "another training has other statistics, and they belong to its weights"
    else:
        assert not moved


def test_reads_stay_within_the_regime(run: Run) -> None:
    regime = run.method.card.regime
    parts = {"none": set(), "names": set(), "pretraining": {"forget", "retain"}}
    assert set(run.sizes) == parts.get(regime, set(regime.split("+")))
    assert bool(run.guard.items_read) == bool(run.sizes)
    assert run.guard.items_distinct <= sum(run.sizes.values())


def test_weights_stay_finite_and_the_model_in_evaluation_mode(run: Run) -> None:
    assert all(torch.isfinite(v).all() for v in run.method.clip.model.state_dict().values())
    assert not any(module.training for module in run.method.clip.model.modules())


def test_the_clip_still_encodes(run: Run) -> None:
    with torch.no_grad():
        rows = run.method.classifier()
    torch.testing.assert_close(rows.norm(dim=-1), torch.ones(4))


def test_same_seed_same_weights(run: Run, tmp_path: Path) -> None:
    name, kind = run.asked
    if kind != "vit" and name not in ("ccup", "cliperase"):
        pytest.skip("one architecture is enough")
    first, second = (each.method.clip.model.state_dict() for each in (run, unlearn(name, kind, tmp_path)))
    assert all(torch.equal(first[n], second[n]) for n in first)


@pytest.mark.parametrize("name", [n for n in NAMES if REGISTRY.declaration(n).card.regime not in ("none", "names")])
def test_a_concept_of_captions_can_be_unlearned_too(name: str, tmp_path: Path) -> None:
    run = unlearn(name, "vit", tmp_path, captions=True)
    assert run.changed and run.guard.items_read


@pytest.mark.parametrize("name", ["ccup", "finetune_retain", "lip"])
def test_a_model_handed_over_in_training_mode_keeps_its_statistics(name: str, tmp_path: Path) -> None:
    run = unlearn(name, "resnet", tmp_path, train_mode=True)
    assert not [n for n in run.changed if "running_" in n or "num_batches" in n]


@pytest.mark.parametrize("name", NAMES)
def test_one_image_of_each_of_two_classes_is_enough_or_one_line_says_what_is_needed(name: str, tmp_path: Path) -> None:
    try:
        run = unlearn(name, "vit", tmp_path, dataset=SmallestDataset(cache_dir=tmp_path))
    except BenchmarkError as error:
        assert str(error) and "\n" not in str(error)
    else:
        assert all(torch.isfinite(value).all() for value in run.method.clip.model.state_dict().values())
        assert bool(run.sizes) == bool(run.guard.items_read)


@pytest.mark.parametrize("kind", KINDS)
def test_the_logit_mask_refuses_without_an_edit(kind: str, tmp_path: Path) -> None:
    run = unlearn("logit_mask", kind, tmp_path)
    clip = run.method.clip
    assert not run.changed
    assert clip.is_refused(["an apple pie", "a pineapple", "APPLE", "bus"]).tolist() == [True, False, True, False]


def test_a_method_that_reads_beyond_its_regime_is_stopped(tmp_path: Path) -> None:
    from methods.original import Original

    dataset = TinyDataset()

    class Thief(Original):
        def edit(self) -> None:
            dataset.split("train").images.read([1])

    clip = tiny_clip("vit")
    data = UnlearningDataModule(dataset, APPLE, regime="none", preprocessing=clip.preprocessing, cache_dir=tmp_path)
    method = Thief(clip, data.spec, resolve(REGISTRY.declaration("original").hyperparameters, "small", {}))
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    with pytest.raises(RegimeViolationError), guarded(data.guard()):
        trainer.fit(method, datamodule=data)
