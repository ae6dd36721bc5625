"""Tiny CLIPs with random weights, and a tiny data set in memory: what the tests of methods run on."""

from __future__ import annotations

import copy
import io
import pickle
import tempfile
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import torch
from timm.models import register_model
from torch import Tensor

from benchmark.models.compact import Architecture
from benchmark.models.trunks import ResidualTrunk
from datamodules.common.card import DatasetCard
from datamodules.common.dataset import Dataset, Split, SplitName
from datamodules.common.images import ImageArray
from datamodules.common.module import ForgetSpec
from datamodules.common.request import ForgetRequest
from methods.common.clip import Clip, Scale

SIDE, WIDTH, CONTEXT, VOCABULARY = 32, 16, 16, 512
TEXT = {"context_length": CONTEXT, "width": 32, "heads": 2, "layers": 2}
ARCHITECTURES = {
    "resnet": Architecture(WIDTH, {"layers": [1, 1, 1, 1], "width": 8, "head_width": 32, "image_size": SIDE}, TEXT),
    "vit": Architecture(WIDTH, {"layers": 2, "width": 32, "head_width": 16, "patch_size": 8, "image_size": SIDE}, TEXT),
    "timm": Architecture(
        WIDTH,
        {"timm_model_name": "clip_tiny_trunk", "timm_pool": "", "timm_proj": "linear", "image_size": SIDE},
        TEXT,
    ),
}
NAMES = ("apple", "bus", "cat", "sunflower")
APPLE = ForgetRequest(classes=("apple",))


@register_model
def clip_tiny_trunk(pretrained: bool = False, **_: object) -> ResidualTrunk:
    """A small trunk of the kind that `micro` has."""
    return ResidualTrunk(8, (16, 32))


def words_tokenizer(texts: list[str]) -> Tensor:
    """One id a word (its checksum), then the end of text, which has the largest id as in CLIP; padded with 0."""
    rows = torch.zeros(len(texts), CONTEXT, dtype=torch.long)
    for row, text in zip(rows, texts, strict=True):
        ids = [1 + zlib.crc32(word.encode()) % (VOCABULARY - 2) for word in text.lower().split()]
        ids = [*ids[: CONTEXT - 1], VOCABULARY - 1]
        row[: len(ids)] = torch.tensor(ids)
    return rows


@cache
def _weights(kind: str, seed: int) -> torch.nn.Module:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)  # kept for all tests: also where the first one computes in float64
    try:
        return _drawn(kind, seed)
    finally:
        torch.set_default_dtype(before)


def _drawn(kind: str, seed: int) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ARCHITECTURES[kind].build(vocabulary=VOCABULARY)
        with torch.no_grad():
            model.token_embedding.weight.normal_(std=0.5)
            for module in model.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.weight.uniform_(0.5, 1.5)
                    module.bias.normal_(std=0.1)
                    module.running_mean.normal_(std=0.1)
                    module.running_var.uniform_(0.5, 1.5)
    return model.eval()


class _Pickler(pickle.Pickler):
    """Keeps the tensors of a model beside the pickle, each once."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.tensors: dict[int, Tensor] = {}

    def persistent_id(self, thing: object) -> int | None:
        if not isinstance(thing, Tensor):
            return None
        self.tensors[id(thing)] = thing
        return id(thing)


class _Unpickler(pickle.Unpickler):
    """A model of a pickle, with a copy of each tensor."""

    def __init__(self, file: io.BytesIO, tensors: dict[int, Tensor]) -> None:
        super().__init__(file)
        self.tensors = {number: copy.deepcopy(tensor) for number, tensor in tensors.items()}

    def persistent_load(self, number: int) -> Tensor:
        return self.tensors[number]


@cache
def _pickled(kind: str, seed: int) -> tuple[bytes, dict[int, Tensor]]:
    file = io.BytesIO()
    pickler = _Pickler(file)
    pickler.dump(_weights(kind, seed))
    return file.getvalue(), pickler.tensors


def tiny_clip(kind: str, *, seed: int = 0, scale: Scale = "small") -> Clip:
    """A CLIP of a few thousand weights, in evaluation mode; from a pickle, five times as fast as `copy.deepcopy`."""
    content, tensors = _pickled(kind, seed)
    model = _Unpickler(io.BytesIO(content), tensors).load()
    return Clip(model, words_tokenizer, ARCHITECTURES[kind].image_input, f"tiny-{kind}", scale)


def random_images(count: int, *, seed: int = 0) -> Tensor:
    """Network input, shape (count, 3, SIDE, SIDE)."""
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


class TinyDataset(Dataset):
    """Four classes, 24 train and 8 test images of noise; with `captions`, two captions an image and no labels."""

    card = DatasetCard("tiny", "noise", ("classification", "retrieval"), "generated")

    def __init__(self, *, captions: bool = False, cache_dir: Path | None = None) -> None:
        super().__init__(None, cache_dir or Path(tempfile.gettempdir()), SIDE)
        self.captions = captions

    @property
    def class_names(self) -> tuple[str, ...]:
        return NAMES

    @property
    def concept_names(self) -> tuple[str, ...]:
        return NAMES

    @property
    def templates(self) -> tuple[str, ...]:
        return ("a photo of a {}", "the {} here")

    @property
    def revision(self) -> str:
        return "1"

    def _load(self, name: SplitName) -> Split:
        count = {"train": 24, "val": 8, "test": 8}[name]
        pixels = np.random.default_rng(count).integers(0, 256, (count, 3, SIDE, SIDE), dtype=np.uint8)
        labels = np.arange(count) % len(NAMES)
        images = ImageArray(pixels, name=f"tiny/{name}")
        if not self.captions:
            return Split(name, images, labels)
        words = [NAMES[label] for label in labels]
        texts = tuple((f"one {word} number {i}", f"a big {word} {i}") for i, word in enumerate(words))
        return Split(name, images, None, texts)


def tiny_spec(request: ForgetRequest = APPLE) -> ForgetSpec:
    """The specification of a request on the tiny data set."""
    return ForgetSpec.of(TinyDataset(), request)
