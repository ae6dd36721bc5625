"""What makes a trained model what it is: the values of its recipe, its data, and the code that trains."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from benchmark.pretraining.recipe import Recipe
from datamodules.common.code_closure import KEEPING, project_code

_TRAINS = (
    "benchmark.pretraining.train:pretrain",
    "benchmark.pretraining.recipe:Recipe",
    "benchmark.pretraining.exclusions:exclusions",
    "benchmark.models.compact:Architecture",
    "benchmark.utils.randomness:isolated",
    "datamodules.common.dataset:Dataset",
    "datamodules.common.images:ImageArray",
    "datamodules.common.images:Preprocessing",
    "datamodules.common.shadow_pool",
)
_CHANGES_NOTHING = (
    *KEEPING,
    "datamodules.common.registry",
    "datamodules.common.card",
    "datamodules.common.guard",
    "benchmark.utils.trainer:quiet_lightning",
    "benchmark.pretraining.checkpoint",
    "benchmark.pretraining.identity",
)
"""What training uses and what changes no weight: messages, lists, the guard that counts reads, checkpoints."""


def training_code() -> str:
    """The digest of the code that trains, by its meaning."""
    return project_code().digest(*_TRAINS, stops=_CHANGES_NOTHING)


def training_identity(recipe: Recipe, *what: Any, revisions: Sequence[str], precision: str) -> str:
    """A digest of all that makes a training what it is; titles and other prose do not count.

    Args:
        recipe: By its values.
        what: What else counts, as values that JSON can hold: seed, exclusions, kind of device.
        revisions: Of the data sets, in the recipe's order.
        precision: "fp32" or "bf16".
    """
    content = [recipe.values(), *what, list(revisions), precision, training_code()]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]
