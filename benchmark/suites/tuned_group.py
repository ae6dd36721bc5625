"""What tuning is told apart by, and what it found for one group of cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from datamodules.common.image_request import chooses_images
from datamodules.common.request import ForgetRequest

Kind = Literal["class", "concept", "images"]
"""By which settings are tuned: requests by class, however many classes, by concept, or by chosen images."""
Score = Literal["Q", "S"]
"""By which methods are ranked and tuned: Q, higher is better, or S, lower is better, where there is no Q."""

Settings = Literal["tuned", "declared"]
"""Of a suite's rows: the values that tuning found wherever there are some, or the defaults of the methods' cards."""


@dataclass(frozen=True)
class TunedGroup:
    """The values that tuning found for one model, data set and kind of request.

    Attributes:
        budget: In words; it tells boards of tuned rows apart.
        values: By method; empty for a method with nothing to tune. A method that is not among them does not run.
        revisions: Of the data set when the values were found.
    """

    budget: str
    values: Mapping[str, Mapping[str, Any]]
    revisions: tuple[str, ...] = ()


def tuned_kind(request: ForgetRequest) -> Kind:
    """The kind of a request by which settings are tuned: however many classes or images it has."""
    return "images" if chooses_images(request) else "class" if request.classes else "concept"
