"""Images of the embedded world that no split of `shapes` holds: what `shadow.py` asks for."""

from __future__ import annotations

from pathlib import Path

from datamodules.common.cache import cached_array
from datamodules.common.code_closure import project_code
from datamodules.common.dataset import NOT_READING, LabelSet, Split
from datamodules.common.images import ImageArray
from datamodules.shapes_world.captions import write_captions
from datamodules.shapes_world.drawing import draw
from datamodules.shapes_world.vocabulary import IMAGE_SIZE, TEMPLATES, VOCABULARY, Attribute, sample_scenes

KEY = "shapes/unseen"
ATTRIBUTES: tuple[Attribute, ...] = ("shape", "colour", "texture", "background")
"""As `Shapes.label_sets` has them."""


def unseen(count: int, cache_dir: Path) -> tuple[Split, tuple[LabelSet, ...]]:
    """Scenes drawn and captioned as the training split's are, and their labels in the same order of attributes.

    Args:
        count: How many.
        cache_dir: Where the drawn images are kept.
    """
    key = f"{KEY}/{count}"
    revision = project_code().digest("datamodules.shapes_world.unseen", stops=NOT_READING)
    scenes = sample_scenes(key, count)
    target = cache_dir / "images" / f"{key.replace('/', '-')}-{IMAGE_SIZE}px-{revision}.npy"
    images = ImageArray(cached_array(target, lambda: draw(scenes, key)), name=key)
    split = Split("train", images, scenes.shape, write_captions(scenes, key, short_forms=True))
    return split, tuple(LabelSet(VOCABULARY[a], TEMPLATES[a], scenes.values(a)) for a in ATTRIBUTES)
