"""`list`: methods, data sets, models, suites or measures."""

from __future__ import annotations

from typing import Literal

from benchmark.cli.options import Plugins


def list_command(what: Literal["methods", "datasets", "models", "suites", "measures"], /, *, plugins: Plugins) -> int:
    """List what there is.

    Args:
        what: methods, datasets, models, suites or measures.
    """
    from benchmark.suites import overview

    tables = {
        "methods": lambda: overview.methods_overview(plugins.plugin),
        "datasets": overview.datasets_overview,
        "models": overview.models_overview,
        "suites": overview.suites_overview,
        "measures": overview.measures_overview,
    }
    print(tables[what]().table().text().strip("\n"))
    return 0
