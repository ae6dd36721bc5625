"""Images as uint8 arrays: decoded and resized once, memory-mapped, turned into network input in batches."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from datamodules.common.cache import cached_rows
from datamodules.common.documents import DocumentError, regular_file
from datamodules.common.errors import UnreadableImageError
from datamodules.common.guard import Indices, check_read
from datamodules.common.kept_files import new_file
from datamodules.common.text import one_line

if TYPE_CHECKING:
    from torch import Tensor

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
DECODED_AT_ONCE = 256


Interpolation = Literal["bicubic", "bilinear"]
ResizeMode = Literal["shortest", "squash", "longest"]
LONGEST_STRIP = 64
"""Of pictures whose sides differ by more than that only the middle is resized, which is all that is kept: a strip of
30,000 x 2 pixels would grow to 3 gigabytes. Some of their pixels differ from open_clip's by rounding."""


@dataclass(frozen=True)
class Framing:
    """How a picture of any shape becomes a square, as torchvision and open_clip do it.

    Attributes:
        side: Of the square, in pixels.
        resize: "shortest": the shorter side becomes `side`, and the centre is cropped. "squash": both sides do,
            whatever the shape. "longest": the longer side does, and the rest is black.
        interpolation: Antialiased.
    """

    side: int
    resize: ResizeMode = "shortest"
    interpolation: Interpolation = "bicubic"

    @classmethod
    def of(cls, wanted: int | Framing) -> Framing:
        """A framing, or the usual one of a side."""
        return wanted if isinstance(wanted, Framing) else cls(wanted)

    def __call__(self, picture: Image.Image) -> NDArray[np.uint8]:
        """The square: uint8, shape (3, side, side).

        What is no 8-bit RGB is converted after it was resized, as in open_clip: transparency is dropped, orientation
        in EXIF is not read. Pictures of 16 bits, which that would make white, are brought to 8 before.

        Raises:
            ValueError: If its pixels have no 8-bit colour: see `pixel_problem`.
        """
        import torchvision.transforms.v2.functional as tvf

        if problem := pixel_problem(picture):
            raise ValueError(problem)
        picture = _eight_bits(picture)
        way = tvf.InterpolationMode(self.interpolation)
        short, long = sorted(picture.size)
        if self.resize == "squash":
            square = tvf.resize(picture, [self.side, self.side], way)
        elif self.resize == "shortest" and long > LONGEST_STRIP * short:
            square = self._middle(picture)
        else:
            if self.resize == "shortest":
                resized = tvf.resize(picture, [self.side], way)
            else:
                width, height = (max(1, round(side * self.side / long)) for side in picture.size)
                resized = tvf.resize(picture, [height, width], way)
            square = tvf.center_crop(resized, [self.side, self.side])
        return np.asarray(square.convert("RGB")).transpose(2, 0, 1)

    def _middle(self, picture: Image.Image) -> Image.Image:
        """What the centre crop keeps of a long strip, resized alone."""
        short, long = sorted(picture.size)
        resized = int(self.side * long / short)
        start = round((resized - self.side) / 2)
        ends = start * long / resized, (start + self.side) * long / resized
        wide = picture.width == long
        box = (ends[0], 0.0, ends[1], float(short)) if wide else (0.0, ends[0], float(short), ends[1])
        return picture.resize((self.side, self.side), Image.Resampling[self.interpolation.upper()], box=box)


def pixel_problem(picture: Image.Image) -> str:
    """Why the values of a picture cannot be brought to 8 bits a channel; empty where they can."""
    if picture.mode == "F":
        return "its pixels are real numbers of no stated range: save it with 8 bits a channel"
    if picture.mode in ("LAB", "La", "RGBa"):
        return f"its pixels are of the mode {picture.mode}: save it as RGB"
    if picture.mode == "I" and np.asarray(picture).max(initial=0) > 65535:
        return "its pixels have more than 16 bits: save it with 8 bits a channel"
    return ""


def _eight_bits(picture: Image.Image) -> Image.Image:
    """A picture of 16-bit grey values brought to 8 bits; all others as they are."""
    if not picture.mode.startswith("I"):
        return picture
    return Image.fromarray((np.asarray(picture).clip(0, 65535) / 257).round().astype(np.uint8))


