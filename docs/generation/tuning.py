"""The kept searches for the page on tuning: how far the campaign is, what it found, and its trials as figures."""

from __future__ import annotations

from collections import defaultdict

from benchmark.report.sensitivity import LEGEND, sensitivity_figures
from benchmark.suites.tuned.trials import load_trials, trials_file
from benchmark.suites.tuned.values import Tuned
from benchmark.utils.table import Table
from docs.generation.method_pages import gain, is_searched, registry, tuned_values


def sensitivity() -> str:
    """The score of every kept trial over the rate, a figure for each data set, kind of request and model."""
    figures = sensitivity_figures(load_trials(trials_file()))
    if not figures:
        return "No search is kept yet."
    head = f"Every trial over the rate, or over the first weight where a method has no rate. {LEGEND}"
    return "\n\n".join([head, *(f"### {figure.title}\n\n{figure.svg}" for figure in figures)])


def values_found() -> str:
    """A table for each data set, kind of request and model: the score of each method's search before and after."""
    groups: dict[tuple[str, str, str, str], list[Tuned]] = defaultdict(list)
    for entry in tuned_values():
        groups[entry.dataset, entry.kind, entry.model, entry.score].append(entry)
    wanted = sum(map(is_searched, registry().names()))
    parts = []
    for (dataset, kind, model, score), entries in groups.items():
        best_first = sorted(entries, key=lambda entry: entry.objective, reverse=score == "Q")
        rows = [[f"[{entry.method}](methods/{entry.method}.md)", gain(entry)] for entry in best_first]
        table = Table.of_texts(["method", f"{score}, before → after"], rows, words=(0,)).markdown()
        parts.append(f"{dataset}, forget {kind}, {model}: {len(entries)} of {wanted} methods.\n\n{table}")
    return "\n\n".join(parts) or "No search is kept yet."
