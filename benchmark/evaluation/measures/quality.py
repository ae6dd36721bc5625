"""quality: one number for an unlearned model, from what is left and what was damaged.

    E = mean over the informative measures m of clip((m - floor) / (original - floor), 0, 1)
    D = mean over what had to stay of max(0, (before - after) / before)
    Q = 2 (1 - E)(1 - D) / ((1 - E) + (1 - D))

E (`score/residual`) is what is left of the forget set: 0 where every informative measure is at its floor or beyond, 1
where it is as the original's. The floor is the mean of the models that were trained without the forget set; a
retrained model itself is compared with the mean of the others, never with itself. Where no model was trained again,
the floor is what a model that knows nothing would show (chance), and E is marked so: such an E is stricter, because a
model that never saw a class still recognises some of its images by their likeness to others.

D (`score/damage`) is the mean relative drop on what had to stay: the retained part of the data set, the other data
sets (their mean counts once), and the retained captions where the data set has some. Gains do not count.

Q (`score/quality`) is the harmonic mean of 1 - E and 1 - D, in [0, 1], higher is better. Doing nothing has Q = 0, and
so has a model that is destroyed. Our choice; the harmonic mean because neither part can make up for the other.

Which measures are informative is a frozen list (`INFORMATIVE`), made by a meta-evaluation and not by taste
(`benchmark.leaderboards.meta_evaluation`, `leaderboard --informative`). E is empty where one of them is missing: a mean
over what happens to be there would be another number on every board. All three are made from recorded numbers, when
records are read: the floor depends on which retrained models there are, and a list that is confirmed or changed later
asks for no new run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from benchmark.evaluation.catalogue import find
from benchmark.evaluation.families import NotMeasurableError
from benchmark.records.record import Metric

Metrics = Mapping[str, Metric]
FloorKind = Literal["retrained", "chance"]
RESIDUAL, DAMAGE, QUALITY = "score/residual", "score/damage", "score/quality"
WANTED_RETRAINED = 3
"""Retrained models that the floor of E should be the mean of; with fewer a note says so."""
LEAST_REACH = {"fraction": 0.1, "score": 0.02}
"""The least distance of the original from the floor, by the measure's unit: below it a measure says nothing, because E
divides by it. A tenth of an accuracy is ten of the hundred test images of a class; cosines of CLIPs are close."""


def least_reach(metric: str) -> float:
    """The least distance of the original from the floor with which a metric says something, in the metric's unit."""
    measure = find(metric)
    return LEAST_REACH["fraction" if measure is None else measure.unit]


@dataclass(frozen=True)
class Informative:
    """A measure that E is made of.

    Attributes:
        metric: Full name; higher means that more is left.
        family: The family that gives it, as a suite names it.
        chance: What a model without knowledge shows, from the original's metrics and report; None where it is not
            recorded.
    """

    metric: str
    family: str
    chance: Callable[[Metrics, Mapping[str, Any], int], float | None]


def _guessing(metrics: Metrics, report: Mapping[str, Any], classes: int) -> float | None:
    """The accuracy of guessing: the share of the test images that one forgotten class has."""
    forget, retain = (metrics.get(f"{part}/acc1") for part in ("forget", "retain"))
    if forget is None or retain is None or not forget.n or retain.n is None:
        return None
    return forget.n / (forget.n + retain.n) / classes


def _reported(name: str) -> Callable[[Metrics, Mapping[str, Any], int], float | None]:
    def chance(metrics: Metrics, report: Mapping[str, Any], classes: int) -> float | None:
        value = report.get(name)
        return float(value) if isinstance(value, int | float) else None

    return chance


INFORMATIVE: tuple[Informative, ...] = (
    Informative("forget/image_map", "image_retrieval_map", _reported("image_map_chance")),
    Informative("forget/true_name_margin", "true_name_rank", _reported("true_name_margin_chance")),
    Informative("forget/worst_prompt_acc1", "paraphrases", _guessing),
    Informative("forget/relearn_acc1@0", "relearning", _guessing),
)
"""The measures of E for a request by class, frozen. The rule: of each family that any data set with classes can give,
the measure with which models that never saw the class and models that surely kept it are told apart best, if the area
under the curve is .95 or more and the retrained models of every request lie below the original by `LEAST_REACH` or
more. They ask four sides of a model: images alone, the name, other wordings, and whether the class comes back without a
single image of it. The nearest neighbours and the linear probe fail: they find a class nearly as well in a model that
never saw it. Requests by concept have no list yet. Made on the reported classes of suite oracle (9 retrained models);
confirmed on those of suite development-oracle, by which no board ranks methods."""


