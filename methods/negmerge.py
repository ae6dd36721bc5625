"""NegMerge: sign-consensual merging of task vectors (Kim et al., ICML 2025, arXiv 2410.05583; official code).

    tau_k = theta_k - theta0,   k = 1..K fine-tunings of the image encoder on the forget set, with different settings
    tau_i = mean_k tau_ki   where sign(tau_1i) = ... = sign(tau_Ki),   0 elsewhere
    theta = theta0 - s tau

The fine-tuning is that of task-vector negation (methods/common/task_vectors.py; for a request by concept, see there).
The official code varies the augmentation and the seed. The DataModule does not augment, so we vary what is left: the
learning rate (a geometric range around the published one), the weight decay (every other model has none, so an entry
that only decay moved has no consensus) and the batches. s is chosen as for task-vector negation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from datamodules.common.module import ForgetSpec
from methods.common.base import Snapshot
from methods.common.card import MethodCard, hyper
from methods.common.clip import Clip
from methods.common.task_vectors import FineTuning, TaskVectorMethod

CARD = MethodCard(
    name="negmerge",
    title="negate what several fine-tunings on the forget set agree on",
    paper="Kim et al., ICML 2025, arXiv 2410.05583",
    regime="forget+retain",
    edits=("visual",),
    deviations=(
        "The task is one class or concept, not a data set, and the control task is the retain part, not ImageNet.",
        "No augmentation, and fewer steps than the published fine-tuning on small CLIPs.",
    ),
)


@dataclass(frozen=True)
class Hyperparameters:
    """The fine-tuning is the official code's; what varies is ours."""

    models: int = hyper(
        8,
        low=1,
        source="our choice, because the tens of models of the paper cost more than all other methods together",
        small=4,
        small_source="our choice, for 2 cores",
    )
    learning_rate: float = hyper(
        1e-5,
        low=0.0,
        source="official code",
        rate="adam",
    )
    rate_spread: float = hyper(
        2.0, low=1.0, source="our choice, because half to double the rate still trains: lr / spread to lr * spread"
    )
    weight_decay: float = hyper(0.1, low=0.0, source="official code: AdamW; here for every other model, 0 for the rest")
    batch_size: int = hyper(128, low=2, source="official code", small=24, small_source="our choice, for 2 cores")
    epochs: int = hyper(1, low=1, source="not used: max_steps decides")
    max_steps: int | None = hyper(
        2000,
        low=1,
        source="of each model; task-vector negation, on which the official code builds",
        small=20,
        small_source="our choice, for 2 cores",
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


class NegMerge(TaskVectorMethod[Hyperparameters]):
    """Several fine-tunings; what all agree on is subtracted."""

    card = CARD

    def __init__(self, clip: Clip, spec: ForgetSpec, hyperparameters: Hyperparameters) -> None:
        super().__init__(clip, spec, hyperparameters)
        self.consensus = SignConsensus()

    def make_recipes(self) -> tuple[FineTuning, ...]:
        """Rates from lr / spread to lr * spread, evenly in the logarithm; weight decay for every other model."""
        h, last = self.h, self.h.models - 1
        exponents = [2 * k / last - 1 if last else 0.0 for k in range(h.models)]
        return tuple(
            FineTuning(h.learning_rate * h.rate_spread**exponent, h.weight_decay if k % 2 == 0 else 0.0)
            for k, exponent in enumerate(exponents)
        )

    def collect(self, vector: Snapshot) -> None:
        """Add it to the consensus."""
        self.consensus.add(vector)

    def merged(self) -> Snapshot:
        """The consensus; its share of the entries is reported."""
        vector = self.consensus.mean()
        nonzero, entries = sum(int(v.count_nonzero()) for v in vector.values()), sum(v.numel() for v in vector.values())
        self.report["consensus_share"] = nonzero / entries
        return vector


class SignConsensus:
    """The mean of task vectors where all their signs agree, 0 elsewhere; holds two vectors however many are added."""

    def __init__(self) -> None:
        self._count = 0
        self._sum: Snapshot = {}
        self._signs: Snapshot = {}

    def add(self, vector: Snapshot) -> None:
        """Take one more task vector."""
        self._count += 1
        for name, value in vector.items():
            self._sum[name] = self._sum[name] + value if name in self._sum else value
            self._signs[name] = self._signs[name] + value.sign() if name in self._signs else value.sign()

    def mean(self) -> Snapshot:
        """The merged task vector."""
        return {
            name: torch.where(self._signs[name].abs() == self._count, total / self._count, torch.zeros_like(total))
            for name, total in self._sum.items()
        }
