"""The judge: a zero-shot CLIP that had no part in the making says what an image shows, and is counted.

Detection rate: the share of the images made for a name on which the judge's first choice among all candidate names is
that name; in [0, 1], on forgotten names lower is better, on retained names higher.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.evaluation.numerics.metrics import predict
from benchmark.generation.prompts import Prompt, PromptPart
from benchmark.records.record import Metric
from benchmark.utils.statistics import wilson
from methods.common.clip import Clip


@dataclass(frozen=True)
class Judge:
    """A CLIP with the names among which it chooses.

    Attributes:
        clip: Another model than the one that was edited.
        names: The candidates.
        templates: The prompt templates of its classifier.
    """

    clip: Clip
    names: tuple[str, ...]
    templates: tuple[str, ...]

    @cached_property
    def classifier(self) -> Tensor:
        """Unit-norm class weights, shape (len(names), D)."""
        with torch.inference_mode():
            return self.clip.zero_shot_classifier(self.names, self.templates)

    def answers(self, images: Tensor) -> list[str]:
        """The name that each image shows, in the judge's eyes.

        Args:
            images: uint8, shape (B, 3, H, W).
        """
        with torch.inference_mode():
            pixels = self.clip.preprocessing(images.to(self.clip.device))
            embedded = F.normalize(self.clip.encode_image(pixels).float(), dim=-1)
            return [self.names[index] for index in predict(embedded, self.classifier).tolist()]


def detection_rate(prompts: Sequence[Prompt], answers: Sequence[str], part: PromptPart) -> Metric:
    """The detection rate of a part, with n and Wilson's interval.

    Args:
        prompts: What was drawn.
        answers: What the judge saw, one name a prompt.
        part: Whose prompts count.

    Raises:
        ValueError: If the part has no prompt, or prompts and answers differ in number.
    """
    seen = [answer == prompt.name for prompt, answer in zip(prompts, answers, strict=True) if prompt.part == part]
    interval = wilson(sum(seen), len(seen))
    return Metric(sum(seen) / len(seen), len(seen), interval)
