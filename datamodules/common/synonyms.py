"""Other words for a concept of captions: from the data files of `synonyms/`, else from WordNet."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from datamodules.common.documents import load_yaml
from datamodules.common.request import ForgetRequest, mentions, plural
from datamodules.common.wordnet import wordnet_synonyms

_FOLDER = Path(__file__).parents[1] / "synonyms"


@cache
def load_synonyms(dataset: str) -> dict[str, tuple[str, ...]]:
    """The synonyms of the concepts of a data set; empty where there is no file for it."""
    path = _FOLDER / f"{dataset}.yaml"
    if not path.is_file():
        return {}
    return {str(concept): tuple(map(str, words)) for concept, words in load_yaml(path).items()}


def synonyms_of(dataset: str, request: ForgetRequest) -> tuple[str, ...]:
    """Other words for the concept of a request; none that contains one of its own words.

    Args:
        dataset: Registry name.
        request: By concept.
    """
    words = load_synonyms(dataset).get(request.concept) or wordnet_synonyms(request.concept)
    named = mentions(words, request.words)
    return tuple(word for word, is_named in zip(words, named, strict=True) if not is_named)


def reworded(caption: str, request: ForgetRequest, synonym: str) -> str:
    """A caption with a synonym wherever it names the concept; its plural in the place of the plural."""
    several = plural(request.concept)

    def other(found: re.Match[str]) -> str:
        is_several = " ".join(found.group().split()).casefold() == several.casefold() != request.concept.casefold()
        return plural(synonym) if is_several else synonym

    spelled = sorted((r"\s+".join(map(re.escape, word.split())) for word in request.words), key=len, reverse=True)
    return re.sub(r"\b(?:" + "|".join(spelled) + r")\b", other, caption, flags=re.IGNORECASE)
