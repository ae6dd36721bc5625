"""What forget and retain losses weigh where a source takes one mean over a shuffle of both parts.

The batches of this project are paired, one of each part a step, so the two means get the weights of their parts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

Proportions = Literal["natural", "equal"]


def forget_share(
    sizes: Mapping[Literal["forget", "retain"], int], proportions: str, *, retain_share: float = 1.0
) -> float:
    """The weight w of the forget mean in  w (mean over D_f) + (1 - w) (mean over D_r), in (0, 1).

    Args:
        sizes: Images of each part.
        proportions: "natural" for that of a shuffle, "equal" for one half.
        retain_share: Of D_r, the share that the source puts into its shuffle.
    """
    if proportions == "equal":
        return 0.5
    return sizes["forget"] / (sizes["forget"] + retain_share * sizes["retain"])


def shuffled_steps(
    sizes: Mapping[Literal["forget", "retain"], int], *, retain_share: float, batch_size: int, epochs: int
) -> int:
    """The steps of a source that passes over a shuffle of both parts.

    Args:
        sizes: Images of each part.
        retain_share: Of D_r, the share that the source puts into its shuffle.
        batch_size: Images a step.
        epochs: Passes.
    """
    return epochs * math.ceil((sizes["forget"] + retain_share * sizes["retain"]) / batch_size)
