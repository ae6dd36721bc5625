"""Tables of the measures: what each is called, its range and its better way, from the catalogue."""

from __future__ import annotations

import ast
from pathlib import Path

from benchmark.evaluation.catalogue import MEASURES, Measure, describe, find
from benchmark.evaluation.families import DERIVED, FAMILIES
from benchmark.utils.table import Table

FOLDER = Path(__file__).resolve().parents[2] / "benchmark" / "evaluation" / "measures"
WORDS = {"lower": "lower", "higher": "higher", "none": "–"}


def family_list() -> str:
    """One line for each family of measures that a suite may name."""
    rows = [[f"[`{name}`](#{name})", family.title, _needs(family.needs)] for name, family in FAMILIES.items()]
    return Table.of_texts(["family", "what it asks", "needs"], rows, words=(0, 1, 2)).markdown()


def family_table(name: str) -> str:
    """The metrics of a family, and its code's own statement in a box that opens.

    Raises:
        LookupError: If there is no such family, or the catalogue lacks one of its metrics.
    """
    measures = dict.fromkeys(_measure(metric) for metric in {**FAMILIES, **DERIVED}[name].metrics)
    statement = ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))) or ""
    box = "\n".join(f"    {line}".rstrip() for line in ["```text", *statement.splitlines(), "```"])
    return f'{measure_table(tuple(measures))}\n\n??? note "As the code states it"\n\n{box}\n'


def measures_named(names: str) -> str:
    """A table of single measures.

    Args:
        names: Of the catalogue, separated by commas; an end of "*" stands for all that begin so.
    """
    chosen = [m for name in names.split(",") for m in MEASURES if _fits(m.name, name.strip())]
    if not chosen:
        raise LookupError(f"the catalogue has no measure {names!r}")
    return measure_table(tuple(dict.fromkeys(chosen)))


def measure_table(measures: tuple[Measure, ...]) -> str:
    """Measures with their heads on a leaderboard, ranges and directions."""
    rows = [
        [f"`{m.name}`", _head(m), m.title, _range(m), WORDS[m.forget], WORDS[m.retain], ", ".join(m.needs)]
        for m in measures
    ]
    titles = ["measure", "on a leaderboard", "meaning", "range", "better on forget", "better on retain", "needs"]
    return Table.of_texts(titles, rows, words=range(7)).markdown()


def _fits(name: str, wanted: str) -> bool:
    return name.startswith(wanted[:-1]) if wanted.endswith("*") else name == wanted


def _head(measure: Measure) -> str:
    return describe(measure.name if "/" in measure.name else f"retain/{measure.name}").head.removeprefix("retain ")


def _range(measure: Measure) -> str:
    return f"{measure.low:g} to {'∞' if measure.high == float('inf') else f'{measure.high:g}'}"


def _measure(metric: str) -> Measure:
    measure = find(metric)
    if measure is None:
        raise LookupError(f"the catalogue has no measure for {metric!r}")
    return measure


def _needs(needs: tuple[str, ...]) -> str:
    words = {
        "train": "training images",
        "model": "the model itself",
        "retrained": "a retrained model",
        "shadows": "shadow models",
    }
    return ", ".join(words.get(need, need) for need in needs) or "kept outputs"
