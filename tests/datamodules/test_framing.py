"""Pictures of all shapes and kinds become the network input that open_clip's transforms make of them."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from open_clip.transform import image_transform
from PIL import Image

from datamodules.common.images import Framing, Preprocessing, decode_once

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
SHAPES = [(37, 91), (91, 37), (100, 100), (224, 225), (640, 427), (33, 500), (500, 33), (32, 32), (641, 333), (9, 500)]
MODES = ("RGB", "L", "RGBA", "LA", "P", "CMYK", "1")


def picture(size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    """Noise, the same for a size."""
    pixels = np.random.default_rng(sum(size)).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    plain = Image.fromarray(pixels)
    return plain.convert("L").convert("LA") if mode == "LA" else plain.convert(mode)


def network_input(preprocessing: Preprocessing, image: Image.Image) -> torch.Tensor:
    return preprocessing(torch.from_numpy(preprocessing.framing(image).copy())[None])[0]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("resize", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_network_input_is_that_of_open_clip(mode: str, resize: str, interpolation: str) -> None:
    for size, side in itertools.product(SHAPES, (32, 47)):
        theirs = image_transform(
            side, is_train=False, mean=MEAN, std=STD, resize_mode=resize, interpolation=interpolation
        )
        ours = Preprocessing(side, MEAN, STD, resize, interpolation)  # type: ignore[arg-type]
        image = picture(size, mode)
        torch.testing.assert_close(network_input(ours, image), theirs(image), rtol=0, atol=1e-6, msg=f"{size} {side}")


@pytest.mark.parametrize("size", [(3, 999), (999, 3), (2, 1500)])
def test_a_long_strip_is_not_resized_whole_and_gives_nearly_the_same(size: tuple[int, int]) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, size[::-1], dtype=np.uint8))
    theirs = image_transform(32, is_train=False, mean=(0, 0, 0), std=(1, 1, 1))(image)
    ours = network_input(Preprocessing(32, (0, 0, 0), (1, 1, 1)), image)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=8 / 255)
    assert theirs.std() > 0.05


def test_sixteen_bits_are_brought_to_eight() -> None:
    """open_clip cuts them off, which makes most of such a picture white."""
    values = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    square = Framing(64)(Image.fromarray(values))
    assert (square == (values / 257).round().astype(np.uint8)).all() and square.shape == (3, 64, 64)


def test_decoded_files_are_kept_by_framing(tmp_path: Path) -> None:
    picture((40, 80)).save(tmp_path / "a.png")
    arrays = {
        framing: decode_once([tmp_path / "a.png"], framing, tmp_path, name="n", revision="1").read([0]).numpy()[0]
        for framing in (Framing(16), Framing(16, "squash"), Framing(16, interpolation="bilinear"))
    }
    for framing, array in arrays.items():
        assert (array == framing(picture((40, 80)))).all()
    assert len({array.tobytes() for array in arrays.values()}) == 3
    assert (decode_once([tmp_path / "a.png"], 16, tmp_path, name="n", revision="1").read([0])[0].numpy()
            == arrays[Framing(16)]).all()  # fmt: skip
