"""Lists in sentences."""

from __future__ import annotations

from collections.abc import Sequence

NAMED = 4
"""Texts that a sentence names one by one; how many more there are it says."""


def listed(texts: Sequence[str], most: int = NAMED) -> str:
    """Some texts as a list, and how many more there are."""
    shown, more = [*texts[:most]], len(texts) - most
    if more > 0:
        return f"{', '.join(shown)} and {more} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
