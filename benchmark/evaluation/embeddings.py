"""The embedding store: every tower is run once over every data set, however many variants of a model are evaluated.

Image features are kept *before* the visual projection, under a hash of the trunk's weights, the data revision, the
transform and the precision: a method that touched only the projection costs one matrix product. Text features are kept
under a hash of the text tower's weights and the texts.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from benchmark.models.text_tower import encode_texts
from benchmark.utils.hardware import Precision, autocast
from datamodules.common.cache import array_bytes, keep_if_possible, load_array
from datamodules.common.code_closure import KEEPING, project_code
from datamodules.common.dataset import Dataset, SplitName
from methods.common.clip import Clip, parameter_group, state_hash
from methods.common.projections import NoProjectionError, visual_projection

IMAGE_BATCH = {"cpu": 128, "cuda": 1024}
"""Images a forward pass, by kind of device; halved where they do not fit into the device's memory."""
KEPT_TEXTS, KEPT_RECENT = 32, 8


@dataclass
class EmbeddingStore:
    """Features by content, in memory and (for image features of unedited models) on disk.

    Attributes:
        folder: Where features are kept between runs; None keeps them in memory only.
        precision: Of the towers; projections and everything after are float32.
        image_batch: Images a forward pass; None for `IMAGE_BATCH`. Halved as often as the memory asks for it.
        computed: How many tower passes over a data set were really made; the rest were found here.
    """

    folder: Path | None
    precision: Precision = "fp32"
    image_batch: int | None = None
    computed: int = 0
    _memory: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    _recent: OrderedDict[str, NDArray[np.float32]] = field(default_factory=OrderedDict)
    _texts: OrderedDict[str, NDArray[np.float32]] = field(default_factory=OrderedDict)
    _hashes: dict[int, dict[str, str]] = field(default_factory=dict)

    @contextmanager
    def fixed(self, *clips: Clip) -> Iterator[None]:
        """While the block runs, the weights of these models do not change: each part of them is hashed once.

        Of a small CLIP the token embeddings alone take longer to hash than all its prompts take to encode.
        """
        self._hashes |= {id(clip): {} for clip in clips}
        try:
            yield
        finally:
            for clip in clips:
                self._hashes.pop(id(clip), None)

    def _hash(self, clip: Clip, part: str, wanted: Callable[[str], bool]) -> str:
        known = self._hashes.get(id(clip), {})
        if part not in known:
            known[part] = state_hash(clip.model, wanted)
        return known[part]

    def images(
        self,
        clip: Clip,
        dataset: Dataset,
        split: SplitName,
        *,
        rows: NDArray[np.int64] | None = None,
        keep: bool = False,
    ) -> Tensor:
        """Unit-norm image embeddings of a split, shape (N, D), float32, on the model's device.

        Args:
            clip: The model.
            dataset: The data set.
            split: Its part.
            rows: Which images of it; all by default.
            keep: Whether the features are worth keeping on disk: those of an unedited trunk are.
        """
        raw = self.features(clip, dataset, split, rows=rows, keep=keep)
        with suppress(NoProjectionError):
            projection = visual_projection(clip)
            raw = raw @ projection.matrix.detach().float()
            if projection.bias is not None:
                raw = raw + projection.bias.detach().float()
        return F.normalize(raw, dim=-1)

    def features(
        self,
        clip: Clip,
        dataset: Dataset,
        split: SplitName,
        *,
        rows: NDArray[np.int64] | None = None,
        keep: bool = False,
    ) -> Tensor:
        """Image features before the visual projection, shape (N, width), float32, on the model's device.

        A tower without a linear projection at its end gives its output. The arguments are those of `images`.
        """
        try:
            names = frozenset(visual_projection(clip).state_names)
        except NoProjectionError:
            names = frozenset()
        trunk = self._hash(clip, "trunk", lambda key: key.startswith("visual.") and key not in names)
        images = dataset.split(split).images
        identity = [
            trunk,
            dataset.revision,
            images.name,
            images.size,
            asdict(clip.preprocessing),
            self.precision,
            _code(),
        ]
        chosen = [] if rows is None else [hashlib.sha256(rows.tobytes()).hexdigest()]
        key = _digest([*identity, clip.device.type, *chosen])
        file = self.folder / f"{key}.npy" if self.folder is not None else None
        features = self._memory.get(key, self._recent.get(key))
        if features is None and file is not None:
            features = load_array(file)
        if features is None:
            features = self._run_trunk(clip, dataset, split, rows)
            if keep and file is not None:
                keep_if_possible(file, array_bytes(features))
        if keep:
            self._memory[key] = features
        elif key not in self._recent:  # an edited trunk's features serve the measures of its own cell
            self._recent[key] = features
            if len(self._recent) > KEPT_RECENT:
                self._recent.popitem(last=False)
        return torch.from_numpy(np.array(features)).to(clip.device)

    def texts(self, clip: Clip, texts: Sequence[str]) -> Tensor:
        """Unit-norm text embeddings, shape (len(texts), D), float32, on the model's device."""
        key = _digest([self._hash(clip, "text", _is_text), list(texts), self.precision, clip.device.type])
        if key in self._texts:
            self._texts.move_to_end(key)
        else:
            self.computed += 1
            with torch.inference_mode(), autocast(self.precision, clip.device):
                raw = encode_texts(clip, texts)
            self._texts[key] = F.normalize(raw, dim=-1).numpy()
            if len(self._texts) > KEPT_TEXTS:  # the unedited tower's are asked for in every cell and stay
                self._texts.popitem(last=False)
        return torch.from_numpy(self._texts[key]).to(clip.device)

    def classifier(self, clip: Clip, names: Sequence[str], templates: Sequence[str]) -> Tensor:
        """The zero-shot classifier of `Clip.zero_shot_classifier` from stored text features, shape (C, D)."""
        prompts = [template.format(name) for name in names for template in templates]
        embedded = self.texts(clip, prompts).view(len(names), len(templates), -1)
        return F.normalize(embedded.mean(dim=1), dim=-1)

    def _run_trunk(
        self, clip: Clip, dataset: Dataset, split: SplitName, rows: NDArray[np.int64] | None
    ) -> NDArray[np.float32]:
        self.computed += 1
        images = dataset.split(split).images
        wanted = np.arange(len(images)) if rows is None else rows
        try:
            features_only: AbstractContextManager[None] = visual_projection(clip).as_identity()
        except NoProjectionError:
            features_only = nullcontext()
        batches, start = [], 0
        self.image_batch = self.image_batch or IMAGE_BATCH.get(clip.device.type, IMAGE_BATCH["cpu"])
        with torch.inference_mode(), autocast(self.precision, clip.device), features_only:
            while start < len(wanted):
                batch = images.read(wanted[start : start + self.image_batch])
                try:
                    network_input = clip.preprocessing(batch.to(clip.device))
                    batches.append(clip.encode_image(network_input).float().cpu().numpy())
                except torch.OutOfMemoryError:
                    if self.image_batch == 1:
                        raise
                    self.image_batch //= 2
                    continue
                start += len(batch)
        return np.concatenate(batches)


@cache
def _code() -> str:
    """The digest of the code that makes features, by meaning: features of other code are not taken from the disk."""
    starts = ("benchmark.evaluation.embeddings:EmbeddingStore", "datamodules.common.images:Preprocessing")
    return project_code().digest(
        *starts, "methods.common.clip:Clip", "benchmark.models.loading:load_clip", stops=KEEPING
    )


def _digest(identity: object) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


def _is_text(key: str) -> bool:
    return parameter_group(key) == "text" and not key.endswith("attn_mask")
