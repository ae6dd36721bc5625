"""Names for WordNet ids such as n02123045, which are the class folders of ImageNet and its relatives."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import cache

_ID = re.compile(r"n[0-9]{8}")


def are_wordnet_ids(names: Collection[str]) -> bool:
    """Whether all names are WordNet ids of nouns."""
    return bool(names) and all(_ID.fullmatch(name) for name in names)


def wordnet_names(wnids: Sequence[str]) -> dict[str, str]:
    """A name for each WordNet id that ImageNet has; others are left out.

    The 1,000 of ILSVRC 2012 are worded as in open_clip's zero-shot classifier (CLIP's own wording), the others of
    ImageNet-22k by their first lemma in WordNet, as timm has it. Where two share a name, more lemmas tell them apart.
    """
    usual, lemmas = _words_of_imagenet()
    synonyms = {
        wnid: [*([usual[wnid]] if wnid in usual else []), *(lemma.strip() for lemma in lemmas[wnid].split(","))]
        for wnid in wnids
        if wnid in lemmas
    }
    return dict(zip(synonyms, distinct_names(synonyms), strict=True))


def wordnet_synonyms(noun: str) -> tuple[str, ...]:
    """The other lemmas of the first of WordNet's nouns in ImageNet-22k whose usual lemma is this one; none if none is.

    Latin names are left out: they begin with a capital letter.
    """
    for lemmas in _words_of_imagenet()[1].values():
        first, *others = (lemma.strip() for lemma in lemmas.split(","))
        if first == noun and (synonyms := tuple(word for word in others if word == word.casefold())):
            return synonyms
    return ()


@cache
def _words_of_imagenet() -> tuple[dict[str, str], dict[str, str]]:
    """By WordNet id the wording of open_clip, for ImageNet's 1,000, and the lemmas, for all of ImageNet-22k."""
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES
    from timm.data import ImageNetInfo

    ids = ImageNetInfo("imagenet-1k").label_names()
    larger = ImageNetInfo("imagenet-22k")
    lemmas = {wnid: larger.label_name_to_description(wnid, detailed=False) for wnid in [*larger.label_names(), *ids]}
    return dict(zip(ids, IMAGENET_CLASSNAMES, strict=True)), lemmas


def distinct_names(synonyms: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """One name for each class: as many of its synonyms, joined by commas, as tell it from the others.

    Names that differ only in case count as the same: CLIP's tokenizer ignores case. Among classes that share a name,
    those with further synonyms take one more; where no class has any, each takes its WordNet id.

    Args:
        synonyms: The names of each class, the usual one first, by WordNet id.
    """
    candidates = {wnid: [*names, wnid] for wnid, names in synonyms.items()}
    taken = dict.fromkeys(candidates, 1)
    while True:
        names = {wnid: ", ".join(options[: taken[wnid]]) for wnid, options in candidates.items()}
        count = Counter(name.casefold() for name in names.values())
        shared = [wnid for wnid, name in names.items() if count[name.casefold()] > 1]
        if not shared:
            return tuple(names.values())
        longer = [wnid for wnid in shared if taken[wnid] < len(synonyms[wnid])]
        for wnid in longer or shared:
            taken[wnid] += 1
