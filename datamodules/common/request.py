"""The forget request: what is to be forgotten, and nothing else.

`classes: [apple]` names classes of a classification set; `concept: dog` names a word of captions. An image is in
the forget set of a concept if any of its captions contains the word (CLIPErase's rule, official code).

Spelling makes no other request: `Dataset.resolved` puts `Red_Panda` or `Dogs` into the words of the data set.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodules.common.errors import RequestError


@dataclass(frozen=True)
class ForgetRequest:
    """What to forget; frozen and hashable, a part of every cell key.

    Attributes:
        classes: Class names, for a request by class.
        concept: A word or phrase of captions, for a request by concept.
        words: The spellings that count as the concept; by default the concept and its plural.
    """

    classes: tuple[str, ...] = ()
    concept: str = ""
    words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.classes) == bool(self.concept):
            raise RequestError(
                "a forget request names either classes or a concept: {classes: [apple]} or {concept: dog}"
            )
        if len(set(self.classes)) != len(self.classes):
            raise RequestError(f"a class is named twice in the forget request {list(self.classes)}")
        if self.concept and not self.words:
            object.__setattr__(self, "words", (self.concept, plural(self.concept)))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ForgetRequest:
        """Read a request as it stands in a suite file or a record.

        Raises:
            RequestError: On an unknown key or a value of the wrong kind.
        """
        unknown = set(data) - {"classes", "concept", "words"}
        if unknown:
            key = sorted(unknown)[0]
            advice = "; single images cannot be named: give them a class folder of their own" if key == "images" else ""
            raise RequestError(f"unknown key {key!r} in a forget request; use classes, or concept and words{advice}")
        classes, words = data.get("classes", ()), data.get("words", ())
        concept = data.get("concept", "")
        if not isinstance(classes, (list, tuple)) or not isinstance(words, (list, tuple)):
            raise RequestError(
                "in a forget request classes and words are lists, concept is one word: {classes: [apple]}"
            )
        if not isinstance(concept, str):
            raise RequestError(f"the concept {concept!r} is not read as text: put it in quotes, {{concept: 'word'}}")
        return cls(tuple(map(name_text, classes)), composed(concept), tuple(map(name_text, words)))

    def to_dict(self) -> dict[str, Any]:
        """The shortest dictionary that reads back as this request."""
        if self.classes:
            return {"classes": list(self.classes)}
        if self.words == (self.concept, plural(self.concept)):
            return {"concept": self.concept}
        return {"concept": self.concept, "words": list(self.words)}

    @property
    def names(self) -> tuple[str, ...]:
        """The names to forget: the classes, or the concept."""
        return self.classes or (self.concept,)

    @property
    def kind(self) -> str:
        """The group of requests that may be averaged with this one: "class", "3 classes" or "concept"."""
        if self.concept:
            return "concept"
        return "class" if len(self.classes) == 1 else f"{len(self.classes)} classes"

    def __str__(self) -> str:
        return self.concept if self.concept else "+".join(self.classes)


def name_text(value: Any) -> str:
    """The name of a class as a file gives it: text, or a whole number such as the digit 7.

    Raises:
        RequestError: If it is of another type; as text it would not be what was written.
    """
    if not isinstance(value, (str, int)) or isinstance(value, bool) or value == "":
        raise RequestError(f"the name {value!r} is not read as text: put it in quotes, as in ['{value}']")
    return composed(str(value))


def composed(text: str) -> str:
    """A text with each accented letter as one sign (Unicode's NFC), as most keyboards write it; macOS's folders do not.

    The two look the same and are different tokens.
    """
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def plain(name: str) -> str:
    """A name without what spelling may vary: case, accents' form, underscores or hyphens for spaces, further spaces."""
    return " ".join(composed(name).casefold().replace("_", " ").replace("-", " ").split())


_IRREGULAR = {
    "man": "men",
    "woman": "women",
    "child": "children",
    "person": "people",
    "foot": "feet",
    "tooth": "teeth",
    "goose": "geese",
    "mouse": "mice",
    "knife": "knives",
    "leaf": "leaves",
    "wolf": "wolves",
    "sheep": "sheep",
    "fish": "fish",
}


def plural(word: str) -> str:
    """The English plural: dog, dogs; bus, buses; berry, berries; man, men."""
    for singular, irregular in _IRREGULAR.items():
        if re.search(rf"\b{singular}$", word):
            return word.removesuffix(singular) + irregular
    if re.search(r"(s|x|z|ch|sh)$", word):
        return word + "es"
    if re.search(r"[^aeiou]y$", word):
        return word[:-1] + "ies"
    return word + "s"


def mentions(captions: Sequence[str], words: Sequence[str]) -> NDArray[np.bool_]:
    """Which captions contain one of the words as a whole word. Shape (len(captions),).

    Case does not count, nor whether a space between two words is one, several or a line's end.
    """
    spelled = (r"\s+".join(map(re.escape, composed(word).split())) for word in words)
    pattern = re.compile(r"\b(?:" + "|".join(spelled) + r")\b", re.IGNORECASE)
    return np.fromiter((pattern.search(composed(c)) is not None for c in captions), dtype=bool, count=len(captions))


def mentioned(captions: Sequence[str], words: Sequence[str]) -> tuple[str, ...]:
    """Those of some words that a caption contains; each is looked for until the first caption that does."""
    starts = range(0, len(captions), _AT_ONCE)
    return tuple(word for word in words if any(mentions(captions[n : n + _AT_ONCE], [word]).any() for n in starts))


_AT_ONCE = 1000
"""Captions that are searched between two looks at what was found."""
