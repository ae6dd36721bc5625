"""COCO captions (Lin et al., 2014) in Karpathy's split: 113,287 train, 5,000 val and 5,000 test photographs.

Layout: `coco/dataset_coco.json` (Karpathy's file) and `coco/{train2014,val2014}/*.jpg`. Train is Karpathy's train and
restval together, as in retrieval papers. Each photograph has five captions or a few more.
"""

from __future__ import annotations

from pathlib import Path

from datamodules.common.caption_files import read_captions
from datamodules.common.captioned import Entry, ListedByHand
from datamodules.common.card import DatasetCard

CARD = DatasetCard(
    name="coco_karpathy",
    title="COCO captions: photographs with five captions each, Karpathy's split",
    tasks=("retrieval",),
    source="https://cocodataset.org/#download",
    folder="coco",
)

ANNOTATIONS = "dataset_coco.json"
ANNOTATIONS_URL = "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip"
CONCEPT_NAMES = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light"),
    *("fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow"),
    *("elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee"),
    *("skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard"),
    *("tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple"),
    *("sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch"),
    *("potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard"),
    *("cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase"),
    *("scissors", "teddy bear", "hair drier", "toothbrush"),
)
"""COCO's 80 categories of objects."""


class CocoKarpathy(ListedByHand):
    """COCO captions; see the module for the split."""

    card = CARD
    images_folder = ""
    empty_advice = "use the complete file"
    concepts = CONCEPT_NAMES
    annotations = ANNOTATIONS

    @classmethod
    def _advice(cls, folder: Path) -> str:
        return (
            f"put {ANNOTATIONS} from {ANNOTATIONS_URL} into {folder}, and unpack train2014.zip and val2014.zip from "
            f"{CARD.source} there"
        )

    def _read(self) -> list[Entry]:
        return read_captions(self._annotations)
