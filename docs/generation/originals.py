"""Several trainings of one recipe: what each method scores on each, and how much of a score is the training's luck."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations
from math import sqrt
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from benchmark.evaluation.measures.quality import QUALITY
from benchmark.leaderboards.findings import listed
from benchmark.leaderboards.scored import with_quality
from benchmark.records.record import Record
from benchmark.records.store import REFERENCE, RecordStore
from benchmark.utils.statistics import kendalls_tau
from benchmark.utils.table import Table, number_text
from datamodules.common.image_request import read_request
from docs.generation.boards import reference_boards

Scores = dict[str, dict[str, dict[str, float]]]
"""Q by method, training and request."""
Means = dict[str, dict[str, float]]
"""The same over the requests, by method and training."""


def originals_table(argument: str) -> str:
    """A row for each method of suites whose models are trainings of one recipe: Q on each, means over the requests.

    Args:
        argument: Names of suites, apart by spaces; what all their trainings have is compared.

    Raises:
        LookupError: If the records are of fewer than two models, or of fewer than three methods with Q on all.
    """
    suites = argument.split()
    store = RecordStore(REFERENCE, older=True)
    found = scores_of([record for suite in suites for record in with_quality(store.all(suite))])
    boards = [board for board in reference_boards() if board.key.suite in suites]
    baselines = {row.method for board in boards for row in board.rows if row.reference}
    competing = common({name: of for name, of in found.items() if name not in baselines})
    trainings = sorted({training for of in found.values() for training in of})
    if len(trainings) < 2 or len(competing) < 3:
        raise LookupError(f"{' and '.join(suites)}: no three methods with Q on two trainings")
    shared = set(competing[next(iter(competing))][trainings[0]])
    beside = {
        name: _of_requests(found[name], shared) for name in baselines if set(found.get(name, ())) == set(trainings)
    }
    means = means_of({**beside, **competing})
    rows = []
    for name in sorted(means, key=lambda name: (name in competing, -fmean(means[name].values()))):
        values = [means[name][training] for training in trainings]
        rows.append([f"`{name}`", *(number_text(value, 1.0, 3) for value in (*values, max(values) - min(values)))])
    table = Table.of_texts(["Q on", *(f"`{name}`" for name in trainings), "apart"], rows, words=(0,)).markdown()
    return f"{table}\n\n{_luck(competing, trainings)}"


def common(scores: Scores) -> Scores:
    """The requests that stand on every training, and the methods that have Q on all of these."""
    on: dict[str, set[str]] = defaultdict(set)
    for of in scores.values():
        for training, by in of.items():
            on[training] |= set(by)
    shared = sorted(set.intersection(*on.values())) if on else []
    return {
        name: {training: {each: of[training][each] for each in shared} for training in on}
        for name, of in scores.items()
        if all(set(shared) <= set(of.get(training, ())) for training in on)
    }


def _of_requests(of: dict[str, dict[str, float]], requests: set[str]) -> dict[str, dict[str, float]]:
    """A baseline's Q on some requests, as far as it has them: a retrained model may lack a measure on one."""
    return {training: {each: q for each, q in by.items() if each in requests} for training, by in of.items()}


def scores_of(records: list[Record]) -> Scores:
    """Q of each cell, means over seeds; a method with an empty one on a request has none there."""
    found: dict[tuple[str, str, str], list[float | None]] = defaultdict(list)
    for record in records:
        cell = record.cell
        request = str(read_request(cell["request"]))
        found[cell["method"], _training(cell["model"]), request].append(record.metrics[QUALITY].value)
    scores: Scores = defaultdict(lambda: defaultdict(dict))
    for (method, training, request), values in found.items():
        known = [value for value in values if value is not None]
        if len(known) == len(values):
            scores[method][training][request] = fmean(known)
    return scores


def means_of(scores: Scores) -> Means:
    """Means over the requests."""
    return {name: {training: fmean(by.values()) for training, by in of.items()} for name, of in scores.items()}


