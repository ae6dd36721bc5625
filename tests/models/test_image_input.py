"""The preprocessing of every configuration of open_clip's registry, from a model and from its transform."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict
from PIL import Image
from torchvision import transforms

from benchmark.models.image_input import TransformError, of_model, of_transform

SIDE = 48


def configurations() -> list[dict[str, Any]]:
    """What the weights tags of the registry say of their images, each once, at one small size."""
    keys = ("mean", "std", "interpolation", "resize_mode")
    found = {
        tuple((key, about[key]) for key in keys if about.get(key))
        for architecture, tag in open_clip.list_pretrained()
        if (about := open_clip.get_pretrained_cfg(architecture, tag)) is not None
    }
    return [merge_preprocess_dict(vars(PreprocessCfg(size=SIDE)), dict(each)) for each in sorted(found, key=str)]


CONFIGURATIONS = configurations()


def model_of(about: dict[str, Any]) -> Any:
    """What a model keeps of its preprocessing, without the model."""
    visual = SimpleNamespace(image_size=(SIDE, SIDE), preprocess_cfg=about, image_mean=None, image_std=None)
    return SimpleNamespace(visual=visual)


def test_the_registry_has_several() -> None:
    ways = {(about["interpolation"], about["resize_mode"]) for about in CONFIGURATIONS}
    assert (
        len(CONFIGURATIONS) >= 5 and {("bilinear", "squash"), ("bicubic", "squash"), ("bilinear", "shortest")} <= ways
    )


@pytest.mark.parametrize("about", CONFIGURATIONS, ids=str)
def test_a_model_s_network_input_is_that_of_its_transform(about: dict[str, Any]) -> None:
    transform = image_transform_v2(PreprocessCfg(**about), is_train=False)
    preprocessing = of_model(model_of(about))
    assert of_transform(transform) == preprocessing
    for size in ((80, 60), (50, 130)):
        pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
        image = Image.fromarray(pixels)
        square = torch.from_numpy(preprocessing.framing(image).copy())
        torch.testing.assert_close(preprocessing(square[None])[0], transform(image), rtol=0, atol=1e-6)


def test_a_model_of_random_weights_keeps_the_usual() -> None:
    model = open_clip.create_model("RN50", pretrained=None, device="meta")
    assert (of_model(model).resize, of_model(model).interpolation) == ("shortest", "bicubic")
    assert of_model(model).image_size == 224


@pytest.mark.parametrize(
    ("about", "word"),
    [
        ({"interpolation": "random"}, "interpolation 'random'"),
        ({"resize_mode": "crop"}, "resize_mode 'crop'"),
        ({"resize_mode": "longest", "fill_color": 255}, "only 0, black"),
    ],
)
def test_what_cannot_be_repeated_is_one_line(about: dict[str, Any], word: str) -> None:
    with pytest.raises(TransformError, match=word):
        of_model(model_of(vars(PreprocessCfg(size=SIDE)) | about))


def test_a_transform_of_one_s_own() -> None:
    normalize = transforms.Normalize((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    bilinear = transforms.InterpolationMode.BILINEAR
    squash = transforms.Compose([transforms.Resize((SIDE, SIDE), bilinear), transforms.ToTensor(), normalize])
    read = of_transform(squash)
    assert (read.image_size, read.resize, read.interpolation) == (SIDE, "squash", "bilinear")
    nearest = transforms.Resize(SIDE, transforms.InterpolationMode.NEAREST)
    with pytest.raises(TransformError, match="nearest"):
        of_transform(transforms.Compose([nearest, transforms.CenterCrop(SIDE), transforms.ToTensor(), normalize]))
