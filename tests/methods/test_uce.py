"""UCE against a least-squares solver, its identity with CCUP, and the text projection that it edits."""

from __future__ import annotations

import dataclasses

import open_clip
import pytest
import torch
import torch.nn.functional as F
from tiny import NAMES, TEXT, VOCABULARY, WIDTH, random_images, tiny_clip, tiny_spec, words_tokenizer
from torch import Tensor

from datamodules.common.images import Preprocessing
from datamodules.common.module import NameSet
from methods.ccup import consistent_projection
from methods.common.clip import Clip, changed_tensors
from methods.common.projections import NoProjectionError, text_features, text_projection
from methods.common.zero_shot import prompts
from methods.uce import UCE, Hyperparameters, unified_edit

TEMPLATES = tiny_spec().templates
STRONG = Hyperparameters(identity_weight=1e-7)


def columns(rows: int, count: int, seed: int) -> Tensor:
    return torch.randn(rows, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def edited(clip: Clip, hyperparameters: Hyperparameters, **changes: object) -> Clip:
    method = UCE(clip, dataclasses.replace(tiny_spec(), **changes), hyperparameters)
    with torch.no_grad():
        method.edit()
    return clip


def separate_text_clip(*, bias: bool) -> Clip:
    """A `CustomTextCLIP`, whose text encoder is a module of its own."""
    text = open_clip.CLIPTextCfg(vocab_size=VOCABULARY, proj_bias=bias, **TEXT)
    vision = open_clip.CLIPVisionCfg(layers=1, width=32, head_width=16, patch_size=8, image_size=32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.CustomTextCLIP(WIDTH, vision, text).eval()
        model.text.token_embedding.weight.data.normal_(std=0.5)
        if bias:
            model.text.text_projection.bias.data.normal_()
    return Clip(model, words_tokenizer, Preprocessing(32), "separate")


@pytest.mark.parametrize("weights", [(0.5, 1.0, 1.0), (2.0, 0.3, 5.0), (0.1, 4.0, 0.0)])
@pytest.mark.parametrize(("forget", "retain"), [(1, 3), (2, 9), (2, 0)])
def test_closed_form_is_the_least_squares_solution(weights: tuple, forget: int, retain: int) -> None:
    i, e, p = (weight**0.5 for weight in weights)
    old, erase, targets, preserve = (
        columns(4, 6, 1),
        columns(6, forget, 2),
        columns(4, forget, 3),
        columns(6, retain, 4),
    )
    keys = torch.cat([i * torch.eye(6).double(), e * erase, p * preserve], dim=1)
    values = torch.cat([i * old, e * targets, p * old @ preserve], dim=1)
    wanted = torch.linalg.lstsq(keys.T, values.T).solution.T
    found = unified_edit(old, erase=erase, targets=targets, preserve=preserve, weights=weights)
    torch.testing.assert_close(found, wanted)


def test_old_weight_identity_and_target_zero_is_ccup() -> None:
    forget, retain = (F.normalize(columns(8, count, seed), dim=0) for count, seed in ((2, 5), (5, 6)))
    found = unified_edit(
        torch.eye(8), erase=forget, targets=torch.zeros(8, 2), preserve=retain, weights=(1.0, 100.0, 10.0)
    )
    torch.testing.assert_close(found, consistent_projection(forget, retain, forget_weight=100, retain_weight=10))


@pytest.mark.parametrize("chosen", ["empty", "mean"])
@torch.no_grad()
def test_a_strong_edit_gives_forgotten_names_the_neutral_class_weight_and_keeps_the_others(chosen: str) -> None:
    clip = tiny_clip("vit")
    before, neutral = (clip.zero_shot_classifier(names, TEMPLATES) for names in (NAMES, [""]))
    if chosen == "mean":
        by_template = [torch.stack([clip.encode_text([t.format(n)])[0] for n in NAMES[1:]]).mean(0) for t in TEMPLATES]
        neutral = F.normalize(F.normalize(torch.stack(by_template), dim=-1).mean(0, keepdim=True), dim=-1)
    image = clip.encode_image(random_images(2))
    edited(clip, dataclasses.replace(STRONG, neutral=chosen))
    after = clip.zero_shot_classifier(NAMES, TEMPLATES)
    torch.testing.assert_close(after[:1], neutral, atol=1e-4, rtol=0)
    torch.testing.assert_close(after[1:], before[1:], atol=1e-4, rtol=0)
    assert (after[0] - before[0]).norm() > 0.1
    assert torch.equal(clip.encode_image(random_images(2)), image)


def test_only_the_text_projection_changes() -> None:
    clip = tiny_clip("resnet")
    before = {n: v.clone() for n, v in clip.model.state_dict().items()}
    edited(clip, Hyperparameters())
    assert set(changed_tensors(before, clip.model.state_dict().items())) == {"text_projection"}


def test_other_data_sets_names_are_preserved_if_asked_for() -> None:
    beside = (NameSet(("red", "blue"), ("a {} shape",)),)
    moved = {}
    for chosen in ("all", "dataset", "none"):
        clip = tiny_clip("vit")
        before = torch.cat(
            [clip.zero_shot_classifier(n, t) for n, t in ((NAMES[1:], TEMPLATES), (("red", "blue"), ("a {} shape",)))]
        )
        edited(clip, dataclasses.replace(STRONG, preserve_names=chosen), others=beside)
        after = torch.cat(
            [clip.zero_shot_classifier(n, t) for n, t in ((NAMES[1:], TEMPLATES), (("red", "blue"), ("a {} shape",)))]
        )
        moved[chosen] = (after - before).norm(dim=1).detach()
    assert moved["all"].max() < 1e-3
    assert moved["dataset"][:3].max() < 1e-3 < moved["dataset"][3:].min()
    assert moved["none"].min() > 1e-3


@pytest.mark.parametrize("clip", [tiny_clip("vit"), separate_text_clip(bias=False), separate_text_clip(bias=True)])
def test_features_times_matrix_plus_bias_are_the_embedding(clip: Clip) -> None:
    projection, texts = text_projection(clip), ["a cat", "two big sunflowers"]
    rebuilt = text_features(clip, texts) @ projection.matrix.double()
    if projection.bias is not None:
        rebuilt = rebuilt + projection.bias.double()
    torch.testing.assert_close(rebuilt, clip.encode_text(texts).double(), atol=1e-5, rtol=1e-4)
    assert set(projection.state_names) <= set(clip.model.state_dict())


@pytest.mark.parametrize("bias", [False, True])
def test_an_encoder_of_its_own_is_edited_too(bias: bool) -> None:
    clip = separate_text_clip(bias=bias)
    neutral = clip.zero_shot_classifier([""], TEMPLATES).detach()
    edited(clip, STRONG)
    torch.testing.assert_close(clip.zero_shot_classifier(NAMES[:1], TEMPLATES), neutral, atol=1e-4, rtol=0)


def test_an_encoder_without_a_projection_is_told() -> None:
    clip = tiny_clip("vit")
    clip.model.text_projection = None
    with pytest.raises(NoProjectionError, match="tiny-vit"):
        text_projection(clip)


def test_the_neutral_prompt_is_the_template_without_a_name() -> None:
    assert prompts(["cat", ""], ["a photo of a {}.", "the {} here"]) == [
        "a photo of a cat.",
        "the cat here",
        "a photo of a .",
        "the here",
    ]
