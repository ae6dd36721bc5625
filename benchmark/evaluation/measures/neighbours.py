"""neighbours: whether forgetting went too far, or not far enough, among the classes next to the forgotten one.

For a retained class c with recall b_c before and a_c after unlearning, its drop is b_c - a_c, in [-1, 1].

- near drop: mean drop of the neighbours. Over-generalisation: who forgets apples and loses pears too forgot fruit.
- far drop: mean drop of all other retained classes, to compare with.
- neighbour share: the share of forgotten test images that the model gives a neighbour's name. A model that never saw
  the class gives most of its images the name of something like it; none at all points at what was hidden. No direction
  is better in itself: compare it with the retrained model's.
- group accuracy: the share of them that it gives any name of the group, their own or a neighbour's.
  Under-generalisation: what kind of thing it is was not forgotten.

The neighbours of a class are the others of its superclass where the data set has superclasses with several classes
(CIFAR-100's), else the `NAMES` classes whose names are nearest to its own by the cosine of the ORIGINAL model's
zero-shot classifier. They are fixed before unlearning, so no selection effect lifts their mean. Of several forgotten
classes the neighbours are those of any. The record names them, and which of the two rules gave them. Our choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.evaluation.context import Context
from benchmark.evaluation.evaluate import Metrics
from benchmark.evaluation.families import NotMeasurableError
from benchmark.evaluation.measures.damage import class_recalls
from benchmark.evaluation.numerics.features import unit_norm
from benchmark.evaluation.numerics.metrics import predict
from benchmark.records.record import Metric
from benchmark.utils.statistics import wilson
from methods.common.clip import Clip

NAMES = 5


@dataclass(frozen=True)
class Neighbours:
    """The retained classes next to the forgotten ones.

    Attributes:
        labels: Theirs, ascending.
        rule: What made them neighbours: "superclass" or "names".
    """

    labels: tuple[int, ...]
    rule: str


def neighbours_of(
    forgotten: Sequence[int], names: Sequence[str], groups: Mapping[str, Sequence[str]], classifier: Tensor
) -> Neighbours:
    """The neighbours of some classes.

    Args:
        forgotten: Labels of the forgotten classes.
        names: Of all classes, C.
        groups: Classes by superclass; a group of one class is none.
        classifier: The original's zero-shot classifier, shape (C, D); normalised here.

    Raises:
        NotMeasurableError: If every class is forgotten.
    """
    forgotten_names = {names[label] for label in forgotten}
    siblings = {name for group in groups.values() if forgotten_names & set(group) for name in group} - forgotten_names
    if siblings:
        return Neighbours(tuple(label for label, name in enumerate(names) if name in siblings), "superclass")
    retained = torch.tensor([label for label in range(len(names)) if label not in set(forgotten)], dtype=torch.long)
    if len(retained) == 0:
        raise NotMeasurableError("every class is forgotten: nothing has neighbours")
    rows = unit_norm(classifier, "name embeddings of the original").cpu().double()
    nearness = (rows[retained] @ rows[list(forgotten)].T).amax(dim=1)
    order = torch.sort(nearness, descending=True, stable=True).indices[:NAMES]
    return Neighbours(tuple(sorted(retained[order].tolist())), "names")


def measure(context: Context) -> Metrics:
    """The two drops, and what the forgotten images are taken for; the record names the neighbours."""
    names, labels = context.require_classes(), context.labels()
    original_classifier = context.classifier(context.original)
    forgotten = context.forget_labels.tolist()
    near = neighbours_of(forgotten, names, context.dataset.class_groups, original_classifier)

    def predicted(clip: Clip) -> Tensor:
        return predict(context.images(clip), context.classifier(clip), refused=clip.is_refused_class(names)).cpu()

    answers = predicted(context.clip)
    drops = class_recalls(predicted(context.original) == labels, labels, len(names))
    drops = drops - class_recalls(answers == labels, labels, len(names))
    far = [label for label in range(len(names)) if label not in {*forgotten, *near.labels}]
    given = answers[context.forget]
    as_neighbour = int(torch.isin(given, torch.tensor(near.labels)).sum())
    in_group = int(torch.isin(given, torch.tensor([*near.labels, *forgotten])).sum())
    n = len(given)
    told = {names[label]: round(float(drops[label]), 4) for label in near.labels if not drops[label].isnan()}
    context.report["neighbours"] = {"by": near.rule, "drops": told}
    return {
        "retain/near_drop": _mean_drop(drops[list(near.labels)]),
        "retain/far_drop": _mean_drop(drops[far]),
        "forget/neighbour_share": Metric(as_neighbour / n, n, wilson(as_neighbour, n)),
        "forget/group_acc1": Metric(in_group / n, n, wilson(in_group, n)),
    }


def _mean_drop(drops: Tensor) -> Metric:
    """The mean over those classes that have test images; empty where none has."""
    known = drops[~drops.isnan()]
    return Metric(float(known.mean()) if len(known) else None, len(known), None)
