"""What the measurements share: folders, device, models without downloads, and the data set to measure on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from benchmark.speed.findings import LeftOutError
from benchmark.utils.hardware import Precision
from datamodules.common.dataset import Dataset
from datamodules.common.errors import BenchmarkError
from datamodules.common.images import Framing
from methods.common.clip import Clip


@dataclass(frozen=True)
class Bench:
    """The machine and the folders of a run.

    Attributes:
        device: Where models run.
        data_dir: The folder of the real data sets, or None.
        cache_dir: The folder of decoded images; features are never taken from it.
    """

    device: torch.device
    data_dir: Path | None
    cache_dir: Path

    def model(self, name: str) -> Clip:
        """A model that ships with the package, on the device."""
        from benchmark.models.loading import load_clip

        clip = load_clip(name)
        clip.model.to(self.device)
        return clip

    def architecture(self, name: str) -> Clip:
        """An open_clip architecture with random weights, the same each time: as fast as with trained ones."""
        import open_clip

        from benchmark.models.loading import wrap

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = open_clip.create_model(name, pretrained=None, device="cpu", precision="fp32")
        model.requires_grad_(False)
        clip = wrap(model, open_clip.get_model_config(name)["text_cfg"], name)
        clip.model.to(self.device)
        return clip

    def dataset(self, name: str, framing: Framing) -> Dataset:
        """A data set for models that want their images so.

        Raises:
            LeftOutError: If it is not here.
        """
        from datamodules.common.registry import open_dataset

        try:
            return open_dataset(name, self.data_dir, self.cache_dir, framing)
        except BenchmarkError as error:
            raise LeftOutError(f"{name} is not here ({error}); name its folder with --data-dir") from error

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """fp32, and bf16 where the chip multiplies bf16 matrices in hardware."""
        from benchmark.utils.hardware import resolve_precision

        best = resolve_precision("auto", str(self.device))
        return ("fp32",) if best == "fp32" else ("fp32", "bf16")
