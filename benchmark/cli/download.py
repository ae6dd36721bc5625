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
    from datamodules.common.card import HUB_SCHEME, TORCHVISION_SCHEME
    from datamodules.common.registry import dataset_cards, dataset_class

    if dataset.startswith(TORCHVISION_SCHEME):
        from datamodules.common.torchvision_sets import fetch_official
        from datamodules.torchvision_set import official_of

        official = official_of(dataset.removeprefix(TORCHVISION_SCHEME))
        fetch_official(official, data_dir, "its authors")
        print(f"{dataset} is in {data_dir / official.folder}")
        return 0
    if dataset.startswith(HUB_SCHEME):
        from datamodules.hub_set import hub_folder

        print(f"{dataset} is in {hub_folder(dataset.removeprefix(HUB_SCHEME), data_dir)}")
        return 0
    kind = dataset_class(dataset)
    if not dataset_cards()[dataset].folder:
        print(f"{dataset} needs no files: it is drawn on first use")
        return 0
    kind.download(data_dir)
    print(f"{dataset} is in {data_dir / dataset_cards()[dataset].folder}")
    return 0
