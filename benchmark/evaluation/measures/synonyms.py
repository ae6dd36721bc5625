"""synonyms: whether images of a concept are still found by captions that name it by another word.

Each mention of the concept in the test captions is replaced by a synonym ("a donut on white" for "a ring on white"),
and the recalls of the forgotten images and their captions are taken again: the mean of R@1, R@5 and R@10 of image and
text retrieval, as `mean_recall` is. With s one of the synonyms S of the concept:

    synonym recall = max over s in S of mean_recall(forget set, captions with s in the place of the concept)

An edit of the name alone, or a filter that refuses it, leaves the other words. The record tells each synonym's recall.
A model that hardly knows a word finds little by it from the beginning: read it beside the original's. The synonyms are
data files, `datamodules/synonyms/`; of a concept that is in none, WordNet's. What `paraphrases` asks of a class; our
choice.
"""

from __future__ import annotations

from benchmark.evaluation.context import Context
from benchmark.evaluation.evaluate import Metrics, retrieval_metrics
from benchmark.evaluation.families import NotMeasurableError
from benchmark.records.record import Metric
from datamodules.common.image_request import chooses_images
from datamodules.common.narrowed import RewordedDataset
from datamodules.common.synonyms import reworded, synonyms_of


def measure(context: Context) -> Metrics:
    """`forget/synonym_mean_recall`."""
    request, dataset = context.request, context.dataset
    if chooses_images(request):
        raise NotMeasurableError("the request chooses images: this measure needs a concept")
    if not request.concept:
        raise NotMeasurableError("the request is by class: this measure needs captions that name a concept")
    synonyms = synonyms_of(dataset.name, request)
    if not synonyms:
        raise NotMeasurableError(f"no synonym of {request.concept!r} is known; datamodules/synonyms/ may name some")
    images = context.images().to(context.clip.device)
    recalls: dict[str, Metric] = {}
    for synonym in synonyms:
        captions = [
            tuple(reworded(caption, request, synonym) for caption in of_image)
            for of_image in dataset.split("test").captions or ()
        ]
        other = RewordedDataset(dataset, captions)
        found = retrieval_metrics(context.store, context.clip, other, images, {"": context.forget})
        recalls[synonym] = found["mean_recall"]
    known = {synonym: metric.value for synonym, metric in recalls.items() if metric.value is not None}
    if not known:
        raise NotMeasurableError("no image of the concept is in the gallery")
    context.report["synonyms"] = {synonym: round(value, 4) for synonym, value in known.items()}
    return {"forget/synonym_mean_recall": recalls[max(known, key=lambda synonym: known[synonym])]}
