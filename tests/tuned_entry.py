"""An entry of a file of tuned values, for tests that need one."""

from __future__ import annotations

from typing import Any

from benchmark.suites.tuned.values import Tuned


def tuned_entry(**changes: Any) -> Tuned:
    """A whole entry with some fields changed."""
    fields: dict[str, Any] = {
        "method": "nullspace",
        "dataset": "shapes",
        "kind": "class",
        "model": "shapes-resnet",
        "weights": "compact:0",
        "revision": "1",
        "values": {"alpha": 0.5},
        "score": "Q",
        "objective": 0.3,
        "untuned": 0.1,
        "trials": 24,
        "failed": 0,
        "suite": "development",
        "command": "tune",
        "commit": None,
        "method_source": "ab" * 8,
    }
    return Tuned(**{**fields, **changes})
