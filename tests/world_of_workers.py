"""The small world for Ray's worker processes, which live as long as their tests."""

from __future__ import annotations


def set_up() -> None:
    """Make the embedded world small in this process; Ray calls it when a worker starts."""
    from world import stay_small

    stay_small()
