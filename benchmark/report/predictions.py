"""The five nearest classes before and after unlearning, on a few test images of the embedded world.

They come from the outputs beside a record, so no model is run; the images are drawn again from their seed.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from benchmark.records.record import Record
from benchmark.report.extras import Predictions
from datamodules.common.image_request import read_request
from datamodules.common.request import ForgetRequest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from benchmark.records.kept_outputs import Outputs

FORGOTTEN, RETAINED = 3, 3
"""How many images of the forget set and of the rest, each of another class; our choice."""
TOP = 5
_SAME_DRAWINGS = ("shapes-1-294ce080766b",)
"""Revisions of the world's files before they changed in what does not draw: the pixels are the same."""
_AGREES = 0.011
"""How far accuracy from the outputs may be from the record's: half precision can turn a near tie of 100 images."""


@dataclass(frozen=True)
class World:
    """A data set of the embedded world, as far as its test images can be drawn without a cache.

    Attributes:
        name: Registry name.
        revision: As in a record's provenance.
        class_names: In label order.
        labels: Of every test image, shape (N,).
        drawn: How many of the first test images `png` can draw.
    """

    name: str
    revision: str
    class_names: tuple[str, ...]
    labels: NDArray[np.int64]
    drawn: int

    def png(self, index: int) -> str:
        """An image as a data URI."""
        from PIL import Image

        stream = io.BytesIO()
        Image.fromarray(_pixels(self.name)[index].transpose(1, 2, 0)).save(stream, "PNG", optimize=True)
        return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


@cache
def world(dataset: str) -> World | None:
    """A data set of the embedded world; None for any other."""
    from datamodules.common.card import DatasetCard
    from datamodules.common.registry import dataset_cards, dataset_class

    card: DatasetCard | None = dataset_cards().get(dataset)
    if card is None or card.source != "generated":
        return None
    from datamodules.shapes_world.dataset import WorldDataset
    from datamodules.shapes_world.drawing import BLOCK
    from datamodules.shapes_world.vocabulary import VOCABULARY, sample_scenes

    kind = dataset_class(dataset)
    if not issubclass(kind, WorldDataset):
        return None
    labels = sample_scenes(f"{dataset}/test", kind.counts["test"]).values(kind.attribute)
    return World(dataset, kind.world_revision(), VOCABULARY[kind.attribute], labels, min(BLOCK, len(labels)))


@cache
def _pixels(dataset: str) -> NDArray[np.uint8]:
    """The first block of test images: each block has its own seed, so the others need not be drawn."""
    from datamodules.common.registry import dataset_class
    from datamodules.shapes_world.dataset import WorldDataset
    from datamodules.shapes_world.drawing import BLOCK, draw
    from datamodules.shapes_world.vocabulary import sample_scenes

    kind = dataset_class(dataset)
    if not issubclass(kind, WorldDataset):
        raise TypeError(f"{dataset} is not drawn")
    key = f"{dataset}/test"
    return draw(sample_scenes(key, kind.counts["test"])[:BLOCK], key)


def shown_world(record: Record) -> World | None:
    """The world of a record whose predictions can be shown: a request by class, images of this version."""
    shown = world(record.cell["dataset"])
    if shown is None or not read_request(record.cell["request"]).classes:
        return None
    revisions = record.provenance.get("data_revisions")
    same = isinstance(revisions, Mapping) and revisions.get(shown.name) in (shown.revision, *_SAME_DRAWINGS)
    return shown if same else None


def chosen_images(of: World, request: ForgetRequest) -> tuple[int, ...]:
    """The first images of the forgotten classes, then the first of other classes, no two of one class."""
    forget = {of.class_names.index(name) for name in request.classes if name in of.class_names}
    labels = [int(label) for label in of.labels[: of.drawn]]
    first = [index for index, label in enumerate(labels) if label in forget][:FORGOTTEN]
    seen: dict[int, int] = {}
    for index, label in enumerate(labels):
        if label not in forget:
            seen.setdefault(label, index)
    return (*first, *sorted(seen.values())[:RETAINED])


def predictions_of(record: Record, outputs: Outputs, of: World) -> Predictions | None:
    """The nearest classes of the chosen images; None where the outputs are not those of the record.

    Args:
        record: Of a request by class.
        outputs: What was kept beside it.
        of: Its world.
    """
    import torch

    from benchmark.evaluation.numerics.metrics import predict

    request = read_request(record.cell["request"])
    if outputs.classifier.shape[0] != len(of.class_names) or len(outputs.images) != len(of.labels):
        return None
    images = torch.nn.functional.normalize(torch.from_numpy(outputs.images).float(), dim=-1)
    classifier = torch.from_numpy(outputs.classifier)
    refused = torch.tensor([name in outputs.refused for name in of.class_names])
    forgotten = torch.tensor([of.class_names[label] in request.classes for label in of.labels.tolist()])
    right = (predict(images, classifier, refused=refused) == torch.from_numpy(of.labels))[forgotten]
    measured = record.metrics.get("forget/acc1")
    if measured is None or measured.value is None or not len(right):
        return None
    if abs(float(right.float().mean()) - measured.value) > _AGREES:
        return None
    rows = chosen_images(of, request)
    cosines = (images[list(rows)] @ classifier.T).masked_fill(refused, -torch.inf)
    values, labels = cosines.topk(min(TOP, int((~refused).sum())), dim=-1)
    pairs = zip(labels.tolist(), values.tolist(), strict=True)
    return Predictions(rows, tuple(tuple((a, round(b, 4)) for a, b in zip(*ranking, strict=True)) for ranking in pairs))
