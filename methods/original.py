"""Original: the model as it came. The leaderboard's zero: S of doing nothing is what the formula says."""

from __future__ import annotations

from methods.common.base import ClosedFormMethod
from methods.common.card import MethodCard, NoHyperparameters

CARD = MethodCard(
    name="original",
    title="the model as it came",
    paper="reference row",
    regime="none",
    edits=("nothing",),
    stochastic=False,
)


class Original(ClosedFormMethod[NoHyperparameters]):
    """Changes nothing."""

    card = CARD

    def edit(self) -> None:
        """Do nothing."""
