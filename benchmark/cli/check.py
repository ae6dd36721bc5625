"""`check`: the contract tests on the file of a method or a data set."""

from __future__ import annotations

from pathlib import Path

from benchmark.cli.options import Models, WhereFolder
from datamodules.common.errors import BenchmarkError


def check_command(
    file: str, /, *, model: Models = (), data_dir: WhereFolder | None = None, cache_dir: WhereFolder | None = None
) -> int:
    """Tell whether the file of a method or of a data set keeps its contract.

    Runs a method for a few steps on small CLIPs and the embedded world, and checks its card, its data regime, what it
    edits, that it can be repeated, and that it leaves numbers behind. Opens a data set and checks its card, names,
    templates, images, labels and captions, and that they are the same when it is opened again.

    Args:
        file: The file.
        data_dir: The folder of real data sets, for a data set's file.
        model: The CLIPs to try, separated by commas; by default the small ones of the package.
        cache_dir: The folder of the embedded world's images; by default in the user's cache.
    """
    from rich.console import Console

    from benchmark.execution.contract import check_method
    from benchmark.execution.dataset_contract import check_dataset
    from benchmark.models.registry import shipped_models
    from benchmark.utils.folders import cache_folder
    from datamodules.common.text import printable

    models = model or tuple(name for name in shipped_models() if name.startswith("shapes"))
    console = Console(highlight=False, soft_wrap=True, markup=False)
    failed = 0
    is_dataset = _declares_dataset(Path(file))
    findings = (
        check_dataset(Path(file), data_dir, cache_folder(cache_dir))
        if is_dataset
        else check_method(Path(file), models, cache_folder(cache_dir))
    )
    for finding in findings:
        failed += not finding.holds
        console.print("kept  " if finding.holds else "BROKEN", style="green" if finding.holds else "red", end=" ")
        console.print(printable(finding.clause), end="")
        detail = "\n".join(map(printable, finding.detail.splitlines()))  # its second line is the user's own
        console.print(f": {detail}" if detail else "")
    if failed:
        print(f"{failed} clauses are broken: mend the {'data set' if is_dataset else 'method'} and check again")
        return 1
    print(f"{file} keeps the contract: run it with `python -m benchmark run --plugin {file}`")
    return 0


def _declares_dataset(file: Path) -> bool:
    """Whether a file declares a data set; one that cannot be read is checked as a method, which says what is wrong."""
    from datamodules.common.registry import read_card

    try:
        return file.suffix == ".py" and file.is_file() and read_card(file) is not None
    except BenchmarkError:
        return False
