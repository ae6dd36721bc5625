"""Training that was killed goes on as if it had not been; retraining leaves out what is to be forgotten."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import ARCHITECTURES, SIDE, TinyDataset

from benchmark.models import compact
from benchmark.models.compact import about_of
from benchmark.pretraining import checkpoint, retrained, train
from benchmark.pretraining.corpus import Augmentation, Corpus, PretrainingBatch, Texts
from benchmark.pretraining.exclusions import exclusions, exclusions_everywhere
from benchmark.pretraining.recipe import MuonSettings, Recipe, Resolution, load_recipe
from benchmark.pretraining.retrained import Retraining, recipe_of
from datamodules.common.errors import UnknownNameError
from datamodules.common.kept_files import replace_sealed
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
        resolutions=(Resolution(SIDE // 2, 0.4),),
        further_cycles=({"epochs": 1.5, "learning_rate": 5e-3, "warmup": 0.3},),
    )


def tiny_recipe_with_muon() -> Recipe:
    muon = MuonSettings("blocks", learning_rate=0.02, momentum=0.95, iterations=5, weight_decay=0.1)
    return replace(tiny_recipe(), resolutions=(), edge_weight=2.0, muon=muon)


def tiny_recipe_of_convolutions() -> Recipe:
    """The kind of `micro`."""
    return replace(
        load_recipe("micro"),
        architecture=ARCHITECTURES["timm"],
        data=("tiny",),
        shares=(6,),
        epochs=2.0,
        batch_size=6,
        resolutions=(Resolution(SIDE * 3 // 4, 0.4),),
        further_cycles=({"epochs": 1.5, "learning_rate": 5e-3, "warmup": 0.3},),
    )


@pytest.fixture(autouse=True)
def tiny_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compact, "TRUNKS", (*compact.TRUNKS, "clip_tiny_trunk"))
    for module in (train, retrained):
        monkeypatch.setattr(module, "open_dataset", lambda *_: TinyDataset())


class Killed(BaseException):
    """What SIGKILL would be, if it could be caught."""


WHOLE: dict[Callable[[], Recipe], dict[str, torch.Tensor]] = {}
"""What each recipe gives undisturbed: trained by the first test that compares with it."""


WITH_MUON = pytest.param(
    tiny_recipe_with_muon,
    marks=pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has its own Muon since 2.9"),
)


@pytest.mark.parametrize("make", [tiny_recipe, WITH_MUON, tiny_recipe_of_convolutions])
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

    if make not in WHOLE:
        WHOLE[make] = go(tmp_path / "whole.safetensors")
        assert seen == list(range(1, 15)), "two epochs and a half of 24 images by 6: 8 + 6 steps"
        assert not (tmp_path / "standing").exists()
    with pytest.raises(Killed):
        go(tmp_path / "killed.safetensors", stop=at)
    seen.clear()
    resumed = go(tmp_path / "killed.safetensors")
    assert seen == list(range(at, 15)), "the step that was killed is made again, those before it are not"
    assert all(torch.equal(resumed[name], value) for name, value in WHOLE[make].items())


def test_a_checkpoint_of_another_training_is_told_and_kept(tmp_path: Path) -> None:
    path, fields = tmp_path / "standing", dict.fromkeys(each.name for each in dataclasses.fields(checkpoint.Standing))
    replace_sealed(path, _saved({"identity": "other", "title": "mini, seed 3", **fields}))
    with pytest.raises(checkpoint.OtherTrainingError, match=r"\(mini, seed 3\), not of this one \(micro, seed 0\)"):
        checkpoint.Checkpoints(path, "mine", "micro, seed 0").load()
    assert path.exists()
    assert checkpoint.Checkpoints(path, "other").load() is not None


def test_a_checkpoint_of_another_version_or_a_damaged_one_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "standing"
    replace_sealed(path, _saved({"identity": "mine", "title": ""}))
    assert checkpoint.Checkpoints(path, "mine").load() is None
    path.write_bytes(b"half a fi")
    assert checkpoint.Checkpoints(path, "mine").load() is None
    assert checkpoint.Checkpoints(None, "mine").load() is None


def _saved(content: dict[str, object]) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def test_batches_after_some_steps_are_those_of_the_whole_run() -> None:
    recipe = tiny_recipe()
    corpus = Corpus(
        [TinyDataset()], _zeros, recipe.architecture.image_input, texts=Texts(()), label_share=(0.5, 0.5), batch_size=6,
        epochs=2.0, augmentation=Augmentation(flip=True, shift=0.1),
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


def test_several_classes_are_left_out_together_images_prompts_and_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(tiny_recipe_of_convolutions(), further_cycles=())
    retraining = Retraining(recipe, None, tmp_path, "cpu")
    both = ForgetRequest(classes=("apple", "bus"))
    prompts: list[int] = []
    step = train.ContrastivePretraining.training_step

    def seen(self: train.ContrastivePretraining, batch: PretrainingBatch, index: int) -> torch.Tensor:
        prompts.extend(len(block.among) for block in batch["blocks"])
        return step(self, batch, index)

    monkeypatch.setattr(train.ContrastivePretraining, "training_step", seen)
    clip, _ = retraining.model(retraining.excluded("tiny", both), 0)
    assert prompts == [2] * 4, "12 images are left of 24, of two classes"
    assert about_of(retraining.path({"tiny": both}, 0))["exclude"] == {"tiny": both.to_dict()}
    assert clip.zero_shot_classifier(["apple", "cat"], ["a photo of a {}."]).isfinite().all()


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


def test_names_are_left_out_of_all_data_sets_or_told() -> None:
    datasets = [TinyDataset(), TinyDataset(captions=True)]
    datasets[1].card = replace(datasets[1].card, name="captioned", tasks=("retrieval",))
    found = exclusions_everywhere(datasets, ["apple", "bus"])
    assert found["tiny"].classes == ("apple", "bus") and set(found["captioned"].words) >= {"apple", "buses"}
    with pytest.raises(UnknownNameError, match=r"class of tiny, captioned 'aple': did you mean 'apple'"):
        exclusions_everywhere(datasets, ["bus", "aple"])


def test_a_class_whose_name_contains_a_forgotten_one_is_left_out_elsewhere() -> None:
    home, beside = TinyDataset(), TinyDataset()
    beside.card = replace(beside.card, name="beside", tasks=("classification",))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TinyDataset, "class_names", ("big apples", "bus", "pineapple", "sunflower"))
        found = exclusions([home, beside], "tiny", ForgetRequest(classes=("bus",)))
        assert found["beside"].classes == ("bus",)
        request = ForgetRequest(classes=("apple",))
        assert exclusions([beside], "tiny", request)["beside"].classes == ("big apples",)


def test_the_recipe_of_a_model_stands_in_its_file() -> None:
    found = recipe_of("shapes-resnet")
    assert found is not None and found.name == "shapes-resnet"
    assert recipe_of("ViT-B-32/openai") is None
    assert SIDE == 32
