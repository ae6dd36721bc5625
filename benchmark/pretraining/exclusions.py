"""What a model that never saw the forget data must not see: in every data set of its corpus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from datamodules.common.dataset import Dataset
from datamodules.common.errors import RequestError, UnknownNameError
from datamodules.common.request import ForgetRequest, mentions, plural


def exclusions(datasets: Sequence[Dataset], home: str, request: ForgetRequest) -> dict[str, ForgetRequest]:
    """What is left out for a forget request, by data set.

    The request itself in its own data set; in another one the classes whose names contain the forgotten ones, and the
    images whose captions mention them: a class that is left out of one part of the corpus alone would still be learned
    from the others. Who forgets chairs sees no windsor chair either.

    Args:
        datasets: Of the corpus.
        home: The data set that the request concerns.
        request: What to forget.
    """
    excluded: dict[str, ForgetRequest] = {}
    for dataset in datasets:
        meant = [request] if dataset.name == home else _elsewhere(dataset, request)
        chosen = next((candidate for candidate in meant if _occurs(dataset, candidate)), None)
        if chosen is not None:
            excluded[dataset.name] = chosen
    return excluded


def exclusions_everywhere(datasets: Sequence[Dataset], names: Sequence[str]) -> dict[str, ForgetRequest]:
    """What is left out for names that are at home in no one data set, by data set.

    Args:
        datasets: Of the corpus.
        names: Of classes or concepts.

    Raises:
        UnknownNameError: If a name occurs in none of them.
    """
    for name in names:
        if not exclusions(datasets, "", ForgetRequest(classes=(name,))):
            known = dict.fromkeys(
                name for dataset in datasets for name in (*dataset.class_names, *dataset.concept_names)
            )
            where = ", ".join(dataset.name for dataset in datasets)
            raise UnknownNameError(f"class of {where}", name, known)
    return exclusions(datasets, "", ForgetRequest(classes=tuple(names)))


def _elsewhere(dataset: Dataset, request: ForgetRequest) -> Iterator[ForgetRequest]:
    """What a request means in another data set: by its classes, or else by its captions."""
    words = tuple(dict.fromkeys([*(word for name in request.names for word in (name, plural(name))), *request.words]))
    shared = mentions(dataset.class_names, words)
    if shared.any():
        yield ForgetRequest(classes=tuple(np.array(dataset.class_names)[shared].tolist()))
    if "retrieval" in dataset.card.tasks:
        yield ForgetRequest(concept=request.names[0], words=words)


def _occurs(dataset: Dataset, request: ForgetRequest) -> bool:
    try:
        dataset.forget_mask(dataset.split("train"), request)
    except RequestError:
        return False  # nothing of the kind occurs there
    return True
