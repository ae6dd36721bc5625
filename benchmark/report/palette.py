"""Colours and marks of the data regimes: Okabe and Ito's palette (2008), told apart without colour by shape too."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.records.cell import BROUGHT


@dataclass(frozen=True)
class Look:
    """How a regime is drawn.

    Attributes:
        light: Colour on a light ground.
        dark: Colour on a dark ground: the same hue, lighter where it must be.
        symbol: Of Observable Plot and D3.
        marker: The nearest of matplotlib.
        means: What a method of this regime reads.
    """

    light: str
    dark: str
    symbol: str
    marker: str
    means: str


LOOKS: dict[str, Look] = {
    "none": Look("#666666", "#bbbbbb", "circle", "o", "nothing"),
    "names": Look("#0072b2", "#56b4e9", "square", "s", "the names of the classes"),
    "forget": Look("#d55e00", "#ff8a33", "triangle", "^", "images to forget"),
    "retain": Look("#009e73", "#2fd0a2", "diamond", "D", "images to retain"),
    "forget+retain": Look("#b07400", "#e69f00", "star", "*", "images to forget and to retain"),
    "pretraining": Look("#b0508c", "#cc79a7", "cross", "P", "the data of the pretraining, without the forget set"),
    BROUGHT: Look("#444444", "#dddddd", "wye", "X", "not known: unlearned elsewhere, brought as a checkpoint"),
}
UNKNOWN = Look("#000000", "#ffffff", "wye", "X", "a regime that this version does not know")


def look(regime: str) -> Look:
    """The look of a regime, be it known or not."""
    return LOOKS.get(regime, UNKNOWN)
