"""Selective synaptic dampening (Foster et al., AAAI 2024, arXiv 2308.07707; official code).

    F_i = mean over batches of (d L / d theta_i)^2                      diagonal Fisher information, on D and on D_f
    where F_f > a F_D:   theta_i <- theta_i * min(l F_D / F_f, 1)       a = 10, l = 1

One pass and no training: weights that matter far more to the forget set than to the rest shrink. As in the official
code, the gradient that is squared is that of a batch's mean loss, so F falls with the batch size; both Fishers take
the same one, and only their ratio counts.

Carried over from classifiers (methods/common/zero_shot.py): L is the cross-entropy of the zero-shot logits with
the current text encoder's classifier, so that both encoders have a Fisher. For a request by concept it is CLIP's
contrastive loss, for F_f of each forget pair alone among the retain pairs: in a batch of the concept alone every
negative has the concept too, and the loss would be harder and about all else. The paper's D is all of the training
data; what CLIP was trained on is not there, and with all of the benchmark's data no weight can pass a = 10 once the
forget set is a tenth of it, so D is the retain set by default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.common.module import ForgetSpec, Pairs
from methods.common.base import Snapshot, UnlearningMethod
from methods.common.card import MethodCard, hyper
from methods.common.clip import Clip
from methods.common.zero_shot import task_loss

CARD = MethodCard(
    name="ssd",
    title="shrink the weights that matter to the forget set alone",
    paper="Foster et al., AAAI 2024, arXiv 2308.07707",
    regime="forget+retain",
    edits=("visual", "text"),
    deviations=(
        "The factor alpha is 10, as published for classes of ResNets; the source takes 5 for classes of a ViT.",
        "D is the retain part, not all data, and the importances are those of few hundred images, not of whole passes.",
    ),
)


@dataclass(frozen=True)
class Hyperparameters:
    """As published, but for the data that stand for D."""

    selection: float = hyper(10.0, low=0.0, source="the paper: alpha")
    dampening: float = hyper(1.0, low=0.0, source="the paper: lambda")
    reference: Literal["retain", "all"] = hyper(
        "retain",
        source="our choice, because with all (the paper) nothing passes alpha where the forget set is a tenth of it",
    )
    batch_size: int = hyper(64, low=2, source="official code", small=24, small_source="our choice, for 2 cores")
    epochs: int = hyper(1, low=1, source="official code: one pass over the data")
    max_steps: int | None = hyper(
        None, low=1, source="none: one pass over the data", small=20, small_source="our choice, for 2 cores"
    )


class SSD(UnlearningMethod[Hyperparameters]):
    """Sums squared gradients batch by batch, then dampens once."""

    card = CARD

    def __init__(self, clip: Clip, spec: ForgetSpec, hyperparameters: Hyperparameters) -> None:
        super().__init__(clip, spec, hyperparameters)
        self.automatic_optimization = False
        zero = {name: torch.zeros_like(value) for name, value in self.snapshot().items()}
        self.fisher: dict[Literal["forget", "retain"], Snapshot] = {"forget": zero, "retain": dict(zero)}

    def configure_optimizers(self) -> None:
        """None is needed."""

    def training_step(self, batch: dict[Literal["forget", "retain"], Pairs], index: int) -> Tensor:
        """Add the squared gradients of one paired batch; nothing moves."""
        weights = {n: p for n, p in self.clip.model.named_parameters() if p.requires_grad}
        for part, loss in self._losses(batch):
            gradients = torch.autograd.grad(loss, [*weights.values()], retain_graph=True, allow_unused=True)
            sums = self.fisher[part]
            for name, gradient in zip(weights, gradients, strict=True):
                if gradient is not None:
                    sums[name] = sums[name] + gradient.square()
        return loss.detach()

    def _losses(
        self, batch: dict[Literal["forget", "retain"], Pairs]
    ) -> Iterator[tuple[Literal["forget", "retain"], Tensor]]:
        forget, retain = batch["forget"], batch["retain"]
        if self.spec.request.classes:
            yield "forget", task_loss(self, forget)
            yield "retain", task_loss(self, retain)
            return
        image, text = self._embedded(retain)
        yield "forget", loss_among(*self._embedded(forget), image, text, self.clip.logit_scale, self.clip.logit_bias)
        yield "retain", self.clip.contrastive_loss(image, text)

    def _embedded(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        return self.clip.encode_image(pairs["images"]), self.clip.encode_text(pairs["texts"])

    def on_train_end(self) -> None:
        """Dampen. Both sums are over the same number of batches, so their ratio is that of the means."""
        forget, reference = self.fisher["forget"], self.fisher["retain"]
        if self.h.reference == "all":
            reference = pooled(forget, reference, self.data.sizes)
        weights = self.snapshot()
        factors = {
            name: dampening(forget[name], reference[name], selection=self.h.selection, strength=self.h.dampening)
            for name in weights
        }
        self.restore({name: value * factors[name] for name, value in weights.items()})
        selected = sum(int((factor < 1).sum()) for factor in factors.values())
        self.report["dampened_share"] = selected / sum(factor.numel() for factor in factors.values())


def loss_among(
    image: Tensor, text: Tensor, other_image: Tensor, other_text: Tensor, scale: Tensor, bias: Tensor | None = None
) -> Tensor:
    """The contrastive loss of each pair alone among other pairs; the mean of all pairs and of both directions.

    Args:
        image: Image embeddings of the pairs, shape (B, D); normalised here, as the rest.
        text: Their texts' embeddings, shape (B, D).
        other_image: The negatives of a text, shape (N, D).
        other_text: The negatives of an image, shape (N, D).
        scale: The inverse temperature.
        bias: SigLIP's, added to each logit: the loss is then its own, each negative counted half from either side.
    """
    image, text, other_image, other_text = (
        F.normalize(embedding.float(), dim=-1) for embedding in (image, text, other_image, other_text)
    )
    pair_similarity = (image * text).sum(dim=-1, keepdim=True)
    if bias is not None:
        pair = F.logsigmoid(scale * pair_similarity + bias)
        among_texts = F.logsigmoid(-scale * image @ other_text.T - bias).sum(dim=1, keepdim=True)
        among_images = F.logsigmoid(-scale * text @ other_image.T - bias).sum(dim=1, keepdim=True)
        return -(pair + (among_texts + among_images) / 2).mean()
    by_image, by_text = (
        (scale * torch.cat([pair_similarity, rows @ others.T], dim=1)).log_softmax(dim=1)[:, 0]
        for rows, others in ((image, other_text), (text, other_image))
    )
    return -(by_image + by_text).mean() / 2


def pooled(forget: Snapshot, retain: Snapshot, sizes: Mapping[Literal["forget", "retain"], int]) -> Snapshot:
    """The Fisher of all data from those of its two parts, each weighted by its number of images."""
    share = sizes["forget"] / (sizes["forget"] + sizes["retain"])
    return {name: share * value + (1 - share) * retain[name] for name, value in forget.items()}


def dampening(forget: Tensor, reference: Tensor, *, selection: float, strength: float) -> Tensor:
    """The factor of each weight: min(strength F_D / F_f, 1) where F_f > selection F_D, else 1.

    Args:
        forget: F_f.
        reference: F_D, of the same shape.
        selection: a.
        strength: l.
    """
    selected = forget > selection * reference
    ratio = strength * reference / forget.where(selected, torch.ones_like(forget))
    return ratio.clamp(max=1.0).where(selected, torch.ones_like(forget))
