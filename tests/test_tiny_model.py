"""The small world's model is the same everywhere, and right by margins that no processor's rounding reaches."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tiny_model import SETS
from torch import Tensor
from world import small_world

from benchmark.models.compact import load_compact
from datamodules.common.registry import open_dataset
from datamodules.shapes_world.vocabulary import TEMPLATES, VOCABULARY

pytest_plugins = ("world",)

WEIGHTS = "9e301b1b243113a6fc02aa4eed3c8961057a2727685f23eee9d771d4509a2281"
DISTURBANCE = 1e-6
"""Of every pixel, in parts of it: ten times what float32 rounds."""


def test_it_is_the_same_to_the_last_bit(tiny_world: SimpleNamespace) -> None:
    digest = hashlib.sha256()
    for name, value in sorted(load_file(tiny_world.model).items()):
        digest.update(name.encode() + value.contiguous().numpy().tobytes())
    assert digest.hexdigest() == WEIGHTS


@pytest.mark.parametrize(("dataset", "attribute"), SETS.items())
def test_it_names_every_image_and_rounding_changes_no_name(
    tiny_world: SimpleNamespace, tmp_path: Path, dataset: str, attribute: str
) -> None:
    with small_world():
        clip = load_compact(tiny_world.model, "tiny")
        split = open_dataset(dataset, None, tmp_path, 32).split("test")
        images = clip.preprocessing(split.images.read(range(len(split.images))))
    labels = torch.from_numpy(split.labels)
    classes = clip.zero_shot_classifier(VOCABULARY[attribute], TEMPLATES[attribute])

    def cosines(of: Tensor) -> Tensor:
        return F.normalize(clip.encode_image(of), dim=-1) @ classes.T

    with torch.no_grad():
        plain = cosines(images)
        noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
        change = (cosines(images * (1 + DISTURBANCE * noise)) - plain).abs().max()
    best = plain.topk(2).values
    assert torch.equal(plain.argmax(dim=1), labels)
    assert (best[:, 0] - best[:, 1]).min() > 100 * change
