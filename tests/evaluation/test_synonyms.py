"""Synonyms: captions in other words, and a concept that was hidden under its name alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from examined import context_of
from tiny import APPLE, tiny_clip
from torch import Tensor
from torch.nn import functional

from benchmark.evaluation.embeddings import EmbeddingStore
from benchmark.evaluation.evaluate import retrieval_metrics
from benchmark.evaluation.families import NotMeasurableError
from benchmark.evaluation.measures import synonyms
from datamodules.common.request import ForgetRequest
from datamodules.common.synonyms import load_synonyms, reworded, synonyms_of
from datamodules.common.wordnet import wordnet_synonyms
from datamodules.flickr30k import CONCEPT_NAMES
from datamodules.shapes_world.vocabulary import COLOUR_SYNONYMS, SHAPE_SYNONYMS, TEXTURE_SYNONYMS
from methods.common.clip import Clip

RING, MAN = ForgetRequest(concept="ring"), ForgetRequest(concept="man")


def test_the_embedded_world_has_the_synonyms_that_its_captions_teach() -> None:
    assert load_synonyms("shapes") == SHAPE_SYNONYMS | COLOUR_SYNONYMS | TEXTURE_SYNONYMS


def test_those_of_flickr30k_are_other_words_for_its_concepts() -> None:
    known = load_synonyms("flickr30k")
    assert len(known) > 20 and set(known) <= set(CONCEPT_NAMES)
    for concept, words in known.items():
        assert synonyms_of("flickr30k", ForgetRequest(concept=concept)) == words, "none contains the concept"


def test_wordnet_helps_where_there_is_no_file() -> None:
    assert "domestic dog" in wordnet_synonyms("dog") and "Canis familiaris" not in wordnet_synonyms("dog")
    assert synonyms_of("tiny", ForgetRequest(concept="dog")) == (), "its own word is in it"
    assert "automobile" in synonyms_of("tiny", ForgetRequest(concept="car"))
    assert wordnet_synonyms("no such word") == ()


@pytest.mark.parametrize(
    ("request_", "caption", "expected"),
    [
        (RING, "a red ring on white", "a red donut on white"),
        (RING, "Rings, and a RING.", "donuts, and a donut."),
        (RING, "a string and a ring-road", "a string and a donut-road"),
        (RING, "nothing of the kind", "nothing of the kind"),
        (MAN, "men and a man with a woman", "donuts and a donut with a woman"),
        (ForgetRequest(concept="sheep"), "two sheep", "two donut"),
        (ForgetRequest(concept="hot dog"), "a hot  dog, hot dogs", "a donut, donuts"),
    ],
)
def test_captions_are_reworded(request_: ForgetRequest, caption: str, expected: str) -> None:
    assert reworded(caption, request_, "donut") == expected


def test_a_concept_that_only_its_name_lost_is_found_by_a_synonym(monkeypatch: pytest.MonkeyPatch) -> None:
    """Captions with "apple" find nothing, with "pome" all their images, with "fruit" none again."""
    monkeypatch.setattr(synonyms, "synonyms_of", lambda *_: ("fruit", "pome"))
    context = context_of(tiny_clip("vit"), ForgetRequest(concept="apple"), captions=True)
    captions = context.dataset.split("test").captions or ()
    place = {text.replace("apple", "pome"): n for n, of_image in enumerate(captions) for text in of_image}

    def texts(_: EmbeddingStore, clip: Clip, asked: Sequence[str]) -> Tensor:
        rows = torch.zeros(len(asked), 9)
        for row, text in enumerate(asked):
            rows[row, place.get(text, 8)] = 1.0
        return rows

    monkeypatch.setattr(EmbeddingStore, "texts", texts)
    monkeypatch.setattr(EmbeddingStore, "images", lambda *_, **__: functional.one_hot(torch.arange(8), 9).float())
    by_name = retrieval_metrics(context.store, context.clip, context.dataset, context.images(), {"": context.forget})[
        "mean_recall"
    ]
    metrics = synonyms.measure(context)
    assert metrics["forget/synonym_mean_recall"].value == 1.0 > (by_name.value or 0.0)
    assert context.report["synonyms"]["pome"] == 1.0 > context.report["synonyms"]["fruit"]
    context.clip.refused = ("apple",)
    assert synonyms.measure(context)["forget/synonym_mean_recall"].value == 1.0, "a filter refuses the name alone"


def test_what_cannot_be_asked_says_why() -> None:
    with pytest.raises(NotMeasurableError, match="by class"):
        synonyms.measure(context_of(tiny_clip("vit"), APPLE))
    with pytest.raises(NotMeasurableError, match="no synonym of 'no such noun' is known"):
        unknown = ForgetRequest(concept="no such noun")
        synonyms.measure(context_of(tiny_clip("vit"), unknown, captions=True))
