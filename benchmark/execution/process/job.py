"""The job of a process that unlearns: all that it is told, as one JSON file beside the files that it is handed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FILE = "job.json"


@dataclass(frozen=True)
class Job:
    """What a process must know to unlearn; paths are absolute.

    Attributes:
        method: The method's file.
        name: Its registry name.
        hparams: Its hyperparameters, all of them.
        regime: Its data regime, as the registry's card declares it.
        model: The file of the CLIP as it came.
        encoder: Identifies its image encoder; see `methods.common.synthetic_images.encoder_key`.
        names: The file of the data set's names.
        parts: The folder of each part of the train split that the regime gives.
        others: The files of the names of other data sets.
        request: What to forget.
        seed: Of everything random.
        precision: "fp32" or "bf16".
        device: Such as "cpu" or "cuda:0"; with several devices their kind.
        threads: Of torch on the CPU.
        flush_denormal: Whether tiny numbers count as zero.
        flops_each: Operations of the image and of the text encoder for one item.
        retrained: The file of the retrained model's weights; empty where the regime gives none.
        retrained_seconds: What its training took.
        look_seconds: What one look at the accuracy takes, as far as is known; negative for no looks.
        look_share: Largest share of the unlearning's time that looks may take.
        closed: Folders of which the method may open nothing.
    """

    method: str
    name: str
    hparams: Mapping[str, Any]
    regime: str
    model: str
    encoder: str
    names: str
    parts: Mapping[str, str]
    others: tuple[str, ...]
    request: Mapping[str, Any]
    seed: int
    precision: str
    device: str
    threads: int
    flush_denormal: bool
    flops_each: tuple[int, int]
    retrained: str = ""
    retrained_seconds: float = 0.0
    look_seconds: float = -1.0
    look_share: float = 0.0
    closed: tuple[str, ...] = ()

    def write(self, folder: Path) -> None:
        """Leave the job in its folder."""
        (folder / FILE).write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Job:
        """The job of a folder."""
        content: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return cls(**{**content, **{name: tuple(content[name]) for name in ("others", "closed", "flops_each")}})
