"""What a recipe may say: fields and their values, the batches and losses that they make, where a training starts."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import ARCHITECTURES, SIDE, TinyDataset, random_images
from torch import Tensor, nn
from torch.nn import functional

from benchmark.models.registry import RECIPES
from benchmark.pretraining import train
from benchmark.pretraining.corpus import Augmentation, Corpus, PretrainingBatch
from benchmark.pretraining.muon import FilterMuon, orthogonal
from benchmark.pretraining.optimizers import filters, make_optimizer, rise_and_fall
from benchmark.pretraining.recipe import Recipe, Resolution, load_recipe, parse_recipe
from benchmark.pretraining.stem import whiten_stem
from benchmark.pretraining.train import loss_in_blocks
from datamodules.common.documents import load_yaml
from datamodules.common.errors import BenchmarkError
from datamodules.common.request import ForgetRequest

MICRO = load_recipe("micro")
APPLE = {"tiny": ForgetRequest(classes=("apple",)), "captioned": ForgetRequest(concept="apple")}


def content(**changes: Any) -> dict[str, Any]:
    return {**load_yaml(RECIPES / "micro.yaml"), **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"speed": 3}, "unknown key 'speed'"),
        ({"muon": {**content()["muon"], "speed": 1}}, "muon: unknown key 'speed'"),
        ({"muon": {"learning_rate": 0.1}}, "the key 'parameters' is missing in muon"),
        ({"muon": 0.1}, "muon must be a mapping, not 0.1"),
        ({"muon": {**content()["muon"], "parameters": "all"}}, "muon.parameters is 'all': use blocks or convolutions"),
        ({"resolutions": [{"side": 24}]}, "the key 'until' is missing in resolutions[0]"),
        ({"resolutions": [{"side": 48, "until": 0.5}]}, "resolutions need sides of 1 to 32 pixels"),
        ({"resolutions": [{"side": 16, "until": 0.7}, {"side": 24, "until": 0.5}]}, "rising shares of the steps"),
        ({"shares": [410, 64]}, "shares [410, 64] must be one number a data set that add up to 512"),
        ({"shares": [410, 64, 39]}, "must be one number a data set that add up to 512"),
        ({"template_weights": [1.0]}, "template_weights must be one number a template: 3"),
        ({"label_loss": "class"}, "label_loss is 'class': use pairs or classes"),
        ({"label_smoothing": 1.0}, "label_smoothing must be less than 1.0, not 1.0"),
        ({"border": "black"}, "border is 'black': use edge or reflect"),
        ({"batch_size": "512"}, "batch_size must be a whole number, not '512'"),
        ({"further_cycles": [{"epochs": 2.0}]}, "the key 'learning_rate' is missing in further_cycles[0]"),
        ({"further_cycles": [{"epochs": 2, "learning_rate": 1, "warmup": 0, "size": 3}]}, "unknown key 'size'"),
        ({"architecture": {"embed_dim": "wide", "vision": {}, "text": {}}}, "architecture.embed_dim must be a whole"),
        ({"decay": "step"}, "decay is 'step': use cosine or linear"),
        ({"edge_weight": 1.0}, "edge_weight needs images at their whole size"),
    ],
)
def test_a_wrong_field_is_told_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BenchmarkError) as caught:
        parse_recipe("micro", content(**changes))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_field_is_told_and_one_with_a_default_may_be_left_out() -> None:
    without = content()
    del without["epochs"]
    with pytest.raises(BenchmarkError, match="the key 'epochs' is missing"):
        parse_recipe("micro", without)
    short = {name: value for name, value in content().items() if name not in ("muon", "shares", "border")}
    recipe = parse_recipe("micro", short)
    assert recipe.muon is None and recipe.shares == () and recipe.border == "edge"
    assert MICRO.values() != recipe.values() == replace(recipe, title="other").values()


# -- batches and losses ----------------------------------------------------------------------------------------

GOLDEN = {
    "vit": ("c77afcc6e6ad7f7d", (2.1134138, 1.8320472, 1.8590837, 1.9129553, 1.7948279, 1.8354025)),
    "resnet": ("73760980423c4d08", (2.6601067, 2.9073758, 3.6224303, 2.4197795, 2.0910637, 2.6405284)),
}
"""The digest of the batches and the losses of the first steps, before recipes could say more than `mini` does."""


@pytest.mark.parametrize(("kind", "captions"), [("vit", False), ("resnet", True)])
def test_a_recipe_that_says_no_more_trains_as_it_did(
    kind: str, captions: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(
        load_recipe("mini"), architecture=ARCHITECTURES[kind], data=("tiny",), epochs=2.0, batch_size=6,
        learning_rate=1e-2, further_cycles=(), resolutions=(Resolution(SIDE // 2, 0.5),) if kind == "vit" else (),
    )  # fmt: skip
    digest, losses = hashlib.sha256(), list[float]()
    step = train.ContrastivePretraining.training_step

    def seen(self: Any, batch: Any, index: int) -> Any:
        for name in ("images", "tokens", "text_of"):
            digest.update(batch[name].contiguous().numpy().tobytes())
        return step(self, batch, index)

    monkeypatch.setattr(train.ContrastivePretraining, "training_step", seen)
    train.pretrain(
        recipe, tmp_path / "model.safetensors", data_dir=None, cache_dir=tmp_path, device="cpu", precision="fp32",
        progress=lambda _, __, loss: losses.append(loss), datasets=[TinyDataset(captions=captions)],
    )  # fmt: skip
    wanted, first = GOLDEN[kind]
    assert digest.hexdigest()[:16] == wanted
    assert losses[:2] == pytest.approx(first[:2], rel=1e-4)
    assert losses[2:6] == pytest.approx(first[2:], rel=0.02), "rounding of another processor grows from step to step"


def mixed(*, exclude: dict[str, ForgetRequest] | None = None, **changes: Any) -> tuple[Corpus, list[str]]:
    """A corpus of labelled and captioned images, and its texts by row."""
    datasets = [TinyDataset(), TinyDataset(captions=True)]
    datasets[1].card = replace(datasets[1].card, name="captioned")
    recipe = replace(MICRO, data=("tiny", "captioned"), shares=(5, 3), batch_size=8, epochs=1.5, **changes)
    texts: list[str] = []

    def tokenize(every: list[str]) -> Tensor:
        texts.extend(every)
        return torch.arange(len(every))[:, None].repeat(1, 4)

    return Corpus.of(recipe, datasets, tokenize, exclude=exclude), texts


def test_shares_of_a_batch_are_fixed_and_no_image_comes_again_before_all_have() -> None:
    corpus, _ = mixed()
    read: list[np.ndarray] = []
    make = corpus._make
    corpus._make = lambda batch, *rest: (read.append(batch), make(batch, *rest))[1]  # type: ignore[method-assign]
    batches = list(corpus)
    assert len(batches) == corpus.steps == 48 * 3 // 2 // 8
    assert all([int((batch[:, 0] == n).sum()) for n in (0, 1)] == [5, 3] for batch in read)
    for number, share in ((0, 5), (1, 3)):
        items = np.concatenate([batch[batch[:, 0] == number, 1] for batch in read])
        first = items[:24] if len(items) >= 24 else items
        assert len(set(first.tolist())) == len(first) >= min(24, share * corpus.steps)
    late = list(mixed()[0].after(5))
    assert all(torch.equal(a["images"], b["images"]) for a, b in zip(batches[5:], late, strict=True))


@pytest.mark.parametrize("exclude", [None, APPLE])
def test_labelled_images_are_told_from_all_prompts_that_are_left(exclude: dict[str, ForgetRequest] | None) -> None:
    corpus, texts = mixed(exclude=exclude)
    names = ["apple", "bus", "cat", "sunflower"][0 if exclude is None else 1 :]
    for batch in corpus:
        labelled, captioned = batch["blocks"]
        assert (labelled.first, labelled.stop, captioned.first, captioned.stop) == (0, 5, 5, 8)
        rows = batch["tokens"][:, 0]
        among = [texts[row] for row in rows[labelled.among]]
        templates = {text.replace(name, "{}") for text, name in zip(among, names, strict=True)}
        assert len(templates) == 1 and templates <= set(MICRO.templates)
        assert torch.equal(labelled.among[labelled.target], batch["text_of"][:5])
        assert not len(captioned.among)
        captions = [texts[row] for row in rows[batch["text_of"][5:]]]
        assert all(text.split()[0] in ("one", "a") for text in captions)
        assert exclude is None or not [text for text in (*among, *captions) if "apple" in text]


def test_templates_are_drawn_as_often_as_the_recipe_says() -> None:
    corpus, texts = mixed(template_weights=(0.0, 0.0, 1.0))
    prompts = {texts[row] for batch in corpus for row in batch["tokens"][batch["blocks"][0].among][:, 0]}
    assert prompts == {"apple", "bus", "cat", "sunflower"}


def test_the_loss_in_blocks_is_the_mean_over_images_of_each_block() -> None:
    corpus, _ = mixed()
    batch: PretrainingBatch = next(iter(corpus))
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(8, 16, generator=generator)
    text = functional.normalize(torch.randn(len(batch["tokens"]), 16, generator=generator), dim=-1)
    unit, scale, labelled = functional.normalize(image, dim=-1), torch.tensor(7.0), batch["blocks"][0]
    wanted = 0.0
    for row in range(5):
        logs = (7 * text[labelled.among] @ unit[row]).log_softmax(0)
        wanted -= 0.9 * float(logs[labelled.target[row]]) + 0.1 * float(logs.mean())
    pairs = 7 * unit[5:] @ text[batch["text_of"][5:]].T
    for logits in (pairs, pairs.T):
        wanted -= float(logits.log_softmax(1).diagonal().sum()) / 2
    assert float(loss_in_blocks(image, text, scale, batch, smoothing=0.1)) == pytest.approx(wanted / 8, rel=1e-5)


def test_a_shift_with_a_reflected_border_is_a_crop_of_the_padded_image() -> None:
    images = torch.arange(2 * 3 * 16 * 16, dtype=torch.float32).view(2, 3, 16, 16)
    padded = functional.pad(images, (2, 2, 2, 2), mode="reflect")
    crops = [padded[:, :, down : down + 16, right : right + 16] for down in range(5) for right in range(5)]
    random = np.random.default_rng(0)
    for _ in range(10):
        shifted = Augmentation(flip=False, shift=2 / 16, border="reflect")(images.clone(), random)
        for item in range(2):
            assert any(torch.equal(shifted[item], crop[item]) for crop in crops)


# -- where a training starts, and how it moves --------------------------------------------------------------------


def micro_model() -> Any:
    torch.manual_seed(0)
    return MICRO.architecture.build(vocabulary=7861)


def test_the_size_of_micro() -> None:
    model = micro_model()
    assert sum(p.numel() for p in model.visual.trunk.parameters()) == pytest.approx(1.62e6, rel=2e-3)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(3.14e6, rel=2e-3)
    assert [*model.visual.trunk.blocks(torch.randn(1, 32, 32, 32)).shape] == [1, 320, 4, 4]
    assert model.visual.trunk(torch.randn(2, 3, 23, 23)).shape == (2, 320), "any side, odd ones too"


def test_a_whitened_stem_gives_uncorrelated_outputs_of_both_signs() -> None:
    visual, images = micro_model().visual, functional.avg_pool2d(random_images(64), 2)
    whiten_stem(visual, images)
    weight = visual.trunk.stem.weight.detach()
    assert torch.allclose(weight[0::2], -weight[1::2], atol=1e-6)
    inside = functional.conv2d(images, weight[0::2]).transpose(0, 1).flatten(1)
    torch.testing.assert_close(inside.cov(), torch.eye(16), atol=0.05, rtol=0)
    with pytest.raises(ValueError, match="whitened_stem needs a first convolution"):
        whiten_stem(nn.Sequential(nn.Conv2d(3, 7, 3)), images)


@pytest.mark.parametrize("shape", [(8, 40), (40, 8), (16, 16)])
def test_newton_schulz_makes_a_matrix_orthogonal_and_turns_nothing(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = orthogonal(matrix, 9)
    sizes = torch.linalg.svdvals(found)
    assert float(sizes.min()) > 0.6 and float(sizes.max()) < 1.3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    assert torch.allclose(left.T @ found @ right.T, torch.diag((left.T @ found @ right.T).diagonal()), atol=1e-4)


def test_filters_keep_their_length_and_move_by_the_rate() -> None:
    weight = nn.Parameter(torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0)))
    muon = FilterMuon([weight], lr=0.1, momentum=0.8, iterations=3, weight_decay=0.0)
    start = weight.detach() * math.sqrt(6) / weight.detach().norm()
    weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    gradient = weight.grad.clone()
    muon.step()
    moved = (weight.detach() - start).flatten(1)
    torch.testing.assert_close(moved, -0.1 * orthogonal(1.8 * gradient.flatten(1), 3))
    muon.step()
    with torch.no_grad():
        twice = weight + 0.1 * orthogonal((1 + 0.8 * 1.8) * gradient.flatten(1), 3).view(weight.shape)
    assert float(twice.norm()) == pytest.approx(math.sqrt(6), rel=1e-4), "scaled before each step"


def test_muon_gets_the_filters_but_the_stem_and_vectors_have_a_rate_of_their_own() -> None:
    model = micro_model()
    muon, adamw = make_optimizer(model, MICRO).parts  # type: ignore[attr-defined]
    name_of = {id(p): name for name, p in model.named_parameters()}
    by_muon = sorted(name_of[id(p)] for group in muon.param_groups for p in group["params"])
    convolutions = {name for name, p in model.named_parameters() if p.ndim == 4}
    assert by_muon == sorted(convolutions - {"visual.trunk.stem.weight"}) and len(by_muon) == 9 == len(filters(model))
    by_adamw = [name_of[id(p)] for group in adamw.param_groups for p in group["params"]]
    assert sorted([*by_muon, *by_adamw]) == sorted(name_of.values())
    matrices, vectors = adamw.param_groups
    assert (matrices["lr"], matrices["weight_decay"]) == (2e-3, 0.05)
    assert (vectors["lr"], vectors["weight_decay"]) == (4e-3, 0.0)
    assert "logit_scale" in {name_of[id(p)] for p in vectors["params"]}


def test_a_linear_decay_is_a_line() -> None:
    factors = [rise_and_fall(step, steps=10, warmup=0.2, decay="linear") for step in range(2, 11)]
    assert factors == pytest.approx([1 - step / 8 for step in range(9)])


def test_a_training_starts_at_the_scale_and_stem_of_its_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    monkeypatch.setattr(train, "_fit", lambda model, *_: (started.append(model), (0.0, 0))[1])
    recipe: Recipe = replace(MICRO, data=("tiny",), shares=(8,), batch_size=8, epochs=1.0)
    for given in (recipe, replace(recipe, whitened_stem=False, logit_scale=None)):
        train.pretrain(
            given, tmp_path / "m.safetensors", data_dir=None, cache_dir=tmp_path, device="cpu", precision="fp32",
            datasets=[TinyDataset()],
        )  # fmt: skip
    first, second = (model.visual.trunk.stem.weight for model in started)
    assert torch.allclose(first[0::2], -first[1::2], atol=1e-6) and not torch.allclose(second[0::2], -second[1::2])
    assert [float(model.logit_scale.detach().exp()) for model in started] == pytest.approx([20.0, 1 / 0.07], rel=1e-5)
