"""A recipe that is trained in seconds, for tests of `pretrain`."""

from __future__ import annotations

from tiny_model import TEXT, VISION

from benchmark.models.compact import Architecture
from benchmark.pretraining.recipe import Cycle, Recipe

TINY = Recipe(
    name="tiny", title="tiny", data=("shapes",), epochs=2, batch_size=16, learning_rate=1e-3, weight_decay=0.1,
    warmup=0.2, flip=False, shift=0.03, templates=(), label_share=(0.5, 0.5),
    architecture=Architecture(16, VISION, TEXT),
)  # fmt: skip
SHORT_CYCLE: Cycle = {"epochs": 1, "learning_rate": 1e-4, "warmup": 0.1}
"""For `further_cycles`, where a test is about several cycles."""
