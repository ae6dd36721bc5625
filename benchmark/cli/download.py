"""`download`: fetch a data set."""

from __future__ import annotations

from pathlib import Path


def download_command(dataset: str, data_dir: str = "data") -> int:
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
    folder = Path(data_dir).expanduser()
    kind.download(folder)
    print(f"{dataset} is in {folder / dataset_cards()[dataset].folder}")
    return 0
