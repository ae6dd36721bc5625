"""`list`: methods, data sets, models, suites or measures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from benchmark.cli.listing import Listed, paths


def list_command(what: Literal["methods", "datasets", "models", "suites", "measures"], plugin: Listed = None) -> int:
    """List what there is.

    Args:
        what: methods, datasets, models, suites or measures.
        plugin: Files of further methods, separated by commas; may be repeated.
    """
    rows = {
        "methods": lambda: _methods(plugin),
        "datasets": _datasets,
        "models": _models,
        "suites": _suites,
        "measures": _measures,
    }[what]()
    _print(rows[0], rows[1:])
    return 0


def _methods(plugin: Listed) -> list[tuple[str, ...]]:
    import dataclasses

    from methods.common.registry import Registry

    registry = Registry(paths(plugin))
    rows: list[tuple[str, ...]] = [("method", "reads", "edits", "what", "paper", "defaults (small CLIPs)")]
    for name in registry.names():
        found = registry.declaration(name)
        defaults = []
        for field in dataclasses.fields(found.hyperparameters):
            small = field.metadata.get("small")
            other = f" ({_short(small)})" if small is not None else ""
            defaults.append(f"{field.name}={_short(field.default)}{other}")
        card = found.card
        rows.append((name, card.regime, ", ".join(card.edits), card.title, card.paper, " ".join(defaults)))
    return rows


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _datasets() -> list[tuple[str, ...]]:
    from datamodules.common.card import FOLDER_SCHEME
    from datamodules.common.registry import dataset_cards

    rows: list[tuple[str, ...]] = [("data set", "tasks", "below --data-dir", "what", "source")]
    for card in dataset_cards().values():
        rows.append((card.name, ", ".join(card.tasks), card.folder or "nothing needed", card.title, card.source))
    layout = "NAME/{train,test}/CLASS/*.jpg"
    rows.append((f"{FOLDER_SCHEME}NAME", "classification", layout, "your own images, one folder a class", "yours"))
    return rows


def _models() -> list[tuple[str, ...]]:
    from benchmark.models.registry import recipe_titles, shipped_models

    rows: list[tuple[str, ...]] = [("model", "weights", "what")]
    for name, title in recipe_titles().items():
        where = "in the package" if name in shipped_models() else f"make them: pretrain {name}"
        rows.append((name, where, title))
    rows.append(("ARCHITECTURE/TAG", "fetched by open_clip", "any open_clip model, such as ViT-B-32/openai"))
    rows.append(("ARCHITECTURE:FILE", "a file", "any open_clip architecture with a local checkpoint"))
    rows.append(("blip:DIR", "a folder", "a BLIP for image-text retrieval in Hugging Face's format (extra `blip`)"))
    rows.append(("blip/ORG/NAME", "fetched from the hub", "the same, such as blip/Salesforce/blip-itm-base-coco"))
    return rows


def _suites() -> list[tuple[str, ...]]:
    from benchmark.suites.parsing import load_suite, suite_names

    rows: list[tuple[str, ...]] = [("suite", "models", "data sets", "requests", "what")]
    for name in suite_names():
        suite = load_suite(name)
        requests = ", ".join(str(request) for task in suite.tasks for request in task.requests)
        datasets = ", ".join(dict.fromkeys(task.dataset for task in suite.tasks))
        rows.append((name, ", ".join(suite.every_model), datasets, requests, suite.title))
    return rows


def _measures() -> list[tuple[str, ...]]:
    from benchmark.evaluation.catalogue import MEASURES

    rows: list[tuple[str, ...]] = [("measure", "unit", "range", "on forget", "on retain", "needs", "what")]
    for m in MEASURES:
        span = f"{m.low:g} to {m.high:g}"
        rows.append((m.name, m.unit, span, m.forget, m.retain, ", ".join(m.needs), m.title))
    return rows


def _print(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(header_style="bold", show_lines=False, box=None, pad_edge=False)
    for number, name in enumerate(head):
        table.add_column(name, no_wrap=number == 0, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False, markup=False)
    (console if console.is_terminal else Console(width=180, highlight=False, markup=False)).print(table)