def leader(means: Means, training: str) -> str:
    """The method with the highest mean on a training."""
    return max(means, key=lambda name: means[name][training])


def _training(model: str) -> str:
    return model.rpartition("/")[2].removesuffix(".safetensors")


@dataclass(frozen=True)
class Parts:
    """What Q of a method on a training and a request is made of: standard deviations of a three-way layout.

    One value a cell, all factors random (a textbook's analysis of variance): the interaction of all three cannot be
    told from noise and is what the others are held against. A component whose mean square is below that is 0.

    Attributes:
        method: Between methods.
        training: Between trainings, for all methods alike.
        by_training: Of single methods on single trainings: what makes one training's order another than the next one's.
        rest: What is left: of a method, a training and a request together.
        p: Of F for `by_training`; small where methods and trainings do interact.
    """

    method: float
    training: float
    by_training: float
    rest: float
    p: float


def parts_of(values: NDArray[np.float64]) -> Parts:
    """Split Q into its parts.

    Args:
        values: Q, (methods, trainings, requests), at least two of each, no gaps.
    """
    from scipy.stats import f

    def mean(*over: int) -> NDArray[np.float64]:
        return np.asarray(values.mean(over, keepdims=True))

    whole, sides = mean(0, 1, 2), values.shape
    main = [mean(1, 2) - whole, mean(0, 2) - whole, mean(0, 1) - whole]
    pairs = {(0, 1): mean(2), (0, 2): mean(1), (1, 2): mean(0)}
    pairs = {(a, b): each - main[a] - main[b] - whole for (a, b), each in pairs.items()}
    left = values - whole - sum(main) - sum(pairs.values())
    free = [side - 1 for side in sides]
    rest = float((left**2).sum()) / (free[0] * free[1] * free[2])
    square = {at: float((each**2).mean()) * values.size / (free[at[0]] * free[at[1]]) for at, each in pairs.items()}

    def component(of: int) -> float:
        """Of a factor alone, without its interactions with the two others."""
        alone = float((main[of] ** 2).mean()) * values.size / free[of]
        beside = sum(each for at, each in square.items() if of in at) - rest
        return sqrt(max(alone - beside, 0.0) * sides[of] / values.size)

    both = square[0, 1]
    return Parts(
        method=component(0),
        training=component(1),
        by_training=sqrt(max(both - rest, 0.0) / sides[2]),
        rest=sqrt(rest),
        p=float(f.sf(both / rest, free[0] * free[1], free[0] * free[1] * free[2])) if rest else 0.0,
    )


def _luck(scores: Scores, trainings: list[str]) -> str:
    """How alike the orders are, and what Q is made of."""
    means = means_of(scores)
    columns = {training: [of[training] for of in means.values()] for training in trainings}
    taus = [kendalls_tau(columns[a], columns[b]) for a, b in combinations(trainings, 2)]
    leaders = listed([f"`{method}`" for method in dict.fromkeys(leader(means, each) for each in trainings)])
    said = (
        f"{len(scores)} methods; Kendall's tau between the orders on two trainings: "
        f"{listed([f'{tau:.2f}' for tau in taus])} (1: the same, 0: unrelated); first on the {len(trainings)} "
        f"trainings: {leaders}."
    )
    requests = sorted(next(iter(scores.values()))[trainings[0]])
    if len(requests) < 2:
        return said
    parts = parts_of(
        np.array([[[of[name][each] for each in requests] for name in trainings] for of in scores.values()])
    )
    return (
        f"{said} Standard deviations of Q by analysis of variance ({len(requests)} classes): {parts.method:.3f} "
        f"between methods, {parts.training:.3f} between trainings for all methods, {parts.by_training:.3f} of single "
        f"methods on single trainings (F test: p = {parts.p:.2g}), {parts.rest:.3f} of a method on one class."
    )
