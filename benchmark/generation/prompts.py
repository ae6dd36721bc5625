"""What is drawn: prompts with forgotten names and as many with retained names, each with its own seed.

A request by class takes the data set's prompt templates, a request by concept "a photo of a CONCEPT.". The names of a
part are spread evenly over its prompts, the templates in turn. The same list is drawn with every text encoder.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from datamodules.common.dataset import Dataset
from datamodules.common.errors import RequestError
from datamodules.common.image_request import chooses_images
from datamodules.common.request import ForgetRequest

PromptPart = Literal["forget", "retain"]
PARTS: tuple[PromptPart, ...] = ("forget", "retain")
CONCEPT_TEMPLATES = ("a photo of a {}.",)
"""CLIP's own prompt (Radford et al. 2021, section 3.1.4): concepts come from captions, and have no templates."""


@dataclass(frozen=True)
class Prompt:
    """One image to be made.

    Attributes:
        part: Whether its name is to be forgotten or retained.
        name: What it is to show: the answer that counts as a detection.
        text: The prompt.
        seed: Of its first noise, so that it is the same for every text encoder.
    """

    part: PromptPart
    name: str
    text: str
    seed: int


@dataclass(frozen=True)
class PromptPlan:
    """The prompts of a request, and among what the judge chooses.

    Attributes:
        prompts: The forgotten names' first, then the retained names'.
        names: All candidates: the forgotten names, then the retained ones.
        templates: The prompt templates, of the judge's classifier too.
    """

    prompts: tuple[Prompt, ...]
    names: tuple[str, ...]
    templates: tuple[str, ...]

    def file_name(self, number: int) -> str:
        """The file name of an image: its part, its number among the prompts, and the name that it is to show."""
        prompt = self.prompts[number]
        plain = "".join(letter if letter.isalnum() else "_" for letter in prompt.name)
        return f"{prompt.part}-{number:04d}-{plain}.png"


def plan_prompts(dataset: Dataset, request: ForgetRequest, *, images: int, seed: int) -> PromptPlan:
    """The prompts of a request.

    Args:
        dataset: Where the request is from.
        request: What was forgotten.
        images: How many prompts each part has, at least 1.
        seed: Another seed gives other noise for the same prompts.

    Raises:
        RequestError: If the data set cannot serve the request, or no name is retained: the judge would have no choice.
    """
    if chooses_images(request):
        raise RequestError("the request chooses images: prompts are made for whole classes or a concept")
    dataset.check_request(request)
    forget, retain = dataset.names_for(request)
    if not retain:
        raise RequestError(f"data set {dataset.name!r} has no name beside {str(request)!r} that could be detected")
    templates = dataset.templates if request.classes else CONCEPT_TEMPLATES
    named: tuple[tuple[PromptPart, tuple[str, ...]], ...] = (("forget", forget), ("retain", retain))
    prompts = [
        Prompt(part, name, templates[number % len(templates)].format(name), _seed(seed, part, number))
        for part, names in named
        for number, name in enumerate(_spread(names, images))
    ]
    return PromptPlan(tuple(prompts), forget + retain, templates)


def _spread(names: tuple[str, ...], count: int) -> list[str]:
    """`count` names at even distances: with more names than `count` some are left out, with fewer they repeat."""
    return [names[number * len(names) // count] for number in range(count)]


def _seed(seed: int, part: PromptPart, number: int) -> int:
    digest = hashlib.sha256(f"{seed}/{part}/{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big")
