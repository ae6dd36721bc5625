"""`download`: fetch a data set."""

from __future__ import annotations

from pathlib import Path

from benchmark.cli.options import WhereFolder


def download_command(dataset: str, /, *, data_dir: WhereFolder = Path("data")) -> int:
    """Fetch a data set into the data folder, verified on arrival; or say what to put where by hand.

    Args:
        dataset: A data set's name, see `list datasets`.
        data_dir: The folder of the real data sets.
    """
    from datamodules.common.registry import dataset_cards, dataset_class

    kind = dataset_class(dataset)
    if not dataset_cards()[dataset].folder:
        print(f"{dataset} needs no files: it is drawn on first use")
        return 0
    kind.download(data_dir)
    print(f"{dataset} is in {data_dir / dataset_cards()[dataset].folder}")
    return 0
