"""`list`: methods, data sets, models, suites or measures."""

from __future__ import annotations

import textwrap
from typing import Literal

from benchmark.cli.options import Plugins


def list_command(
    what: Literal["methods", "datasets", "models", "suites", "measures"], /, *, details: bool = False, plugins: Plugins
) -> int:
    """List what there is.

    Args:
        what: methods, datasets, models, suites or measures.
        details: With `methods`, also where each departs from its source, and why.
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
    if details and what == "methods":
        for name, deviations in overview.deviations_of(plugins.plugin).items():
            print(f"\n{name} departs from its source:")
            for sentence in deviations:
                print(textwrap.fill(sentence, 110, initial_indent="  - ", subsequent_indent="    "))
    return 0
