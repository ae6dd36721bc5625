"""The names of shipped models and recipes, readable without torch."""

from __future__ import annotations

import re
from pathlib import Path

from datamodules.common.documents import load_yaml

WEIGHTS = Path(__file__).parent / "weights"
RECIPES = Path(__file__).parents[1] / "pretraining"
PRETRAINING = "pretraining"
"""The data regime of the methods that need the recipe by which the original was trained."""


def shipped_models() -> tuple[str, ...]:
    """The small CLIPs whose weights are in the package."""
    return tuple(sorted(path.stem for path in WEIGHTS.glob("*.safetensors")))


def architecture_name(model: str) -> str:
    """The architecture of a model's name, whatever its weights are from: "ViT-B-16-quickgelu:file.pt", ViT-B-16."""
    return re.split("[/:]", model, maxsplit=1)[0].removesuffix("-quickgelu")


def is_file_or_tag(model: str) -> bool:
    """Whether a model's name says which weights are meant, not the architecture alone."""
    return "/" in model or ":" in model or model.endswith(".safetensors")


def recipe_names() -> tuple[str, ...]:
    """The recipes of the package."""
    return tuple(sorted(path.stem for path in RECIPES.glob("*.yaml")))


def recipe_titles() -> dict[str, str]:
    """The title of each recipe, by name."""
    return {name: str(load_yaml(RECIPES / f"{name}.yaml")["title"]) for name in recipe_names()}
