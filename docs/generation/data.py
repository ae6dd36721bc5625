"""Blocks of the page on data, from the registries that read it."""

from __future__ import annotations

from datamodules.common.class_folders import image_suffixes
from datamodules.common.registry import dataset_cards
from datamodules.common.torchvision_sets import OFFICIAL


def suffix_list() -> str:
    """The suffixes of image files, as far as this Pillow reads them."""
    return ", ".join(f"`{suffix}`" for suffix in sorted(image_suffixes())) + "."


def torchvision_table() -> str:
    """The data sets of torchvision that are served by name."""
    own_name = {card.folder: card.name for card in dataset_cards().values()}
    lines = ["| name | files below `--data-dir` | also called | split |", "|---|---|---|---|"]
    for kind, official in OFFICIAL.items():
        split = "torchvision's" if official.test is not None else "none: a fifth of each class is measured"
        also = f"`{own_name[official.folder]}`" if official.folder in own_name else ""
        lines.append(f"| `torchvision:{kind}` | `{official.folder}/` | {also} | {split} |")
    return "\n".join(lines)
