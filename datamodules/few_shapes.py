"""few_shapes: so few scenes of the embedded world that a model remembers them; what membership inference needs."""

from __future__ import annotations

from datamodules.common.card import DatasetCard
from datamodules.shapes import Shapes

CARD = DatasetCard(
    name="few_shapes",
    title="The embedded world, so few scenes (40 a shape) that a model learns them by heart",
    tasks=("classification", "retrieval"),
    source="generated",
)


class FewShapes(Shapes):
    """960 training, 1,200 validation and 2,400 test scenes, labelled by shape."""

    card = CARD
    counts = {"train": 960, "val": 1_200, "test": 2_400}  # noqa: RUF012
