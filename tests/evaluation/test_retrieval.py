"""Recall@K both ways against brute force; it is not torchmetrics' RetrievalRecall."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics.retrieval import RetrievalRecall

from benchmark.evaluation.numerics import metrics
from benchmark.evaluation.numerics.metrics import image_retrieval_ranks, recall_at, text_retrieval_ranks

FIVE = 5


@st.composite
def galleries(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images, captions, owners, refused captions; coordinates are -1, 0, 1, so that ties are common."""
    count, width = draw(st.integers(1, 6)), draw(st.integers(1, 3))
    each = draw(st.lists(st.integers(1, FIVE), min_size=count, max_size=count))
    values = st.integers(-1, 1)
    total = (count + sum(each)) * width
    flat = torch.tensor(draw(st.lists(values, min_size=total, max_size=total)), dtype=torch.float32).view(-1, width)
    owner = torch.repeat_interleave(torch.arange(count), torch.tensor(each))
    refused = torch.tensor(draw(st.lists(st.booleans(), min_size=sum(each), max_size=sum(each))))
    return flat[:count], flat[count:], owner, refused


def brute_image_recall(images: Tensor, captions: Tensor, owner: Tensor, k: int) -> list[bool]:
    """A caption finds its image if fewer than k other images score at least as high."""
    hits = []
    for caption, own in zip(captions, owner.tolist(), strict=True):
        scores = [float(caption @ image) for image in images]
        rivals = [i for i, score in enumerate(scores) if i != own and score >= scores[own]]
        hits.append(len(rivals) < k)
    return hits


def brute_text_recall(images: Tensor, captions: Tensor, owner: Tensor, k: int) -> list[bool]:
    """An image finds a caption if its best own caption is beaten or met by fewer than k captions of others."""
    hits = []
    for number, image in enumerate(images):
        scores = [float(caption @ image) for caption in captions]
        best = max(s for s, own in zip(scores, owner.tolist(), strict=True) if own == number)
        rivals = [s for s, own in zip(scores, owner.tolist(), strict=True) if own != number and s >= best]
        hits.append(len(rivals) < k)
    return hits


@settings(deadline=None, max_examples=150)
@given(galleries(), st.integers(1, 7))
def test_recall_equals_brute_force(gallery: tuple[Tensor, Tensor, Tensor, Tensor], k: int) -> None:
    images, captions, owner, _ = gallery
    by_caption = recall_at(image_retrieval_ranks(captions, images, owner), k)
    by_image = recall_at(text_retrieval_ranks(images, captions, owner), k)
    assert by_caption.tolist() == brute_image_recall(images, captions, owner, k)
    assert by_image.tolist() == brute_text_recall(images, captions, owner, k)


@settings(deadline=None, max_examples=50)
@given(galleries())
def test_chunks_do_not_matter(gallery: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    images, captions, owner, refused = gallery
    whole = image_retrieval_ranks(captions, images, owner, refused=refused)
    texts = text_retrieval_ranks(images, captions, owner, refused=refused)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "CHUNK", 2)
        assert torch.equal(whole, image_retrieval_ranks(captions, images, owner, refused=refused))
        assert torch.equal(texts, text_retrieval_ranks(images, captions, owner, refused=refused))


@settings(deadline=None, max_examples=100)
@given(galleries())
def test_a_refused_caption_finds_nothing_and_is_not_found(gallery: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    images, captions, owner, refused = gallery
    by_caption = image_retrieval_ranks(captions, images, owner, refused=refused)
    by_image = text_retrieval_ranks(images, captions, owner, refused=refused)
    assert not recall_at(by_caption, len(images))[refused].any()
    assert torch.equal(by_caption[~refused], image_retrieval_ranks(captions, images, owner)[~refused])
    keeps = torch.zeros(len(images), dtype=torch.bool).index_fill_(0, owner[~refused], True)
    assert not recall_at(by_image, len(captions))[~keeps].any()
    if keeps.all():
        assert torch.equal(by_image, text_retrieval_ranks(images, captions[~refused], owner[~refused]))


def test_a_constant_embedding_finds_nothing() -> None:
    images, captions = torch.ones(20, 4), torch.ones(100, 4)
    owner = torch.arange(20).repeat_interleave(FIVE)
    assert not recall_at(image_retrieval_ranks(captions, images, owner), 10).any()
    assert not recall_at(text_retrieval_ranks(images, captions, owner), 10).any()


def test_five_captions_that_all_lead_are_one_hit_at_1() -> None:
    images = torch.eye(8)
    owner = torch.arange(8).repeat_interleave(FIVE)
    assert recall_at(text_retrieval_ranks(images, images[owner], owner), 1).all()
    assert recall_at(image_retrieval_ranks(images[owner], images, owner), 1).all()


def test_torchmetrics_recall_is_another_number() -> None:
    images = torch.eye(8)
    owner = torch.arange(8).repeat_interleave(FIVE)
    scores = images @ images[owner].T
    target = owner[None, :] == torch.arange(8)[:, None]
    queries = torch.arange(8)[:, None].expand_as(scores)
    theirs = float(RetrievalRecall(top_k=1)(scores.flatten(), target.flatten(), indexes=queries.flatten()))
    ours = float(recall_at(text_retrieval_ranks(images, images[owner], owner), 1).float().mean())
    assert ours == 1.0 and theirs == pytest.approx(1 / FIVE)


def test_torchmetrics_agrees_where_each_query_has_one_answer() -> None:
    generator = torch.Generator().manual_seed(0)
    images, captions = torch.randn(12, 6, generator=generator), torch.randn(12, 6, generator=generator)
    scores = captions @ images.T
    queries = torch.arange(12)[:, None].expand_as(scores)
    for k in (1, 3):
        theirs = RetrievalRecall(top_k=k)(scores.flatten(), torch.eye(12).bool().flatten(), indexes=queries.flatten())
        ours = recall_at(image_retrieval_ranks(captions, images, torch.arange(12)), k).float().mean()
        assert float(ours) == pytest.approx(float(theirs))
