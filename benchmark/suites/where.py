"""The folders and devices of a run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmark.suites.digests import Digests
from datamodules.common.dataset import Dataset
from datamodules.common.images import Framing
from datamodules.common.registry import open_dataset


@dataclass(frozen=True)
class Where:
    """The folders and devices of a run.

    Attributes:
        data_dir: Where real data sets are, or None.
        cache_dir: Where decoded images, features and synthetic sets are kept.
        device: As `--device` names it.
        elsewhere: Whether other machines compute: the device then need not be one of this machine.
        skip_unreadable: Whether image files that cannot be read are left out.
    """

    data_dir: Path | None
    cache_dir: Path
    device: str = "auto"
    elsewhere: bool = False
    skip_unreadable: bool = False

    def open(self, name: str, framing: int | Framing) -> Dataset:
        """A data set of these folders; its files are checked, its images are not decoded yet.

        Raises:
            BenchmarkError: If there is no such data set, or its files are not there.
        """
        return open_dataset(name, self.data_dir, self.cache_dir, framing, skip_unreadable=self.skip_unreadable)

    @cached_property
    def opened(self) -> dict[str, Dataset]:
        """The data sets that `expand` opened, by name."""
        return {}

    @cached_property
    def digests(self) -> Digests:
        """The digests of today's code."""
        return Digests(self.data_dir, self.cache_dir, self.device)
