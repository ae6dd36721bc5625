"""Accuracy on held-out training pairs, for a method that chooses by measuring: never the test split.

For a request by class it is zero-shot accuracy over all names. For a request by concept, whose images have no class, it
is recall at 1 among the held-out pairs, the mean of image to text and text to image; equal texts count as one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.common.module import ForgetSpec, Pairs
from methods.common.base import Snapshot, UnlearningMethod
from methods.common.clip import Clip, ParameterGroup
from methods.common.zero_shot import targets


class HeldOut:
    """Pairs that a method holds out, and the accuracies that an edit leaves on them.

    Args:
        clip: The CLIP as it came; edited in place between the measurements.
        spec: The names.
        forget: Held-out batches of the forget part, on the CLIP's device.
        retain: The same of the retain part; none where the data regime gives none.

    Attributes:
        before: Forget and retained accuracy of the CLIP as it came, in [0, 1]; not a number without retain pairs.
    """

    def __init__(self, clip: Clip, spec: ForgetSpec, forget: Sequence[Pairs], retain: Sequence[Pairs]) -> None:
        self._clip, self._spec = clip, spec
        self._batches = [*forget, *retain]
        self._forgotten = sum(len(pairs["texts"]) for pairs in forget)
        self._texts = [text for pairs in self._batches for text in pairs["texts"]]
        self._images, self._rows = self._encoded_images(), self._encoded_texts()
        self.before = self._accuracies(self._images, self._rows)

    def accuracy(self, *, changed: ParameterGroup | None = None) -> tuple[float, float]:
        """Forget and retained accuracy of the CLIP as it is now; only the changed encoder runs again, None for both."""
        if changed is None:
            return self._accuracies(self._encoded_images(), self._encoded_texts())
        if changed == "visual":
            return self._accuracies(self._encoded_images(), self._rows)
        return self._accuracies(self._images, self._encoded_texts())

    @property
    def chance(self) -> float:
        """The accuracy of guessing: one in all names, or one in the different texts of the pairs. In (0, 1]."""
        return 1 / len(self._spec.all_names if self._spec.request.classes else set(self._texts))

    @torch.no_grad()
    def _encoded_images(self) -> Tensor:
        """Unit norm, shape (N, D), forget first."""
        return F.normalize(torch.cat([self._clip.encode_image(b["images"]).float() for b in self._batches]), dim=-1)

    @torch.no_grad()
    def _encoded_texts(self) -> Tensor:
        """The classifier's rows, shape (C, D), or one caption an image, shape (N, D); unit norm."""
        if self._spec.request.classes:
            return self._clip.zero_shot_classifier(self._spec.all_names, self._spec.templates)
        return F.normalize(self._clip.encode_text(self._texts).float(), dim=-1)

    def _accuracies(self, images: Tensor, rows: Tensor) -> tuple[float, float]:
        cosines = images @ rows.T
        hits = self._class_hits(cosines) if self._spec.request.classes else pair_hits(cosines, self._texts)
        retained = hits[self._forgotten :]
        return float(hits[: self._forgotten].mean()), float(retained.mean()) if len(retained) else math.nan

    def _class_hits(self, cosines: Tensor) -> Tensor:
        wanted = torch.cat([targets(self._spec, pairs) for pairs in self._batches])
        return (cosines.argmax(dim=1) == wanted).float()


def pair_hits(cosines: Tensor, texts: Sequence[str]) -> Tensor:
    """The share of the two directions in which each pair finds a partner of its own text. In {0, 0.5, 1}, shape (N,).

    Args:
        cosines: Images by texts, shape (N, N).
        texts: The text of each pair.
    """
    ids = {text: i for i, text in enumerate(texts)}
    group = torch.tensor([ids[text] for text in texts], device=cosines.device)
    to_text, to_image = cosines.argmax(dim=1), cosines.argmax(dim=0)
    return ((group[to_text] == group).float() + (group[to_image] == group).float()) / 2


class BestState:
    """Looks at a method's CLIP now and then, and gives back the best that it saw.

    Args:
        method: The method; its CLIP must still be the original.
        forget: Held-out batches of the forget part, at least one.
        retain: Held-out batches of the retain part, at least one.
    """

    def __init__(self, method: UnlearningMethod[Any], forget: Sequence[Pairs], retain: Sequence[Pairs]) -> None:
        self._method = method
        self._held_out = HeldOut(method.clip, method.spec, forget, retain)
        self._best: tuple[float, int, Snapshot] | None = None
        self.seen: list[dict[str, float]] = []

    def look(self, step: int) -> None:
        """Measure the CLIP as it is after `step` training steps, and keep it if nothing before was as good."""
        forget, retain = self._held_out.accuracy()
        self.seen.append({"step": step, "forget_accuracy": forget, "retain_accuracy": retain})
        score = retain - forget
        if self._best is None or score > self._best[0] + 1e-9:  # the difference of two means: equal to rounding
            self._best = score, step, self._method.snapshot()

    def restore(self) -> int:
        """Put the best state into the CLIP.

        Returns:
            The training step after which it stood.

        Raises:
            ValueError: If no state was looked at.
        """
        if self._best is None:
            raise ValueError("no state was looked at")
        _, step, snapshot = self._best
        self._method.restore(snapshot)
        return step
