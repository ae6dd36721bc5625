"""Other ways to say a class: synonyms, descriptions and prompt templates, from the data files of `paraphrases/`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from datamodules.common.documents import load_yaml

_FOLDER = Path(__file__).parents[1] / "paraphrases"


@dataclass(frozen=True)
class Paraphrases:
    """Other wordings for the prompts of a data set.

    Attributes:
        templates: Other prompt templates, each with one `{}`.
        names: Other names of classes, by class; a class without any is not there.
    """

    templates: tuple[str, ...]
    names: Mapping[str, tuple[str, ...]]


@cache
def load_paraphrases(dataset: str) -> Paraphrases | None:
    """The paraphrases of a data set; None where there is no file for it."""
    path = _FOLDER / f"{dataset}.yaml"
    if not path.is_file():
        return None
    content = load_yaml(path)
    names = {str(name): tuple(map(str, others)) for name, others in content["names"].items()}
    return Paraphrases(tuple(map(str, content["templates"])), names)
