"""The base of the data sets drawn from the embedded world: one attribute of the scenes is the class."""

from __future__ import annotations

import json
from typing import ClassVar

from datamodules.common.cache import cached_array, cached_bytes
from datamodules.common.dataset import Dataset, Split, SplitName
from datamodules.common.images import ImageArray
from datamodules.shapes_world.captions import write_captions
from datamodules.shapes_world.drawing import draw
from datamodules.shapes_world.vocabulary import (
    IMAGE_SIZE,
    TEMPLATES,
    VOCABULARY,
    WORLD_VERSION,
    Attribute,
    Scenes,
    sample_scenes,
)


class WorldDataset(Dataset):
    """Scenes of the embedded world, drawn on first use and memory-mapped from the cache afterwards.

    A subclass declares `card` and `attribute`. The name is part of the seed, so no two share images.
    """

    attribute: ClassVar[Attribute]
    counts: ClassVar[dict[SplitName, int]] = {"train": 2000, "val": 600, "test": 600}

    @property
    def class_names(self) -> tuple[str, ...]:
        """The canonical words of the attribute."""
        return VOCABULARY[self.attribute]

    @property
    def templates(self) -> tuple[str, ...]:
        """The world's own templates, taught by its training captions."""
        return TEMPLATES[self.attribute]

    @property
    def revision(self) -> str:
        """The world's version and the digest of the code that draws it, by meaning."""
        return self.world_revision()

    @classmethod
    def world_revision(cls) -> str:
        """The revision of the data set, which depends on nothing but code."""
        return f"shapes-{WORLD_VERSION}-{cls.code()[:12]}"

    def _load(self, name: SplitName) -> Split:
        key = f"{self.name}/{name}"
        scenes = sample_scenes(key, self.counts[name])
        target = self.cache_dir / "images" / f"{self.name}-{name}-{IMAGE_SIZE}px-{self.revision}.npy"
        images = ImageArray(cached_array(target, lambda: draw(scenes, key)), name=key)
        captioned = "retrieval" in self.card.tasks
        captions = self._captions(name, scenes) if captioned else None
        return Split(name, images, scenes.values(self.attribute), captions)

    def _captions(self, name: SplitName, scenes: Scenes) -> tuple[tuple[str, ...], ...]:
        """Written once: every process that unlearns reads this split, and writing takes longer than reading them."""
        file = self.cache_dir / "captions" / f"{self.name}-{name}-{self.revision}.json"

        def written() -> bytes:
            return json.dumps(write_captions(scenes, f"{self.name}/{name}", short_forms=name == "train")).encode()

        return tuple(map(tuple, json.loads(cached_bytes(file, written)[0])))
