"""Task-vector negation (Ilharco et al., ICLR 2023, arXiv 2212.04089; official code).

    tau = theta_ft - theta0,   theta = theta0 - s tau

theta_ft is the image encoder fine-tuned on the forget set by cross-entropy of the zero-shot logits, with the text
encoder frozen (methods/common/task_vectors.py). s is the scaling coefficient, chosen on held-out images. The paper
forgets whole data sets; here the task is one class or concept, and the control task the retain part. For a request by
concept the fine-tuning takes the contrastive loss of the captions (methods/common/zero_shot.py): negating what that
teaches also unlearns to tell the pairs apart.
"""

from __future__ import annotations

from dataclasses import dataclass

from methods.common.base import Snapshot
from methods.common.card import MethodCard, hyper
from methods.common.task_vectors import FineTuning, TaskVectorMethod

CARD = MethodCard(
    name="task_vector_negation",
    title="fine-tune on the forget set and walk the other way",
    paper="Ilharco et al., ICLR 2023, arXiv 2212.04089",
    regime="forget+retain",
    edits=("visual",),
    deviations=(
        "The task is one class or concept, not a data set, and the control task is the retain part, not ImageNet.",
        "No augmentation, and fewer steps than the published fine-tuning on small CLIPs.",
    ),
)


@dataclass(frozen=True)
class Hyperparameters:
    """As in the official code."""

    learning_rate: float = hyper(
        1e-5,
        low=0.0,
        source="official code",
        rate="adam",
    )
    weight_decay: float = hyper(0.1, low=0.0, source="official code: AdamW")
    batch_size: int = hyper(128, low=2, source="official code", small=24, small_source="our choice, for 2 cores")
    epochs: int = hyper(1, low=1, source="not used: max_steps decides")
    max_steps: int | None = hyper(
        2000, low=1, source="the paper: 2000 iterations", small=40, small_source="our choice, for 2 cores"
    )
    scaling: float | None = hyper(
        None, low=0.0, source="official code of NegMerge: chosen on held-out images; a number fixes it"
    )
    control_share: float = hyper(
        0.95, low=0.0, high=1.0, source="official code: of the original's accuracy on control images, which must stay"
    )
    held_out_batches: int = hyper(
        8,
        low=1,
        source="our choice: of each part; the source has a validation set",
        small=2,
        small_source="our choice, for 2 cores",
    )


class TaskVectorNegation(TaskVectorMethod[Hyperparameters]):
    """One fine-tuning, subtracted."""

    card = CARD

    def make_recipes(self) -> tuple[FineTuning, ...]:
        """The one of the official code."""
        return (FineTuning(self.h.learning_rate, self.h.weight_decay),)

    def collect(self, vector: Snapshot) -> None:
        """Keep it."""
        self.vector = vector

    def merged(self) -> Snapshot:
        """The vector itself."""
        return self.vector