@dataclass(frozen=True)
class Preprocessing:
    """How a CLIP wants its images: framed as squares of one size, then normalised by channel.

    The defaults are OpenAI CLIP's constants.
    """

    image_size: int
    mean: tuple[float, float, float] = OPENAI_MEAN
    std: tuple[float, float, float] = OPENAI_STD
    resize: ResizeMode = "shortest"
    interpolation: Interpolation = "bicubic"

    @property
    def framing(self) -> Framing:
        """How image files become the uint8 squares that this takes."""
        return Framing(self.image_size, self.resize, self.interpolation)

    def __call__(self, images: Tensor) -> Tensor:
        """Turn uint8 images of shape (B, 3, H, W) into float32 network input of shape (B, 3, S, S)."""
        import torchvision.transforms.v2.functional as tvf

        if images.shape[-2:] != (self.image_size, self.image_size):
            way = tvf.InterpolationMode(self.interpolation)
            images = tvf.resize(images, [self.image_size, self.image_size], way, antialias=True)
        return self.normalise(images.float().div_(255))

    def normalise(self, images: Tensor) -> Tensor:
        """Normalise float images in [0, 1] by channel."""
        import torch

        mean = images.new_tensor(self.mean).view(1, 3, 1, 1)
        std = images.new_tensor(self.std).view(1, 3, 1, 1)
        return ((images - mean) / std).contiguous(memory_format=torch.channels_last)


class ImageArray:
    """Square uint8 images of one size, shape (N, 3, S, S), in memory or memory-mapped.

    Every read passes the read guard, so a method cannot see what its data regime does not give it.
    """

    def __init__(self, pixels: NDArray[np.uint8], *, name: str) -> None:
        if pixels.ndim != 4 or pixels.shape[1] != 3 or pixels.dtype != np.uint8:
            raise ValueError(f"{name}: images must be uint8 of shape (N, 3, S, S), not {pixels.dtype} {pixels.shape}")
        self.name = name
        self._pixels = pixels

    def __len__(self) -> int:
        return len(self._pixels)

    @property
    def size(self) -> int:
        """The side of each image in pixels."""
        return int(self._pixels.shape[-1])

    def read(self, indices: Sequence[int] | Indices) -> Tensor:
        """The images at these indices: uint8, shape (B, 3, S, S).

        Raises:
            RegimeViolationError: If a method that is unlearning may not read one of them.
        """
        import torch

        chosen = np.asarray(indices, dtype=np.int64)
        check_read(self.name, chosen)
        return torch.from_numpy(np.ascontiguousarray(self._pixels[chosen]))


class ChosenImages(ImageArray):
    """Some images of one or several arrays, in an order of their own; nothing is copied.

    Args:
        parts: The arrays, of one image size.
        rows: Which images, counted through all parts one after another. Shape (N,).
        name: Of the choice: the read guard knows it by this name alone.
    """

    def __init__(self, parts: Sequence[ImageArray], rows: Indices, *, name: str) -> None:
        super().__init__(parts[0]._pixels[:0], name=name)
        self._parts, self._rows = parts, np.asarray(rows, dtype=np.int64)
        self._starts = np.cumsum([0, *(len(part) for part in parts)])

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, indices: Sequence[int] | Indices) -> Tensor:
        """The images at these places of the choice, as `ImageArray.read` gives them."""
        import torch

        chosen = np.asarray(indices, dtype=np.int64)
        check_read(self.name, chosen)
        rows = self._rows[chosen]
        pixels = np.empty((len(rows), *self._pixels.shape[1:]), dtype=np.uint8)
        for part, start, end in zip(self._parts, self._starts, self._starts[1:], strict=False):
            in_part = (rows >= start) & (rows < end)
            pixels[in_part] = part._pixels[rows[in_part] - start]
        return torch.from_numpy(pixels)


