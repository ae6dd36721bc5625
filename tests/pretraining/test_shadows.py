"""Shadow models: trained once, on the images that they say, and never taken for a model of the recipe."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from tiny import ARCHITECTURES
from world import small_world

from benchmark.pretraining import shadows
from benchmark.pretraining.corpus import Corpus
from benchmark.pretraining.recipe import Recipe, load_recipe
from benchmark.pretraining.retrained import recipe_of
from benchmark.pretraining.shadows import ShadowModels
from datamodules.common.errors import BenchmarkError


def tiny_recipe(data: str) -> Recipe:
    recipe = load_recipe("few-shapes")
    return replace(recipe, architecture=ARCHITECTURES["vit"], data=(data,), epochs=0.25, batch_size=8)


@pytest.fixture(autouse=True)
def tiny_world() -> Iterator[None]:
    with small_world(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(shadows, "COUNT", 2)
        yield


def test_a_model_is_trained_once_on_its_own_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = ShadowModels(tiny_recipe("few_shapes"), None, tmp_path)
    seen: list[int] = []
    made = Corpus.__iter__

    def watched(corpus: Corpus) -> object:
        seen.append(len(corpus.items))
        return made(corpus)

    monkeypatch.setattr(Corpus, "__iter__", watched)
    first, second = models.model(0), models.model(1)
    assert seen == [models.pools["few_shapes"].seen] * 2
    assert models.path(0) != models.path(1)
    with safe_open(models.path(1), framework="pt") as stored:
        about = json.loads(stored.metadata()["about"])
    assert about["data"] == [models.dataset("few_shapes", 1).revision] and about["seed"] == shadows.FIRST_SEED + 1
    states = first.model.state_dict(), second.model.state_dict()
    assert not torch.equal(states[0]["text_projection"], states[1]["text_projection"])
    again = ShadowModels(tiny_recipe("few_shapes"), None, tmp_path).model(0)
    assert len(seen) == 2
    assert all(torch.equal(value, states[0][name]) for name, value in again.model.state_dict().items())


def test_the_images_of_a_model_are_those_that_it_says(tmp_path: Path) -> None:
    models = ShadowModels(tiny_recipe("few_shapes"), None, tmp_path)
    pool = models.pools["few_shapes"]
    for number in range(2):
        split = models.dataset("few_shapes", number).split("train")
        rows = models.contained["few_shapes"][number].nonzero()[0]
        everything = pool.choose(torch.arange(pool.size).numpy(), "pool").split("train").images
        assert torch.equal(split.images.read(range(len(rows))), everything.read(rows))


def test_a_shadow_model_is_no_model_of_the_recipe(tmp_path: Path) -> None:
    models = ShadowModels(tiny_recipe("few_shapes"), None, tmp_path)
    models.model(0)
    assert recipe_of("few-shapes") is not None
    assert recipe_of(str(models.path(0))) is None


def test_a_recipe_whose_images_cannot_be_drawn_says_so(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="no further images of data set 'shapes_colours'"):
        _ = ShadowModels(tiny_recipe("shapes_colours"), None, tmp_path).pools
