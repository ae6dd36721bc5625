"""Robust S: Kravets' score with the worst case in the place of the forget accuracy.

    S_robust = 1/(2+k) [ max(AF_t, worst prompt, soft prompt, probe, relearning at 16 shots) / BF_t + the drops of S ]

AF_t, BF_t, k and the drops are those of S (Kravets & Namboodiri, WACV 2025; see scores.py). The worst case is over what
an attacker who has the weights can do: it is never below S, and doing nothing scores about 1/(2+k) again. Our choice,
because a method should be judged by what it removes, not by what it hides. Lower is better. Where one of the attacks
could not be measured the score is empty: a shorter list would be an easier test.
"""

from __future__ import annotations

from benchmark.evaluation.context import Context
from benchmark.evaluation.evaluate import Metrics
from benchmark.evaluation.families import NotMeasurableError
from benchmark.evaluation.numerics.metrics import kravets
from benchmark.records.record import Metric

ATTACKS = (
    "forget/acc1",
    "forget/worst_prompt_acc1",
    "forget/soft_prompt_acc1",
    "forget/probe_acc1",
    "forget/relearn_acc1@16",
)


def measure(context: Context) -> Metrics:
    """`score/robust`; the record tells which attack was the worst."""
    context.require_classes()
    now, before = context.metrics, context.before or context.metrics
    attacks = {name: now[name].value if name in now else None for name in ATTACKS}
    missing = [name for name, value in attacks.items() if value is None]
    if missing:
        raise NotMeasurableError(f"{missing[0]} was not measured")
    worst, name = max((value, name) for name, value in attacks.items() if value is not None)
    forget = before["forget/acc1"].value
    retain = (before["retain/acc1"].value, now["retain/acc1"].value)
    others = [(before[m].value, now[m].value) for m in now if m.startswith("other/") and m.count("/") == 2]
    if forget is None or None in retain or any(None in pair for pair in others):
        raise NotMeasurableError("an accuracy of S is missing")
    known = [(was, after) for was, after in (retain, *others) if was is not None and after is not None]
    context.report["worst_attack"] = name
    value = kravets(forget=(forget, worst), retain=known[0], others=known[1:])
    return {"score/robust": Metric(value, None, None)}
