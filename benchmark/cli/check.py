"""`check`: the contract tests on a method file."""

from __future__ import annotations

from pathlib import Path

from benchmark.cli.options import Models, WhereFolder


def check_command(file: str, /, *, model: Models = (), cache_dir: WhereFolder | None = None) -> int:
    """Tell whether a method file keeps the contract of methods/common/base.py.

    Runs the method for a few steps on small CLIPs and the embedded world, and checks its card, its data regime, what it
    edits, that it can be repeated, and that it leaves numbers behind.

    Args:
        file: The method's file.
        model: The CLIPs to try, separated by commas; by default the small ones of the package.
        cache_dir: The folder of the embedded world's images; by default in the user's cache.
    """
    from rich.console import Console

    from benchmark.execution.contract import check_method
    from benchmark.models.registry import shipped_models
    from benchmark.utils.folders import cache_folder
    from datamodules.common.text import printable

    models = model or tuple(name for name in shipped_models() if name.startswith("shapes"))
    console = Console(highlight=False, soft_wrap=True, markup=False)
    failed = 0
    for finding in check_method(Path(file), models, cache_folder(cache_dir)):
        failed += not finding.holds
        console.print("kept  " if finding.holds else "BROKEN", style="green" if finding.holds else "red", end=" ")
        console.print(printable(finding.clause), end="")
        console.print(f": {printable(finding.detail)}" if finding.detail else "")
    if failed:
        print(f"{failed} clauses are broken: mend the method and check again")
        return 1
    print(f"{file} keeps the contract: run it with `python -m benchmark run --plugin {file}`")
    return 0
