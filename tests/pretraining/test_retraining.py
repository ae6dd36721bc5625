"""Training that was killed goes on as if it had not been; retraining leaves out what is to be forgotten."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import ARCHITECTURES, SIDE, TinyDataset

from benchmark.pretraining import checkpoint, retrained, train
from benchmark.pretraining.corpus import Corpus
from benchmark.pretraining.recipe import Recipe, load_recipe
from benchmark.pretraining.retrained import Retraining, exclusions, recipe_of
from datamodules.common.request import ForgetRequest

APPLE = ForgetRequest(classes=("apple",))


def tiny_recipe() -> Recipe:
    return replace(
        load_recipe("shapes-resnet"),
        architecture=ARCHITECTURES["vit"],
        data=("tiny",),
        epochs=2.0,
        batch_size=6,
        learning_rate=1e-2,
        flip=True,
        shift=0.1,
        half_size_share=0.4,
        further_cycles=({"epochs": 1.5, "learning_rate": 5e-3, "warmup": 0.3},),
    )


def tiny_recipe_with_muon() -> Recipe:
    whole_size = {"half_size_share": 0.0, "edge_weight": 2.0, "muon_learning_rate": 0.02}
    return replace(tiny_recipe(), **whole_size)


@pytest.fixture(autouse=True)
def tiny_data(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (train, retrained):
        monkeypatch.setattr(module, "open_dataset", lambda *_: TinyDataset())


class Killed(BaseException):
    """What SIGKILL would be, if it could be caught."""


@pytest.mark.parametrize("make", [tiny_recipe, tiny_recipe_with_muon])
@pytest.mark.parametrize("at", [1, 3, 8, 9, 12])
def test_a_killed_training_goes_on_to_the_same_weights(
    at: int, make: Callable[[], Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "Checkpoints", partial(checkpoint.Checkpoints, every_seconds=0.0))
    recipe, seen = make(), []

    def go(out: Path, stop: int | None = None) -> dict[str, torch.Tensor]:
        def progress(step: int, _: int, __: float) -> None:
            seen.append(step)
            if step == stop:
                raise Killed

        train.pretrain(
            recipe, out, data_dir=None, cache_dir=tmp_path, device="cpu", precision="fp32", progress=progress,
            checkpoint=tmp_path / "standing",
        )  # fmt: skip
        return load_file(out)

    whole = go(tmp_path / "whole.safetensors")
    assert seen == list(range(1, 15)), "two epochs and a half of 24 images by 6: 8 + 6 steps"
    assert not (tmp_path / "standing").exists()
    with pytest.raises(Killed):
        go(tmp_path / "killed.safetensors", stop=at)
    seen.clear()
    resumed = go(tmp_path / "killed.safetensors")
    assert seen == list(range(at, 15)), "the step that was killed is made again, those before it are not"
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


def test_a_checkpoint_of_another_training_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "standing"
    torch.save({"identity": "other"}, path)
    assert checkpoint.Checkpoints(path, "mine").load() is None
    path.write_bytes(b"half a fi")
    assert checkpoint.Checkpoints(path, "mine").load() is None
    assert checkpoint.Checkpoints(None, "mine").load() is None


def test_batches_after_some_steps_are_those_of_the_whole_run() -> None:
    recipe = tiny_recipe()
    corpus = Corpus(
        [TinyDataset()], _zeros, recipe.architecture.image_input, templates=(), label_share=(0.5, 0.5), batch_size=6,
        epochs=2.0, flip=True, shift=0.1,
    )  # fmt: skip
    whole, late = list(corpus), list(corpus.after(5))
    assert (len(whole), len(late), len(corpus.after(5))) == (8, 3, 3)
    for one, other in zip(whole[5:], late, strict=True):
        assert torch.equal(one["images"], other["images"]) and torch.equal(one["text_of"], other["text_of"])
    assert not torch.equal(whole[0]["images"], whole[4]["images"])


def _zeros(texts: list[str]) -> torch.Tensor:
    return torch.arange(len(texts))[:, None].repeat(1, 4)


def test_retraining_is_cached_and_leaves_out_the_class(tmp_path: Path) -> None:
    retraining = Retraining(tiny_recipe(), None, tmp_path, "cpu")
    exclude = retraining.excluded("tiny", APPLE)
    assert exclude == {"tiny": APPLE}
    steps: list[int] = []
    clip, seconds = retraining.model(exclude, 0, progress=lambda step, _, __: steps.append(step))
    assert len(steps) == 3 * 2 + 4 and seconds > 0, "18 images are left of 24"
    again, same = retraining.model(exclude, 0, progress=lambda step, _, __: steps.append(-1))
    assert -1 not in steps and same == seconds
    assert all(torch.equal(value, again.model.state_dict()[name]) for name, value in clip.model.state_dict().items())
    paths = {retraining.path(each, seed) for each in ({}, exclude) for seed in (0, 1)}
    assert len(paths) == 4
    assert recipe_of(str(retraining.path(exclude, 0))) is None, "not the original: it never saw a part"


def test_the_forget_data_is_left_out_of_every_part_of_the_corpus() -> None:
    home, beside, captioned = TinyDataset(), TinyDataset(), TinyDataset(captions=True)
    for each, name in ((beside, "beside"), (captioned, "captioned")):
        each.card = replace(each.card, name=name, tasks=("retrieval",) if name == "captioned" else ("classification",))
    found = exclusions([home, beside, captioned], "tiny", APPLE)
    assert found["tiny"] == APPLE
    assert found["beside"].classes == ("apple",)
    mask = captioned.forget_mask(captioned.split("train"), found["captioned"])
    captions = captioned.split("train").captions
    assert captions is not None
    assert np.array_equal(
        mask, [any("apple" in text.split() or "apples" in text for text in each) for each in captions]
    )


def test_the_recipe_of_a_model_stands_in_its_file() -> None:
    found = recipe_of("shapes-resnet")
    assert found is not None and found.name == "shapes-resnet"
    assert recipe_of("ViT-B-32/openai") is None
    assert SIDE == 32
