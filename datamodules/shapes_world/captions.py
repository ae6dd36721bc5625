"""Captions of the embedded world: five an image, in varied wording.

The first two use the canonical words of all six attributes (the first in the canonical pattern), so a concept
named by its canonical word is found in every image that has it. The others draw patterns and synonyms and
leave out at most one attribute. In training captions the last is a short form, one of the prompt templates.
"""

from __future__ import annotations

import re
from typing import TypeVar

import numpy as np

from datamodules.shapes_world.vocabulary import SYNONYMS, TEMPLATES, VOCABULARY, Attribute, Scenes, generator

T = TypeVar("T")

CAPTIONS_PER_IMAGE = 5

FULL_PATTERNS = (
    "a {size} {colour} {texture} {shape} in the {position} on a {background} background.",
    "a photo of a {size} {colour} {texture} {shape} in the {position}, {background} background.",
    "a picture of a {size} {texture} {colour} {shape} in the {position} on {background}.",
    "on a {background} background: one {size} {colour} {texture} {shape}, {position}.",
    "{position}: a {size} {texture} {shape} in {colour} on {background}.",
    "a {texture} {shape}, {size} and {colour}, in the {position} on {background}.",
    "there is a {size} {colour} {texture} {shape} in the {position} of a {background} background.",
    "{size} {colour} {shape}, {texture}, {position}, {background} background.",
    "against {background}, a {size} {texture} {colour} {shape} sits in the {position}.",
)
"""Patterns that name all six attributes."""

LOOSE_PATTERNS = (
    "a {size} {colour} {shape} {filling} in the {position} on {background}.",
    "on {background}: one {size} {colour} {shape} {filling}, {position}.",
    "a {colour} {texture} {shape} in the {position} on a {background} background.",
    "a {size} {colour} {texture} {shape} on a {background} background.",
    "a photo of a {size} {colour} {shape} in the {position}, {background} background.",
    "a picture of a {size} {colour} {texture} {shape} in the {position}.",
    "a {shape} in the {position}: {size}, {colour}, {texture}.",
)
"""Patterns that leave out at most one attribute or tell the texture by a phrase; for the last captions."""

_LATER_PATTERNS = FULL_PATTERNS[1:] + LOOSE_PATTERNS

FILLINGS = {
    "solid": "in one tone",
    "striped": "with stripes",
    "dotted": "with dots",
    "checkered": "with checks",
    "faded": "with a fade",
}
"""Phrases for the textures."""

SYNONYM_RATE = 0.55
"""How often a word is replaced by a synonym in a caption after the second."""

_SHORT_FORMS: tuple[tuple[Attribute, str], ...] = (
    *(("shape", template) for template in TEMPLATES["shape"] * 2),
    *(("colour", template) for template in TEMPLATES["colour"]),
    *(("texture", template) for template in TEMPLATES["texture"]),
    *(("background", template) for template in TEMPLATES["background"]),
)


def write_captions(scenes: Scenes, key: str, *, short_forms: bool) -> tuple[tuple[str, ...], ...]:
    """Five captions for each scene.

    Args:
        scenes: N scenes.
        key: Names the draw; the same scenes and key give the same captions.
        short_forms: Make the fifth caption one filled-in prompt template, such as "a photo of a star."; for
            training.

    Returns:
        N tuples of five captions.
    """
    rng = generator(key, "captions")
    draws = rng.random((len(scenes), CAPTIONS_PER_IMAGE, 1 + len(VOCABULARY))).tolist()
    orders = rng.permuted(np.tile(np.arange(len(_LATER_PATTERNS)), (len(scenes), 1)), axis=1).tolist()
    return tuple(
        _five_captions(scenes.words(index), draws[index], orders[index], short_form=short_forms)
        for index in range(len(scenes))
    )


def fill(pattern: str, words: dict[Attribute, str], *, filling: str = "") -> str:
    """Put words into a pattern, with "an" where the next word asks for it."""
    return re.sub(r"\ba (?=[aeiou])", "an ", pattern.format(**words, filling=filling))


def _five_captions(
    words: dict[Attribute, str], draws: list[list[float]], order: list[int], *, short_form: bool
) -> tuple[str, ...]:
    """Captions in five different patterns; `order` is a permutation of the later patterns."""
    second = next(index for index in order if index < len(FULL_PATTERNS) - 1)
    rest = [index for index in order if index != second]
    captions = [fill(FULL_PATTERNS[0], words), fill(_LATER_PATTERNS[second], words)]
    for index, draw in zip(rest, draws[2:], strict=False):
        filling = FILLINGS[words["texture"]]
        captions.append(fill(_LATER_PATTERNS[index], _vary(words, draw[1:]), filling=filling))
    if short_form:
        attribute, template = _pick(_SHORT_FORMS, draws[-1][0])
        captions[-1] = template.format(words[attribute])  # verbatim: the classifier has "a" throughout
    return tuple(captions)


def _vary(words: dict[Attribute, str], chances: list[float]) -> dict[Attribute, str]:
    return {
        attribute: _pick(SYNONYMS[word], chance / SYNONYM_RATE) if chance < SYNONYM_RATE else word
        for (attribute, word), chance in zip(words.items(), chances, strict=True)
    }


def _pick(options: tuple[T, ...], chance: float) -> T:
    return options[int(chance * len(options))]
