"""Figures of the kept searches for the page on tuning."""

from __future__ import annotations

from benchmark.report.sensitivity import sensitivity_figures
from benchmark.suites.tuned.trials import load_trials, trials_file


def sensitivity() -> str:
    """The score of every kept trial over the rate, a figure for each data set, kind of request and model."""
    figures = sensitivity_figures(load_trials(trials_file()))
    if not figures:
        return "No search is kept yet."
    head = (
        "Every trial over the rate, or over the first weight where a method has no rate. Square: before tuning; ring: "
        "the setting that was taken; cross: diverged or failed."
    )
    return "\n\n".join([head, *(f"### {figure.title}\n\n{figure.svg}" for figure in figures)])
