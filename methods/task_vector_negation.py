"""Task-vector negation (Ilharco et al., ICLR 2023, arXiv 2212.04089; official code).

    tau = theta_ft - theta0,   theta = theta0 - s tau

theta_ft is the image encoder fine-tuned on the forget set by cross-entropy of the zero-shot logits, with the text
encoder frozen (methods/common/task_vectors.py). s is the scaling coefficient. The paper forgets whole data sets and
picks s in [0, 1] on validation data of the task and of a control task; here the task is one class or concept, and the
data regime gives no control data, so s is a hyperparameter. For a request by concept the fine-tuning takes the
contrastive loss of the captions (methods/common/zero_shot.py): negating what that teaches also unlearns to tell
the pairs apart.
"""

from __future__ import annotations

from dataclasses import dataclass

from methods.common.base import Snapshot
from methods.common.card import SMALL_RULE, MethodCard, hyper, small_rate
from methods.common.task_vectors import FineTuning, TaskVectorMethod

CARD = MethodCard(
    name="task_vector_negation",
    title="fine-tune on the forget set and walk the other way",
    paper="Ilharco et al., ICLR 2023, arXiv 2212.04089",
    regime="forget",
    edits=("visual",),
)


@dataclass(frozen=True)
class Hyperparameters:
    """As in the official code, but for the scaling coefficient."""

    learning_rate: float = hyper(1e-5, low=0.0, source="official code", small=small_rate(1e-5), small_source=SMALL_RULE)
    weight_decay: float = hyper(0.1, low=0.0, source="official code: AdamW")
    batch_size: int = hyper(128, low=2, source="official code", small=24, small_source="our choice, for 2 cores")
    epochs: int = hyper(1, low=1, source="not used: max_steps decides")
    max_steps: int | None = hyper(
        2000, low=1, source="the paper: 2000 iterations", small=40, small_source="our choice, for 2 cores"
    )
    scaling: float = hyper(
        0.5,
        low=0.0,
        source="the example of the official code; the paper picks s in [0, 1] on data that this regime does not give",
        small=0.1,
        small_source="our choice, on suite `development`: half of it forgets nothing, twice of it forgets everything",
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