@dataclass(frozen=True)
class Residual:
    """What is left of the forget set.

    Attributes:
        value: E in [0, 1], lower is better.
        by_measure: The share of each informative measure that is left, in [0, 1].
        floor: Whether the floor is of retrained models or chance.
        retrained: How many retrained models the floor is the mean of.
    """

    value: float
    by_measure: dict[str, float] = field(default_factory=dict)
    floor: FloorKind = "retrained"
    retrained: int = 0


@dataclass(frozen=True)
class Lost:
    """What had to stay and did not.

    Attributes:
        value: D in [0, 1], lower is better.
        by_part: The relative drop of each part, in [0, 1]: "retain", "others", "retrieval".
    """

    value: float
    by_part: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Reference:
    """What a model is compared with on one request.

    Attributes:
        original: The original's metrics.
        report: What the original's record tells beside them; chance levels stand there.
        retrained: The metrics of the models trained without the forget set; for one of them, of the others.
        classes: How many classes the request names; 0 for a request by concept.
        has_retrained: Whether any model was trained without the forget set, this one included.
    """

    original: Metrics
    report: Mapping[str, Any]
    retrained: Sequence[Metrics]
    classes: int
    has_retrained: bool


def residual(metrics: Metrics, reference: Reference, *, informative: Sequence[Informative] = INFORMATIVE) -> Residual:
    """E of a model.

    Args:
        metrics: Of the model.
        reference: The original and the retrained models of the same request.
        informative: The measures that E is made of.

    Raises:
        NotMeasurableError: If a measure is missing, has no floor, or says nothing on this request.
    """
    if not reference.classes:
        raise NotMeasurableError("E: the request is by concept, and no measure of concepts is known to be informative")
    if reference.has_retrained and not reference.retrained:
        raise NotMeasurableError("E: the only retrained model of this request cannot be compared with itself")
    kind: FloorKind = "retrained" if reference.has_retrained else "chance"
    shares = {m.metric: _share_left(m, metrics, reference, kind) for m in informative}
    return Residual(sum(shares.values()) / len(shares), shares, kind, len(reference.retrained))


def _share_left(measure: Informative, metrics: Metrics, reference: Reference, kind: FloorKind) -> float:
    after = _value(measure, metrics, "this model")
    before = _value(measure, reference.original, "the original")
    if kind == "retrained":
        values = [_value(measure, retrained, "a retrained model") for retrained in reference.retrained]
        floor = sum(values) / len(values)
    else:
        chance = measure.chance(reference.original, reference.report, reference.classes)
        if chance is None:
            raise NotMeasurableError(
                f"E: the level of {measure.metric} by chance is not recorded; `measure {measure.family}` adds it"
            )
        floor = chance
    if before - floor < least_reach(measure.metric):
        raise NotMeasurableError(
            f"E: {measure.metric} says nothing here: {before:.3f} of the original against {floor:.3f} "
            + ("of retrained models" if kind == "retrained" else "by chance")
        )
    return min(1.0, max(0.0, (after - floor) / (before - floor)))


def _value(measure: Informative, metrics: Metrics, of: str) -> float:
    metric = metrics.get(measure.metric)
    if metric is None or metric.value is None:
        raise NotMeasurableError(
            f"E: {measure.metric} of {of} was not measured; `measure {measure.family}` adds it where it can be"
        )
    return metric.value


def damage(metrics: Metrics, original: Metrics, *, by_class: bool) -> Lost:
    """D of a model.

    Args:
        metrics: Of the model.
        original: Of the original.
        by_class: Whether the request is by class: what had to stay is then accuracy, and recall beside it where the
            data set has captions.

    Raises:
        NotMeasurableError: If the model lacks what the original has, or the original's value is 0.
    """
    name = "acc1" if by_class else "mean_recall"
    parts = {"retain": [f"retain/{name}"]}
    others = sorted(metric for metric in original if metric.startswith("other/") and metric.count("/") == 2)
    if others:
        parts["others"] = others
    if by_class and "retain/mean_recall" in original:
        parts["retrieval"] = ["retain/mean_recall"]
    drops = {
        part: sum(_drop(metric, metrics, original) for metric in names) / len(names) for part, names in parts.items()
    }
    return Lost(sum(drops.values()) / len(drops), drops)


def _drop(name: str, metrics: Metrics, original: Metrics) -> float:
    before, after = original.get(name), metrics.get(name)
    if before is None or before.value is None or after is None or after.value is None:
        raise NotMeasurableError(f"D: {name} was not measured")
    if before.value <= 0:
        raise NotMeasurableError(f"D: {name} of the original is 0: a relative drop is not defined")
    return min(1.0, max(0.0, (before.value - after.value) / before.value))


def quality(left: float, lost: float) -> float:
    """Q from E and D, all in [0, 1]; 0 where both parts are 0."""
    forgotten, retained = 1 - left, 1 - lost
    return 0.0 if forgotten + retained == 0 else 2 * forgotten * retained / (forgotten + retained)
