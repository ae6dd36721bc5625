"""Data sets, models and suites from their own cards and files."""

from __future__ import annotations

from benchmark.models.registry import recipe_titles, shipped_models
from benchmark.suites.suite_file import load_suite, suite_names
from benchmark.utils.table import Table
from datamodules.common.registry import dataset_cards


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
