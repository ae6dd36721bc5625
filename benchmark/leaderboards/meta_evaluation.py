"""Which measures tell what was removed: the meta-evaluation from which the list of informative measures is made.

A measure of what is left deserves trust if it tells models that never saw the forget set (trained again without it)
from models that surely kept it: the original, a filter at its output, noise, and edits that an inverse undoes. For each
measure

    AUC = P(kept > never saw) + 1/2 P(kept = never saw)

over all pairs of two such models of one request; 1 tells them apart, 0.5 is a coin. Pairs of different requests are not
compared, because E is not either. A model that is destroyed (its retained accuracy or recall below half of the
original's) kept nothing and is left out. So are measures that themselves compare with a retrained model.

The interval is Newcombe's for two independent groups (method 5 of Statistics in Medicine 2006, 25:559, a score interval
from Hanley & McNeil's variance); models of one method on several requests are counted as independent, so it is a little
short. `reach` is by how much the retrained models lie below the original on the request where they are nearest to it: a
measure without reach gives a ratio of two noises.

The list must be made on classes that no board reports (`--suite development-oracle`) and confirmed on the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmark.evaluation.catalogue import find
from benchmark.evaluation.measures.quality import INFORMATIVE, least_reach
from benchmark.leaderboards.grouping import QUALITY_COLUMNS, BoardKey, by_board, by_request
from benchmark.leaderboards.scored import ORIGINAL, is_retrained
from benchmark.records.record import Record
from benchmark.utils.statistics import Z95
from datamodules.common.errors import BenchmarkError

NON_REMOVERS = (ORIGINAL, "logit_mask", "random_noise", "text_image_adaptation", "finetune_retain")
"""Methods that keep the class by construction, chosen from what they do and not from what any measure says: nothing,
an output filter, noise that knows no class, a text encoder turned while all image weights stay, and training on the
rest alone. Edits by one matrix (UCE, CCUP, a null-space edit) are left out: they can be undone where the matrix has an
inverse, which is a question of numbers and is not recorded."""
LEAST_AUC = 0.95
LEAST_KEPT = 0.5
"""Of the original's retained accuracy or recall that a model must have to count as one that kept the class."""


@dataclass(frozen=True)
class Trust:
    """How well a measure tells retrained models from models that kept the class.

    Attributes:
        metric: Full name.
        auc: Area under the curve, in [0, 1].
        low: Lower end of its 95 % interval.
        high: Upper end.
        reach: Least distance of the original from the mean of the retrained models over requests, in the metric's unit;
            below 0 where the retrained models show more of the class than the original.
        retrained: How many retrained models went in.
        kept: How many models that kept the class.
        requests: Over how many requests.
        listed: Whether E is made of it.
    """

    metric: str
    auc: float
    low: float
    high: float
    reach: float
    retrained: int
    kept: int
    requests: int
    listed: bool

    @property
    def informative(self) -> bool:
        """Whether it passes both rules: the area and the reach."""
        return self.auc >= LEAST_AUC and self.reach >= least_reach(self.metric)


def meta_evaluation(records: Iterable[Record]) -> dict[BoardKey, list[Trust]]:
    """The table of each board that has retrained models and models that kept the class; the best measure first.

    Args:
        records: In any order.

    Raises:
        BenchmarkError: If no board has both.
    """
    tables = {key: _table([*by_request(on_board).values()]) for key, on_board in by_board(records).items()}
    tables = {key: table for key, table in tables.items() if table}
    if not tables:
        raise BenchmarkError(
            f"no request has both retrained models and models that kept the class ({', '.join(NON_REMOVERS)}): "
            "run them with `python -m benchmark run --suite development-oracle`"
        )
    return tables


def _table(requests: Sequence[Sequence[Record]]) -> list[Trust]:
    names = sorted({name for records in requests for record in records for name in record.metrics})
    trusts = [trust for name in names if (trust := _trust(name, requests)) is not None]
    return sorted(trusts, key=lambda trust: (-trust.auc, -trust.low, trust.metric))


def _trust(name: str, requests: Sequence[Sequence[Record]]) -> Trust | None:
    """None where the measure says nothing of the forget set, or no request has both groups."""
    measure = find(name)
    if measure is None or measure.forget == "none" or not name.startswith(("forget/", "score/")):
        return None
    if name in QUALITY_COLUMNS or "retrained model" in measure.needs:
        return None
    sign = 1.0 if measure.forget == "lower" else -1.0
    wins = pairs = retrained_count = kept_count = used = 0
    reaches = []
    for records in requests:
        retrained = _values(records, name, sign, is_retrained)
        non_removers = _values(records, name, sign, _keeping(records))
        original = _values(records, name, sign, lambda record: record.cell["method"] == ORIGINAL)
        if not retrained or not non_removers or not original:
            continue
        wins += sum(2 * (k > r) + (k == r) for k in non_removers for r in retrained)
        pairs += len(non_removers) * len(retrained)
        reaches.append(fmean(original) - fmean(retrained))
        retrained_count, kept_count, used = retrained_count + len(retrained), kept_count + len(non_removers), used + 1
    if not pairs:
        return None
    auc = wins / 2 / pairs
    ends = auc_interval(auc, retrained_count, kept_count)
    listed = name in {informative.metric for informative in INFORMATIVE}
    return Trust(name, auc, *ends, min(reaches), retrained_count, kept_count, used, listed)


def _keeping(records: Sequence[Record]) -> Callable[[Record], bool]:
    """Whether a record is of a model that surely kept the class."""
    originals = [record for record in records if record.cell["method"] == ORIGINAL]

    def retained(record: Record) -> float:
        metric = record.metrics.get("retain/acc1") or record.metrics.get("retain/mean_recall")
        return metric.value if metric is not None and metric.value is not None else 0.0

    least = LEAST_KEPT * max(map(retained, originals), default=0.0)
    return lambda record: record.cell["method"] in NON_REMOVERS and retained(record) >= least


def _values(records: Sequence[Record], name: str, sign: float, wanted: Callable[[Record], bool]) -> list[float]:
    metrics = [record.metrics.get(name) for record in records if wanted(record)]
    return [sign * metric.value for metric in metrics if metric is not None and metric.value is not None]


def auc_interval(auc: float, first: int, second: int) -> tuple[float, float]:
    """The 95 % score interval of an area under the curve (Newcombe, 2006, method 5); of some width also at 0 and 1.

    Args:
        auc: The area, in [0, 1].
        first: Size of one group, at least 1.
        second: Of the other.
    """

    def deviation(area: float) -> float:
        more = (first + second) / 2 - 1
        spread = 1 + more * (1 - area) / (2 - area) + more * area / (1 + area)
        return math.sqrt(area * (1 - area) * spread / (first * second))

    def end(outer: float) -> float:
        inner = auc
        for _ in range(60):
            middle = (inner + outer) / 2
            if abs(middle - auc) <= Z95 * deviation(middle):
                inner = middle
            else:
                outer = middle
        return inner

    return end(0.0), end(1.0)
