"""The forget specification: what every method may know of a request, whatever its data regime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from datamodules.common.dataset import Dataset
from datamodules.common.request import ForgetRequest


@dataclass(frozen=True)
class NameSet:
    """The names of another data set and the prompt templates that fit them."""

    names: tuple[str, ...]
    templates: tuple[str, ...]


@dataclass(frozen=True)
class ForgetSpec:
    """What every method may know of a request, whatever its regime: names and prompt templates, no data.

    Attributes:
        request: The request.
        forget_names: The names to forget.
        retain_names: The names to keep (the other classes, or the concept vocabulary).
        templates: The prompt templates of the evaluation.
        dataset: The data set's name, for messages and caches.
        others: The class names of the other data sets that are to keep working: names only, as the rest.
    """

    request: ForgetRequest
    forget_names: tuple[str, ...]
    retain_names: tuple[str, ...]
    templates: tuple[str, ...]
    dataset: str
    others: tuple[NameSet, ...] = ()

    @classmethod
    def of(cls, dataset: Dataset, request: ForgetRequest, others: Sequence[Dataset] = ()) -> ForgetSpec:
        """The specification of a request on a data set, beside other data sets.

        Raises:
            RequestError: If the data set cannot serve it.
        """
        dataset.check_request(request)
        forget, retain = dataset.names_for(request)
        beside = tuple(NameSet(each.class_names, each.templates) for each in others if each.class_names)
        return cls(request, forget, retain, dataset.templates, dataset.name, beside)

    @property
    def all_names(self) -> tuple[str, ...]:
        """The names to forget, then the names to keep: the columns of the classifier that a method may build."""
        return self.forget_names + self.retain_names
