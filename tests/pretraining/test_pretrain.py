"""`pretrain` finds out first whether it can write its file, and goes on from where it stood when it was stopped."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from tiny_recipe import TINY
from world import Answer, World, command

from benchmark.models.compact import about_of
from benchmark.pretraining import recipe, train

pytest_plugins = ("world",)
STOP_AT = 7


@pytest.fixture
def pretrain(world: World, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """`pretrain` of a tiny recipe that keeps how far it is after every step."""
    monkeypatch.setattr(recipe, "load_recipe", lambda name: TINY)
    monkeypatch.setattr(train, "Checkpoints", partial(train.Checkpoints, every_seconds=0.0))
    where = ("--cache-dir", world.cache, "--device", "cpu", "--precision", "fp32")
    return lambda out, *options: command("pretrain", "tiny", "--out", out, *where, *options)


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """SIGTERM in the middle of a step; call it to let the training run."""
    step = train.ContrastivePretraining.training_step

    def seventh(self: Any, batch: Any, index: int) -> Any:
        if index == STOP_AT:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch, index)

    monkeypatch.setattr(train.ContrastivePretraining, "training_step", seventh)
    return lambda: monkeypatch.setattr(train.ContrastivePretraining, "training_step", step)


def test_a_stopped_training_goes_on_and_gives_the_model_of_one_that_was_not(
    pretrain: Callable[..., Answer], stopped: Callable[[], None], tmp_path: Path
) -> None:
    out = tmp_path / "model.safetensors"
    answer = pretrain(out)
    assert answer.status == 143 and "run the same command to go on" in answer.err
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("model")] == ["model.safetensors.training"]
    stopped()
    again = pretrain(out)
    assert again.status == 0 and f"goes on after step {STOP_AT} of 12" in again.err, again.err
    assert not out.with_name("model.safetensors.training").exists()
    assert pretrain(tmp_path / "whole.safetensors").status == 0
    one, whole = load_file(out), load_file(tmp_path / "whole.safetensors")
    assert one.keys() == whole.keys() and all(one[name].equal(whole[name]) for name in one)


def test_the_checkpoint_of_another_training_is_told_and_not_lost(
    pretrain: Callable[..., Answer], stopped: Callable[[], None], tmp_path: Path
) -> None:
    out = tmp_path / "model.safetensors"
    checkpoint = out.with_name("model.safetensors.training")
    assert pretrain(out).status == 143
    stopped()
    content = checkpoint.read_bytes()
    answer = pretrain(out, "--seed", 1)
    assert answer.status == 2 and "(tiny, seed 0, fp32), not of this one (tiny, seed 1, fp32)" in answer.error
    assert checkpoint.read_bytes() == content and not out.exists()


def test_names_to_exclude_are_looked_for_in_all_data_sets(
    pretrain: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[Any] = []
    trained = train.pretrain

    def note(*args: Any, **kwargs: Any) -> Any:
        handed.append(kwargs["exclude"])
        return trained(*args, **kwargs)

    monkeypatch.setattr(train, "pretrain", note)
    out = tmp_path / "model.safetensors"
    assert pretrain(out, "--exclude", "star, ring").status == 0
    assert set(handed[0]["shapes"].classes) == {"star", "ring"}
    assert about_of(out)["exclude"] == {"shapes": handed[0]["shapes"].to_dict()}
    answer = pretrain(tmp_path / "other.safetensors", "--exclude", "stair")
    assert answer.status == 2 and "unknown class of shapes 'stair': did you mean 'star'" in answer.error


def test_a_data_folder_without_one_of_the_data_sets_is_told(tmp_path: Path) -> None:
    where = ("--data-dir", tmp_path, "--cache-dir", tmp_path / "cache", "--out", tmp_path / "model.safetensors")
    answer = command("pretrain", "micro", *where)
    assert answer.status == 2 and "data set 'cifar100'" in answer.error and "download cifar100" in answer.error


def test_a_target_that_cannot_be_written_is_found_before_any_step(
    pretrain: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "pretrain", lambda *_, **__: pytest.fail("a step was taken"))
    assert "is a folder, not a file" in pretrain(tmp_path).error
    assert "no folder" in pretrain(tmp_path / "none" / "model.safetensors").error
    (tmp_path / "file").write_text("")
    assert "--out" in pretrain(tmp_path / "file" / "model.safetensors").error
    assert "--out" in pretrain(tmp_path / ("x" * 300)).error
