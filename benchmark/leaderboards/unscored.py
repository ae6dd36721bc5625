"""Requests on which no row of a board can have Q: the original itself knows too little of them for a measure of E."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from benchmark.evaluation.measures.quality import QUALITY, RESIDUAL
from benchmark.leaderboards.grouping import by_request
from benchmark.leaderboards.scored import REPORT
from benchmark.records.record import Record

MOST = 0.2
"""The share of a board's requests that Q may leave out; with more of them the board is ranked by S. Our choice."""
LEFT_OUT = frozenset({QUALITY, RESIDUAL})
"""The metrics whose means leave such requests out."""


def unscored(records: Iterable[Record]) -> tuple[str, ...]:
    """The requests on which no row has Q, whatever the method; none where they are more than a fifth of all.

    Whether E can be measured on a request depends on the original and on what it is measured from, not on a method, so
    no row gains by what is left out: it is the same for all.

    Args:
        records: Of one board, with E, D and Q.
    """
    requests = by_request(records)
    without = [name for name, of in requests.items() if all(record.metrics[QUALITY].value is None for record in of)]
    return tuple(sorted(without)) if len(without) <= MOST * len(requests) else ()


def requests_with(metric: str, requests: int, left_out: Collection[str]) -> int:
    """How many of a board's requests the mean of a metric is over.

    Args:
        metric: Full name.
        requests: How many the board has.
        left_out: Those that Q and E leave out.
    """
    return requests - (len(left_out) if metric in LEFT_OUT else 0)


def unscored_note(left_out: Sequence[str], records: Iterable[Record]) -> str:
    """Which requests Q and E leave out, and why, of the first.

    Args:
        left_out: The requests.
        records: Of the board.
    """
    requests = by_request(records)
    reasons = [dict(record.report.get("not_measured") or {}).get(REPORT) for record in requests[left_out[0]]]
    why = next((f" ({left_out[0]}: {reason})" for reason in reasons if reason is not None), "")
    over = f"{requests_with(QUALITY, len(requests), left_out)} of {len(requests)} requests"
    return f"Q and E are over {over}: on {', '.join(left_out)} no row can have them{why}"
