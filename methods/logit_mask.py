"""Logit mask: refuse the forgotten names at the output; the weights stay as they are.

A class that is refused is never predicted; a text that contains a refused name is never retrieved and retrieves
nothing. This is what a projection of the last layer is up against: it costs nothing and removes nothing.
"""

from __future__ import annotations

from methods.common.base import ClosedFormMethod
from methods.common.card import MethodCard, NoHyperparameters

CARD = MethodCard(
    name="logit_mask",
    title="refuse the forgotten names at the output",
    paper="reference row",
    regime="names",
    edits=("nothing",),
    stochastic=False,
    refuses=True,
)


class LogitMask(ClosedFormMethod[NoHyperparameters]):
    """Adds the forgotten names to the output filter."""

    card = CARD

    def edit(self) -> None:
        """Refuse the names, in every spelling of the request."""
        self.clip.refused = (*self.spec.forget_names, *self.spec.request.words)
