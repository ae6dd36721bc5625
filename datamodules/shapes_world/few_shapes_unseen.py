"""Images of the embedded world that no split of `few_shapes` holds: those of `shapes` are as good."""

from __future__ import annotations

from datamodules.shapes_world.unseen import unseen as unseen