def decode_once(
    paths: Sequence[Path], framing: int | Framing, cache_dir: Path, *, name: str, revision: str
) -> ImageArray:
    """Decode image files and frame them, once; later calls map the result.

    Args:
        paths: The files, in order.
        framing: How they become squares; a number is the side of the usual framing.
        cache_dir: Where the decoded array is kept.
        name: Name of the array, such as "flickr30k/test".
        revision: Identifies the files' content; a part of the cache key.

    Raises:
        UnreadableImageError: Naming the file and its index, if one cannot be decoded.
    """
    framing = Framing.of(framing)
    listing = hashlib.sha256(
        "\n".join([revision, repr(framing), *("/".join(p.parts[-3:]) for p in paths)]).encode()
    ).hexdigest()[:16]
    target = cache_dir / "images" / f"{name.replace('/', '-')}-{framing.side}px-{listing}.npy"
    shape = (len(paths), 3, framing.side, framing.side)
    return ImageArray(cached_rows(target, shape, np.uint8, lambda: _decode_all(paths, framing)), name=name)


def frame_once(
    pictures: Callable[[], Iterator[Image.Image]],
    count: int,
    framing: int | Framing,
    cache_dir: Path,
    *,
    name: str,
    revision: str,
) -> ImageArray:
    """Frame pictures that are no files of their own, once; later calls map the result.

    Args:
        pictures: Gives them in order.
        count: How many.
        framing: How they become squares.
        cache_dir: Where the framed array is kept.
        name: Name of the array, such as "shards:birds/test".
        revision: Identifies their content and order; a part of the cache key.

    Raises:
        UnreadableImageError: If one cannot be decoded.
    """
    framing = Framing.of(framing)
    listing = hashlib.sha256(f"{revision}\n{framing!r}\n{name}".encode()).hexdigest()[:16]
    plain = "".join(sign if sign.isalnum() else "-" for sign in name)
    target = cache_dir / "images" / f"{plain}-{framing.side}px-{listing}.npy"

    def rows() -> Iterator[NDArray[np.uint8]]:
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            stream = enumerate(pictures())
            while chunk := list(itertools.islice(stream, DECODED_AT_ONCE)):
                yield from pool.map(lambda numbered: _framed(numbered[0], numbered[1], framing, name), chunk)

    return ImageArray(cached_rows(target, (count, 3, framing.side, framing.side), np.uint8, rows), name=name)


def _framed(index: int, picture: Image.Image, framing: Framing, name: str) -> NDArray[np.uint8]:
    try:
        return framing(picture)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableImageError(
            f"image {index} of {name} cannot be decoded: {one_line(str(error))[:120]}"
        ) from error


def _decode_all(paths: Sequence[Path], framing: Framing) -> Iterator[NDArray[np.uint8]]:
    """The images in order, decoded in threads; only a few hundred are in memory at once."""
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for start in range(0, len(paths), DECODED_AT_ONCE):
            chosen = range(start, min(start + DECODED_AT_ONCE, len(paths)))
            yield from pool.map(lambda index: _decode(paths[index], framing, index), chosen)


def save_images(target: Path, images: ImageArray, rows: Indices, *, together: int = 4096) -> None:
    """Write some images of an array as an array of their own, a few thousand at a time.

    Args:
        target: The `.npy` file; its folder must exist.
        images: Where they are.
        rows: Which, in this order. Shape (N,).
        together: Images held in memory at once.
    """
    shape = (len(rows), 3, images.size, images.size)
    with new_file(target, size_bytes=128 + int(np.prod(shape))) as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for start in range(0, len(rows), together):
            stream.write(images.read(rows[start : start + together]).numpy().tobytes())


def _decode(path: Path, framing: Framing, index: int) -> NDArray[np.uint8]:
    try:
        regular_file(path)  # a pipe would never end
        with Image.open(path) as image:
            return framing(image)
    except FileNotFoundError as error:
        raise UnreadableImageError(
            f"image {index} is missing: {path}; restore it or fetch the data set again"
        ) from error
    except (DocumentError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = "" if isinstance(error, UnidentifiedImageError) else f" ({one_line(str(error))[:120]})"
        raise UnreadableImageError(
            f"image {index} cannot be decoded: {path}{reason}; replace the file or fetch the data set again"
        ) from error
