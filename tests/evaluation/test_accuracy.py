"""acc1 and mean per-class recall against torchmetrics; refused names."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import APPLE, NAMES, TinyDataset, tiny_clip
from torchmetrics.functional.classification import multiclass_accuracy

from benchmark.evaluation.embeddings import EmbeddingStore
from benchmark.evaluation.evaluate import Evaluation
from benchmark.evaluation.numerics.metrics import class_hits, mean_per_class_recall, predict


class Labelled(TinyDataset):
    """Classes and no captions."""

    card = dataclasses.replace(TinyDataset.card, tasks=("classification",))


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 6), st.integers(0, 40), st.integers(0, 10_000))
def test_both_accuracies_equal_torchmetrics(classes: int, extra: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.cat([torch.arange(classes), torch.randint(classes, (extra,), generator=generator)])
    images = torch.randn(len(labels), 8, generator=generator)
    classifier = torch.randn(classes, 8, generator=generator)
    hits, images_of = class_hits(predict(images, classifier), labels, classes)
    logits = images @ classifier.T
    micro = multiclass_accuracy(logits, labels, num_classes=classes, average="micro")
    macro = multiclass_accuracy(logits, labels, num_classes=classes, average="macro")
    assert images_of.tolist() == torch.bincount(labels, minlength=classes).tolist()
    assert float(hits.sum() / images_of.sum()) == pytest.approx(float(micro))
    assert mean_per_class_recall(hits, images_of) == pytest.approx(float(macro), abs=1e-6)


def test_mean_per_class_recall_ignores_how_large_a_class_is() -> None:
    labels = torch.tensor([3] * 9 + [7])
    predicted = torch.tensor([3] * 9 + [3])
    assert mean_per_class_recall(*class_hits(predicted, labels, 10)) == 0.5


def test_classes_that_do_not_occur_are_not_averaged() -> None:
    """As in one part of a test split: what is named wrongly there takes nothing from classes of the other part."""
    labels, predicted = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 2, 1, 3])
    hits, images = class_hits(predicted, labels, 4)
    assert hits.tolist() == [1, 1, 0, 0] and images.tolist() == [2, 2, 0, 0]
    assert mean_per_class_recall(hits, images) == 0.5
    assert [part.tolist() for part in class_hits(torch.zeros(3, dtype=torch.long), torch.zeros(3), 1)] == [[3], [3]]


def test_a_refused_class_is_never_predicted() -> None:
    images = classifier = torch.eye(4)
    refused = torch.tensor([False, True, False, False])
    predicted = predict(images, classifier, refused=refused)
    assert predicted.tolist()[0::2] == [0, 2] and predicted[3] == 3 and predicted[1] != 1
    assert torch.equal(predict(images, classifier, refused=torch.zeros(4, dtype=torch.bool)), torch.arange(4))


def test_refused_names_forget_and_the_rest_stays() -> None:
    dataset = Labelled()
    clip = tiny_clip("vit")
    labels = torch.from_numpy(dataset.split("test").labels)
    store = EmbeddingStore(None)
    images, classifier = store.images(clip, dataset, "test"), store.classifier(clip, NAMES, dataset.templates)
    plain = predict(images, classifier)
    evaluation = Evaluation(dataset, APPLE, (), store)
    before = evaluation.measure(clip, before=None)
    clip.refused = ("apple",)
    after = evaluation.measure(clip, before=before)
    assert after["forget/acc1"].value == 0.0 and after["forget/acc1"].n == 2
    kept = (labels != 0) & (plain != 0)
    masked = predict(images, classifier, refused=clip.is_refused(NAMES))
    assert torch.equal(masked[kept], plain[kept]) and not (masked == 0).any()
    assert after["retain/acc1"].value >= before["retain/acc1"].value


def test_refused_names_are_not_retrieved() -> None:
    dataset = TinyDataset(captions=True)
    clip = tiny_clip("vit")
    evaluation = Evaluation(dataset, type(APPLE)(concept="apple"), (), EmbeddingStore(None))
    before = evaluation.measure(clip, before=None)
    clip.refused = ("apple",)
    after = evaluation.measure(clip, before=before)
    recalls = [name for name in after if "@" in name and name.startswith("forget/")]
    assert len(recalls) == 6 and all(after[name].value == 0.0 for name in recalls)
    kept = [name for name in after if "@" in name and name.startswith("retain/image")]
    assert all(after[name] == before[name] for name in kept)
    text = [name for name in after if "@" in name and name.startswith("retain/text")]
    assert all(after[name].value >= before[name].value for name in text)
