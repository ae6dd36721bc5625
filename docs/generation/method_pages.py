"""The generated parts of the methods' pages, and of the page that lists them: from cards, tuned values and records.

A page holds formula and source by hand, `docs/methods/NAME.md`, between two blocks of this module.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import cache
from typing import Any

from benchmark.report.sensitivity import LEGEND, sensitivity_figures
from benchmark.suites.tuned.space import Choice, Range, competes, space_of
from benchmark.suites.tuned.trials import TUNED, KeptTrial, load_trials, trials_file
from benchmark.suites.tuned.values import Tuned, load_tuned
from benchmark.utils.table import Table, number_text
from docs.generation.boards import reference_boards
from docs.generation.standings import NONE_YET, against_original, places, sentences, standings_table
from methods.common.card import REGIME_NAMES, Declaration
from methods.common.registry import Registry

REGIMES = {
    "none": "nothing",
    "names": "the names alone, and images that it makes from the model; no image of the data",
    "forget": "image-text pairs of the forget set",
    "retain": "image-text pairs of the retain set",
    "forget+retain": "image-text pairs of the forget set and of the retain set",
    "pretraining": "the data that the model was trained on, less the forget set",
}
"""Data regimes in words."""
NEVER, NOT_YET = "Nothing of it is searched.", "Not tuned yet."


@cache
def registry() -> Registry:
    """The methods of the project; methods that other packages bring are not part of its pages."""
    return Registry()


@cache
def tuned_values() -> tuple[Tuned, ...]:
    """What the kept searches found."""
    return load_tuned(TUNED)


@cache
def kept_trials() -> tuple[KeptTrial, ...]:
    """The trials of the kept searches."""
    return tuple(load_trials(trials_file()))


def method_index() -> str:
    """A table of methods for each data regime, baselines last: what each does and edits, and how it stands here."""
    names = registry().names()
    ranked = {name for name in names if competes(registry(), name)}
    groups = [
        (f"Reads {REGIMES[regime]}", [n for n in names if n in ranked and _card(n).regime == regime])
        for regime in REGIME_NAMES
    ]
    groups.append(("Baselines", [name for name in names if name not in ranked]))
    return "\n\n".join(f"### {title}\n\n{_index_table(members)}" for title, members in groups if members)


def method_card(name: str) -> str:
    """What a method is: title, paper, what it reads and edits.

    Args:
        name: Registry name.
    """
    declaration = registry().declaration(name)
    card = declaration.card
    facts = [
        ("Paper", "none: a reference row, which holds no rank" if card.paper == "reference row" else card.paper),
        ("Reads", f"{REGIMES[card.regime]} (`{card.regime}`)"),
        ("Edits", ", ".join(card.edits)),
        *([("Needs a model with", ", ".join(card.needs))] if card.needs else []),
        ("Chance", "plays a part: every seed of a suite runs" if card.stochastic else "none: one seed is enough"),
        ("Code", f"`methods/{declaration.path.name}`"),
        ("Symbols", "[below the list of methods](../methods.md#symbols)"),
    ]
    lines = "\n".join(f"- **{what}**: {value}" for what, value in facts)
    return f"{card.title[0].upper()}{card.title[1:]}.\n\n{lines}"


def method_here(name: str) -> str:
    """What of a method is ours: departures from its source, values, how it depends on them, and where it stands.

    Args:
        name: Registry name.
    """
    declaration = registry().declaration(name)
    rows = places(name, reference_boards())
    said = "\n".join(f"- {sentence}" for sentence in sentences(rows))
    here = "\n\n".join(part for part in (said, standings_table(rows)) if part) if rows else NONE_YET
    sections = [
        ("Departs from its source", _deviations(declaration)),
        ("Hyperparameters", _hyperparameters(declaration)),
        ("Values that tuning found", tuned_table(name, tuned_values())),
        ("How much it depends on its settings", trial_figures(name, kept_trials())),
        ("Where it is good and bad here", here),
    ]
    return "\n\n".join(f"## {title}\n\n{text}" for title, text in sections if text)


def tuned_table(name: str, entries: Sequence[Tuned]) -> str:
    """The values that searches found for a method, a column each, with what they gave.

    Args:
        name: Registry name.
        entries: Of all methods.
    """
    if not is_searched(name):
        return NEVER
    chosen = [entry for entry in entries if entry.method == name]
    if not chosen:
        return NOT_YET
    dimensions = space_of(registry(), name).dimensions
    searched = list(dict.fromkeys([*dimensions, *(value for entry in chosen for value in entry.values)]))
    rows = [
        [f"`{value}`", _space(dimensions.get(value)), *(_shown(entry.values.get(value)) for entry in chosen)]
        for value in searched
    ]
    scores = "Q ↑" if all(entry.score == "Q" for entry in chosen) else "score"
    rows.append([f"{scores}, before → after", "", *map(gain, chosen)])
    rows.append(["trials (failed)", "", *(f"{entry.trials} ({entry.failed})" for entry in chosen)])
    heads = ["searched", "space", *(f"{e.dataset}, {e.kind}, {e.model}" for e in chosen)]
    return f"{_PROTOCOL}\n\n{Table.of_texts(heads, rows, words=(0, 1)).markdown()}"


def gain(entry: Tuned) -> str:
    """The score of a search before and after."""
    return f"{number_text(entry.untuned, 1.0, 3, missing='failed')} → {entry.objective:.3f}"


_PROTOCOL = "One budget for all methods, on requests and images that no board reports: see [Tuning](../tuning.md)."


def trial_figures(name: str, trials: Sequence[KeptTrial]) -> str:
    """The score of every kept trial of a method over its rate, a panel for each search; empty without trials.

    Args:
        name: Registry name.
        trials: Of all methods.
    """
    figures = sensitivity_figures(trial for trial in trials if trial.method == name)
    if not figures:
        return "No search is kept yet." if is_searched(name) else ""
    panels = "\n".join(
        f"<figure>\n<figcaption>{figure.title}</figcaption>\n{figure.svg}</figure>" for figure in figures
    )
    return f'{LEGEND}\n\n<div class="trial-panels">\n{panels}\n</div>'


def _card(name: str) -> Any:
    return registry().declaration(name).card


def is_searched(name: str) -> bool:
    """Whether a method competes and has settings to search."""
    return competes(registry(), name) and bool(space_of(registry(), name).dimensions)


def _index_table(names: Sequence[str]) -> str:
    rows = []
    for name in names:
        card = _card(name)
        found = places(name, reference_boards())
        here = against_original(found) if found else "no record yet"
        rows.append([f"[{name}](methods/{name}.md)", card.title, ", ".join(card.edits), here])
    heads = ["method", "what it does", "edits", "better than doing nothing"]
    return Table.of_texts(heads, rows, words=range(4)).markdown()


def _deviations(declaration: Declaration) -> str:
    return "\n".join(f"- {sentence}" for sentence in declaration.card.deviations)


def _hyperparameters(declaration: Declaration) -> str:
    """Published and small-CLIP values with their ranges and sources; empty where there are no hyperparameters."""
    fields = dataclasses.fields(declaration.hyperparameters)
    has_small = any(field.metadata.get("small") is not None for field in fields)
    rows = []
    for field in fields:
        meta, small = field.metadata, field.metadata.get("small")
        source = meta.get("source", "") + (f"; small CLIPs: {meta['small_source']}" if small is not None else "")
        values = [_shown(field.default), *([_shown(field.default if small is None else small)] if has_small else [])]
        rows.append([f"`{field.name}`", *values, _range(meta.get("low"), meta.get("high")), source])
    if not rows:
        return ""
    heads = ["name", "published backbones", *(["small CLIPs"] if has_small else []), "range", "source"]
    return Table.of_texts(heads, rows, words=range(len(heads))).markdown()


def _space(dimension: Range | Choice | None) -> str:
    if isinstance(dimension, Range):
        return f"{dimension.low:g} to {dimension.high:g}" + (", in logarithms" if dimension.scale == "log" else "")
    return "" if dimension is None else ", ".join(map(_plain, dimension.values))


def _range(low: Any, high: Any) -> str:
    ends = (low if low is not None else -math.inf, high if high is not None else math.inf)
    return "" if ends == (-math.inf, math.inf) else f"{ends[0]:g} to {'∞' if ends[1] == math.inf else f'{ends[1]:g}'}"


def _shown(value: object) -> str:
    return f"`{_plain(value)}`"


def _plain(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
