"""Methods, data sets, models and suites from their own cards and files."""

from __future__ import annotations

import ast
import dataclasses
import math
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from benchmark.models.registry import recipe_titles, shipped_models
from benchmark.suites.suite import load_suite, suite_names
from benchmark.suites.tuned.space import competes
from benchmark.utils.table import Table
from datamodules.common.registry import dataset_cards
from docs.generation.boards import find_board, score_table
from methods.common.registry import Registry

FINDINGS = Path(__file__).with_name("findings.yaml")
"""One sentence a method: what it does well and badly on the reference boards. Written, not computed."""
SCORE_BOARDS = (
    ("S class ↓", ("quick", "class")),
    ("S concept ↓", ("quick", "concept")),
    ("S CIFAR-100 ↓", ("cifar100", "class")),
)


@cache
def findings() -> dict[str, str]:
    """The sentences by method."""
    content: dict[str, str] = yaml.safe_load(FINDINGS.read_text(encoding="utf-8"))
    return content


@cache
def registry() -> Registry:
    """The methods of the project; methods that other packages bring are not part of its pages."""
    return Registry()


def competing() -> list[str]:
    """The methods that hold ranks, in alphabetical order."""
    return [name for name in registry().names() if competes(registry(), name)]


def method_scores() -> str:
    """S of every competing method on three boards, and what it does well and badly there."""
    columns = [(title, find_board(*place)) for title, place in SCORE_BOARDS]
    rows = [
        [f"[`{name}`](#{name})", *scores, findings().get(name, "")]
        for name, *scores in score_table(columns, ["original", *competing()])
    ]
    titles = ["method", *(title for title, _ in SCORE_BOARDS), "here"]
    return Table.of_texts(titles, rows, words=(0, 4)).markdown()


def tuned_scores() -> str:
    """S before and after one tuning budget for all, on the requests of suite quick, best tuned mean first."""
    kinds = ("class", "concept")
    order = score_table([(kind, find_board("quick", kind, tuned=True)) for kind in kinds], competing())
    plain = {n: v for n, *v in score_table([(k, find_board("quick", k)) for k in kinds], competing())}
    rows = [[f"`{n}`", *(f"{a} → {b}" for a, b in zip(plain[n], tuned, strict=True))] for n, *tuned in order]
    return Table.of_texts(["method", "S class ↓", "S concept ↓"], rows, words=(0,)).markdown()


def method_cards(which: str) -> str:
    """A section for each method: its source, what it reads and edits, its formula and hyperparameters.

    Args:
        which: "competing" or "baselines".
    """
    ranked = set(competing())
    names = [name for name in registry().names() if (name in ranked) == (which == "competing")]
    return "\n\n".join(_method(name) for name in names)


def dataset_table() -> str:
    """The data sets with what must lie below the data folder."""
    rows = [
        [f"`{card.name}`", card.title, ", ".join(card.tasks), f"`{card.folder}/`" if card.folder else "nothing"]
        for card in dataset_cards().values()
    ]
    return Table.of_texts(["data set", "what", "tasks", "below `--data-dir`"], rows, words=range(4)).markdown()


def model_table() -> str:
    """The small CLIPs of the project."""
    shipped = shipped_models()
    rows = [
        [f"`{name}`", title, "in the package" if name in shipped else f"`pretrain {name}`"]
        for name, title in recipe_titles().items()
    ]
    return Table.of_texts(["model", "what", "weights"], rows, words=range(3)).markdown()


def suite_table() -> str:
    """The suites with their models, data sets and requests."""
    rows = []
    for name in suite_names():
        suite = load_suite(name)
        requests = dict.fromkeys(str(request) for task in suite.tasks for request in task.requests)
        datasets = dict.fromkeys(task.dataset for task in suite.tasks)
        shown = ", ".join(requests) if len(requests) <= 6 else f"{len(requests)} requests"
        rows.append([f"`{name}`", suite.title, ", ".join(suite.every_model), ", ".join(datasets), shown])
    return Table.of_texts(["suite", "what", "models", "data sets", "requests"], rows, words=range(5)).markdown()


def _method(name: str) -> str:
    declaration = registry().declaration(name)
    card = declaration.card
    facts = [
        ("paper", card.paper),
        ("reads", f"`{card.regime}`"),
        ("edits", ", ".join(card.edits)),
        ("chance", "yes: every seed of a suite runs" if card.stochastic else "none: one seed is enough"),
        ("file", f"`methods/{declaration.path.name}`"),
    ]
    statement = ast.get_docstring(ast.parse(declaration.path.read_text(encoding="utf-8"))) or ""
    box = "\n".join(f"    {line}".rstrip() for line in ["```text", *statement.splitlines(), "```"])
    blocks = [
        f"### {name}",
        f"{card.title[0].upper()}{card.title[1:]}.",
        *([findings()[name]] if name in findings() else []),
        "\n".join(f"- **{name}**: {value}" for name, value in facts),
        f'??? note "Formula and source"\n\n{box}',
        *_deviations(card.deviations),
        *_hyperparameters(declaration.hyperparameters),
    ]
    return "\n\n".join(blocks)


def _deviations(sentences: tuple[str, ...]) -> list[str]:
    if not sentences:
        return []
    return ["Departs from its source:\n\n" + "\n".join(f"- {sentence}" for sentence in sentences)]


def _hyperparameters(kind: type) -> list[str]:
    rows = []
    for field in dataclasses.fields(kind):
        meta = field.metadata
        small = meta.get("small")
        source = meta.get("source", "")
        more = f"; small CLIPs: {meta['small_source']}" if small is not None else ""
        default = f"`{_short(field.default)}`" + (f", small CLIPs `{_short(small)}`" if small is not None else "")
        rows.append([f"`{field.name}`", default, _range(meta.get("low"), meta.get("high")), f"{source}{more}"])
    if not rows:
        return []
    return [Table.of_texts(["hyperparameter", "default", "range", "source"], rows, words=range(4)).markdown()]


def _range(low: Any, high: Any) -> str:
    ends = (low if low is not None else -math.inf, high if high is not None else math.inf)
    return "" if ends == (-math.inf, math.inf) else f"{ends[0]:g} to {'∞' if ends[1] == math.inf else f'{ends[1]:g}'}"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
