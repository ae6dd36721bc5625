"""A request by chosen images: these images of the train part are to be forgotten, whatever class they are of.

    {images: [ring/000.jpg, 17]}                 the forget set is these images; no name is to be forgotten
    {images: [ring/000.jpg], classes: [ring]}    the same, and methods that need a name to forget are given this one

An image is named by its path, or by the end of its path as long as that is one image's alone, or by its row in the
train part, from 0. Requests to delete photographs ask for it, and so does the random-sample setting of the literature.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datamodules.common.errors import RequestError
from datamodules.common.request import ForgetRequest

NO_NAME = "the request chooses images and names nothing to forget"


@dataclass(frozen=True)
class ImagesRequest(ForgetRequest):
    """Images to forget, and the names that methods are told to forget, if any.

    Attributes:
        images: Paths of the train part, or rows in it.
    """

    images: tuple[str | int, ...] = ()

    def __post_init__(self) -> None:
        if not self.images:
            raise RequestError("a request by images names at least one: {images: [folder/picture.jpg]}")
        if self.classes or self.concept:
            super().__post_init__()  # a name of either kind, as in a request without images

    @classmethod
    def of(cls, images: Sequence[str | int], names: ForgetRequest | None = None) -> ImagesRequest:
        """A request for some images, with the names of another request or with none."""
        chosen = tuple(_reference(image) for image in images)
        return cls(images=chosen) if names is None else cls(names.classes, names.concept, names.words, images=chosen)

    def to_dict(self) -> dict[str, Any]:
        """The shortest dictionary that reads back as this request."""
        names = super().to_dict() if self.classes or self.concept else {}
        return {"images": list(self.images), **names}

    @property
    def names(self) -> tuple[str, ...]:
        """The names to forget; none where the request gives none."""
        return super().names if self.classes or self.concept else ()

    @property
    def kind(self) -> str:
        """The group of requests that may be averaged with this one: "1 image", "12 images"."""
        return f"{len(self.images)} image{'s' * (len(self.images) > 1)}"

    def __str__(self) -> str:
        first = self.images[0]
        shown = f"train image {first}" if isinstance(first, int) else first
        if len(self.images) == 1:
            return shown
        return f"{self.kind} {hashlib.sha256(repr(self.images).encode()).hexdigest()[:6]} ({shown}, ...)"


def read_request(data: Mapping[str, Any]) -> ForgetRequest:
    """Read a request of any kind, as it stands in a suite file or a record.

    Raises:
        RequestError: On an unknown key or a value of the wrong kind.
    """
    if "images" not in data:
        return ForgetRequest.from_dict(data)
    images = data["images"]
    if not isinstance(images, (list, tuple)):
        raise RequestError("in a forget request images is a list of paths or rows: {images: [ring/000.jpg, 17]}")
    names = {key: value for key, value in data.items() if key != "images"}
    return ImagesRequest.of(images, ForgetRequest.from_dict(names) if names else None)


def images_of(request: ForgetRequest) -> tuple[str | int, ...]:
    """The images that a request chooses; none where it chooses none."""
    return request.images if isinstance(request, ImagesRequest) else ()


def chooses_images(request: ForgetRequest) -> bool:
    """Whether a request chooses images, in the place of all those of a class or concept."""
    return isinstance(request, ImagesRequest)


def _reference(image: Any) -> str | int:
    """An image as a request names it: a path, or a row."""
    if isinstance(image, int) and not isinstance(image, bool) and image >= 0:
        return image
    if isinstance(image, str) and image.strip():
        return int(image) if image.isascii() and image.isdecimal() else image
    raise RequestError(f"the image {image!r} is neither a path nor a row of the train part, from 0")
