"""The shortcuts of pretraining: they must not change what is learned from, or say so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import CONTEXT, VOCABULARY, tiny_clip, words_tokenizer
from torch import nn
from torch.nn import functional

from benchmark.models.compact import ClipTokenizer
from benchmark.models.registry import recipe_names
from benchmark.pretraining.corpus import Augmentation, Corpus, Texts
from benchmark.pretraining.forward import encode_half_size, encode_smaller, encode_texts
from benchmark.pretraining.recipe import load_recipe
from datamodules.common.registry import open_dataset


@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_cut_texts_have_the_embeddings_and_gradients_of_whole_ones(kind: str) -> None:
    model = tiny_clip(kind).model.train()
    tokens = words_tokenizer(["cat", "a big dog runs over the green hill", "two words", "one two three four"])
    whole = functional.normalize(model.encode_text(tokens), dim=-1)
    cut = encode_texts(model, tokens)
    torch.testing.assert_close(cut, whole, rtol=1e-5, atol=1e-6)
    weights = torch.linspace(-1, 1, whole.numel()).view_as(whole)
    expected = torch.autograd.grad((whole * weights).sum(), model.positional_embedding)[0]
    got = torch.autograd.grad((cut * weights).sum(), model.positional_embedding)[0]
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    assert expected.abs().sum() > 0


def test_cut_texts_of_full_length() -> None:
    model = tiny_clip("resnet").model
    tokens = torch.randint(1, VOCABULARY - 2, (3, CONTEXT))
    tokens[:, -1] = VOCABULARY - 1
    torch.testing.assert_close(encode_texts(model, tokens), functional.normalize(model.encode_text(tokens), dim=-1))


def test_half_size_is_a_tower_with_averaged_positions() -> None:
    model = tiny_clip("vit").model
    images = torch.randn(3, 3, 32, 32)
    table = model.visual.positional_embedding.detach().clone()
    grid = table[1:].view(2, 2, 2, 2, -1).mean(dim=(1, 3)).flatten(0, 1)
    half = functional.avg_pool2d(images, 2)
    tower = model.visual
    tokens = tower.conv1(half).flatten(2).transpose(1, 2)
    tokens = torch.cat([tower.class_embedding.expand(3, 1, -1), tokens], dim=1) + torch.cat([table[:1], grid])
    expected = tower.ln_post(tower.transformer(tower.ln_pre(tokens)))[:, 0] @ tower.proj
    torch.testing.assert_close(encode_half_size(tower, images), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(tower.positional_embedding, table), "the tower's own table stays"


def test_half_size_needs_an_even_grid() -> None:
    with pytest.raises(ValueError, match="even grid"):
        encode_half_size(tiny_clip("resnet").model.visual, torch.randn(2, 3, 32, 32))  # one place only
    with pytest.raises(ValueError, match="position table"):
        encode_half_size(nn.Linear(2, 2), torch.randn(2, 3, 32, 32))


def test_training_at_half_size_moves_the_position_table() -> None:
    visual = tiny_clip("vit").model.train().visual
    encode_half_size(visual, torch.randn(4, 3, 32, 32)).square().sum().backward()
    gradient = visual.positional_embedding.grad
    assert gradient is not None and gradient[1:].abs().sum() > 0


def test_cycles_of_a_recipe() -> None:
    mini, shapes = load_recipe("mini"), load_recipe("shapes-resnet")
    first, *further = mini.cycles()
    assert (first.epochs, first.resolutions) == (mini.epochs, mini.resolutions) and not first.further_cycles
    assert [each.epochs for each in further] == [cycle["epochs"] for cycle in mini.further_cycles]
    assert all(not each.resolutions and each.architecture == mini.architecture for each in further)
    assert len(load_recipe("shapes-vit").cycles()) == 1
    labels, captions = shapes.cycles()
    assert labels.label_share == shapes.label_share and captions.label_share == tuple(
        shapes.further_cycles[0]["label_share"]
    )


def test_a_cycle_may_draw_labels_less_often(tmp_path: Path) -> None:
    recipe = load_recipe("few-shapes")
    corpus = Corpus(
        [open_dataset("few_shapes", None, tmp_path, 64)],
        ClipTokenizer(24),
        recipe.architecture.image_input,
        texts=Texts(()),
        label_share=(1.0, 1.0),
        batch_size=60,
        epochs=1.0,
        augmentation=Augmentation(flip=False, shift=0.0),
    )

    def texts(part: Corpus) -> float:
        return sum(len(batch["tokens"]) for batch in part) / len(part)

    captions = corpus.again(0.25, 0, (0.0, 0.0))
    assert texts(captions) > 50 > 25 > texts(corpus.again(0.25, 0, (1.0, 1.0)))
    assert texts(corpus.after(len(corpus) - 4)) < 25, "the corpus itself stays as it was"


def test_a_tower_without_a_position_table_sees_images_of_any_side() -> None:
    visual, images = tiny_clip("timm").model.visual, torch.randn(2, 3, 32, 32)
    smaller = functional.interpolate(images, size=(20, 20), mode="bilinear", antialias=True)
    torch.testing.assert_close(encode_smaller(visual, images, 20), visual(smaller))
    table = tiny_clip("vit").model.visual
    torch.testing.assert_close(encode_smaller(table, images, 16), encode_half_size(table, images))
    with pytest.raises(ValueError, match="at half their side only"):
        encode_smaller(table, images, 24)


@pytest.mark.parametrize("name", recipe_names())
def test_the_resolutions_of_a_recipe_fit_its_tower(name: str) -> None:
    recipe = load_recipe(name)
    whole = recipe.architecture.image_input.image_size
    assert recipe.side_at(1.0) == whole
    tower = recipe.architecture.build(vocabulary=8).visual
    for part in recipe.resolutions:
        assert recipe.side_at(part.until - 1e-6) == part.side < recipe.side_at(part.until)
        embedded = encode_smaller(tower, torch.randn(2, 3, whole, whole), part.side)
        assert embedded.shape == (2, recipe.architecture.embed_dim)
