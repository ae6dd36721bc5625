"""Retrieval by the features before the last layer: a constructed edit that hides a class, and the formula."""

from __future__ import annotations

import copy

import pytest
import torch
from examined import context_of
from tiny import NAMES, tiny_clip
from torchmetrics.functional.retrieval import retrieval_average_precision

from benchmark.evaluation.families import NotMeasurableError
from benchmark.evaluation.measures.image_retrieval_map import measure as by_embeddings
from benchmark.evaluation.measures.trunk_retrieval_map import centred, measure
from datamodules.common.request import ForgetRequest
from methods import visual_projection

REQUEST = ForgetRequest(classes=(NAMES[1],))


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_an_edit_of_the_last_layer_changes_the_embeddings_and_nothing_before(kind: str) -> None:
    original = tiny_clip(kind)
    edited = copy.deepcopy(original)
    with torch.no_grad():
        visual_projection(edited).matrix.zero_()
    before, after = (context_of(clip, REQUEST, told=True, original=original) for clip in (original, edited))
    there = measure(before)["forget/trunk_map"]
    assert measure(after)["forget/trunk_map"] == there
    assert by_embeddings(after) != by_embeddings(before), "the embeddings are all the same now"
    assert there.value is not None and there.value > by_embeddings(after)["forget/image_map"].value  # type: ignore[operator]


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_it_is_the_mean_average_precision_of_centred_features(kind: str) -> None:
    context = context_of(tiny_clip(kind), REQUEST, told=True)
    features, labels = context.features().double(), context.labels()
    features = features - features.mean(dim=0)
    features /= features.norm(dim=1, keepdim=True)
    theirs = []
    for query in torch.nonzero(labels == 1).flatten().tolist():
        rest = torch.arange(len(labels)) != query
        scores = features[rest] @ features[query] + 2  # torchmetrics drops what scores 0 or less
        theirs.append(float(retrieval_average_precision(scores, labels[rest] == 1)))
    found = measure(context)["forget/trunk_map"]
    assert found.n == len(theirs) and found.value == pytest.approx(sum(theirs) / len(theirs), abs=2e-4)


def test_a_common_part_of_all_features_does_not_matter() -> None:
    features = torch.randn(30, 7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(centred(features + 50.0), centred(features), atol=1e-5, rtol=0)
    assert not centred(torch.full((5, 3), 0.1)).any(), "a collapsed model has nothing left, not rounding"


def test_a_request_by_concept_has_none() -> None:
    with pytest.raises(NotMeasurableError, match="by concept"):
        measure(context_of(tiny_clip("vit"), ForgetRequest(concept=NAMES[0]), captions=True))
