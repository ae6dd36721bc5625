"""The committed speed measurements as a table."""

from __future__ import annotations

import json

from benchmark.records.store import REFERENCE
from benchmark.speed.report import MEASUREMENTS
from benchmark.utils.table import Table


def speed_table(file: str) -> str:
    """What was measured, against what, and whether the target was met.

    Args:
        file: The file's name in the folder of the reference records.
    """
    content = json.loads((REFERENCE / file).read_text(encoding="utf-8"))
    rows = []
    for measurement, findings in content["findings"].items():
        for finding in findings:
            rows.append(
                [
                    MEASUREMENTS[measurement],
                    finding["what"],
                    f"{_number(finding['value'])} {finding['unit']}",
                    _target(finding),
                ]
            )
    machine = content["machine"]
    note = f"Measured on {machine['device']}, {machine['threads']} threads on {machine['cores']} cores."
    table = Table.of_texts(["measured", "what", "value", "target"], rows, words=(0, 1, 3))
    return "\n".join([table.markdown(), "", note])


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _target(finding: dict[str, object]) -> str:
    for name, word in (("least", "at least"), ("most", "at most")):
        if finding[name] is not None:
            return f"{word} {finding[name]:g}: {'met' if finding['met'] else 'missed'}"
    return ""
