"""`list`: methods, data sets, models, suites or measures."""

from __future__ import annotations

from typing import Literal

from benchmark.cli.listing import Listed, paths


def list_command(what: Literal["methods", "datasets", "models", "suites", "measures"], plugin: Listed = None) -> int:
    """List what there is.

    Args:
        what: methods, datasets, models, suites or measures.
        plugin: Files of further methods, separated by commas; may be repeated.
    """
    from benchmark.suites import overview

    tables = {
        "methods": lambda: overview.methods_overview(paths(plugin)),
        "datasets": overview.datasets_overview,
        "models": overview.models_overview,
        "suites": overview.suites_overview,
        "measures": overview.measures_overview,
    }
    print(tables[what]().table().text().strip("\n"))
    return 0
