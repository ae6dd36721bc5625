"""How an open_clip model wants its images, read from the model itself or from its transform for evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast, get_args

from torch import Tensor, nn

from benchmark.models.tensor_files import WeightsError
from datamodules.common.images import OPENAI_MEAN, OPENAI_STD, Interpolation, Preprocessing, ResizeMode

_WITHOUT_EFFECT = (
    "ToTensor",
    "MaybeToTensor",
    "MaybeConvertMode",
    "ToImage",
    "ToDtype",
    "PILToTensor",
    "ConvertImageDtype",
)
_RESIZING = ("Resize", "ResizeKeepRatio")
_CROPPING = ("CenterCrop", "CenterCropOrPad")
_USUAL = {"resize_mode": "shortest", "interpolation": "bicubic", "fill_color": 0}
"""What open_clip does where a model's configuration does not say it."""


class TransformError(WeightsError):
    """An image transform that this project cannot repeat."""


def of_model(model: nn.Module) -> Preprocessing:
    """The preprocessing that open_clip keeps with a model: that of its weights tag, or of its configuration.

    Raises:
        TransformError: If the model does not say its image size, or wants what cannot be repeated here.
    """
    side = image_side(model)
    if side is None:
        raise TransformError("the model does not say its image size: give its transform=...")
    visual: Any = model.visual
    about: Mapping[str, Any] = _USUAL | dict(getattr(visual, "preprocess_cfg", None) or {})
    mean = about.get("mean") or getattr(visual, "image_mean", None) or OPENAI_MEAN
    std = about.get("std") or getattr(visual, "image_std", None) or OPENAI_STD
    for key, known in (("resize_mode", ResizeMode), ("interpolation", Interpolation)):
        if about[key] not in get_args(known):
            raise TransformError(
                f"the model's images are framed with {key} {about[key]!r}: {', '.join(get_args(known))} are supported"
            )
    if about["resize_mode"] == "longest" and about["fill_color"] != 0:
        raise TransformError(f"the model's images are filled with {about['fill_color']}: only 0, black, is supported")
    resize, interpolation = cast(ResizeMode, about["resize_mode"]), cast(Interpolation, about["interpolation"])
    return Preprocessing(side, _three(mean), _three(std), resize, interpolation)


def of_transform(transform: Callable[[Any], Tensor]) -> Preprocessing:
    """The preprocessing that a transform for evaluation does: what open_clip returns, or one of torchvision like it.

    Args:
        transform: What `open_clip.create_model_and_transforms` returns as its third value, or a `Compose` of `Resize`,
            `CenterCrop` (left out where both sides are resized) and `Normalize`.

    Raises:
        TransformError: If it does anything else.
    """
    side: int | None = None
    resize: ResizeMode = "shortest"
    interpolation: Interpolation = "bicubic"
    normalised: tuple[Any, Any] | None = None
    for step in getattr(transform, "transforms", [transform]):
        kind = type(step).__name__
        if kind in _RESIZING or kind in _CROPPING:
            step_side = _side(step.size)
            if side is not None and step_side != side:
                raise TransformError(
                    f"the transform resizes to {side} pixels and crops {step_side}: this project crops the size that "
                    "it resizes to; give a transform with one size"
                )
            side = step_side
            if kind in _RESIZING:
                interpolation, resize = _interpolation(step), _resize(step)
        elif kind == "Normalize":
            normalised = _three(step.mean), _three(step.std)
        elif kind not in _WITHOUT_EFFECT and "rgb" not in getattr(step, "__name__", kind).lower():
            raise TransformError(
                f"the step {getattr(step, '__name__', kind)} of the transform cannot be repeated here: give the "
                "transform for evaluation, Compose of Resize, CenterCrop, ToTensor and Normalize"
            )
    if side is None or normalised is None:
        missing = "Resize or CenterCrop" if side is None else "Normalize"
        raise TransformError(f"the transform has no {missing}: the image size, mean and std cannot be read from it")
    return Preprocessing(side, *normalised, resize, interpolation)


def image_side(model: nn.Module) -> int | None:
    """The side of a model's images in pixels; None where it does not say it.

    Raises:
        TransformError: If its images are not square.
    """
    size = getattr(model.visual, "image_size", None)
    return None if size is None else _side(size)


def _interpolation(step: Any) -> Interpolation:
    way = str(getattr(getattr(step, "interpolation", None), "value", "bicubic"))
    if way not in get_args(Interpolation):
        raise TransformError(f"the transform resizes by {way}: {', '.join(get_args(Interpolation))} are supported")
    return cast(Interpolation, way)


def _resize(step: Any) -> ResizeMode:
    """What a step does with a picture that is no square: one number is the shorter side, two are both sides."""
    if type(step).__name__ == "ResizeKeepRatio":  # open_clip's
        return "longest" if getattr(step, "longest", 0) else "shortest"
    return "squash" if isinstance(step.size, (tuple, list)) and len(step.size) == 2 else "shortest"


def _side(size: Any) -> int:
    sides = list(size) if isinstance(size, (tuple, list)) else [size]
    if not sides or len(set(sides)) != 1:
        raise TransformError(f"the transform makes images of {size} pixels: this project's are square")
    return int(sides[0])


def _three(values: Any) -> tuple[float, float, float]:
    first, second, third = map(float, values)
    return first, second, third
