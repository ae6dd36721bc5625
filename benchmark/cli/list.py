"""`list`: methods, data sets, models, suites or measures."""

from __future__ import annotations

from collections.abc import Sequence
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
    table = tables[what]()
    _print(table.heads, table.rows)
    return 0


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
