"""MultiDelete: decouple the modalities of forget pairs (Cheng & Amiri, ECCV 2024, arXiv 2311.12047).

For forget pairs (I_f, T_f) and retain pairs (I_r, T_r), as the port to CLIP of SALMUBench has it:

    L_MD  = 2 MSE( S_u(I_f, T_f),  S_o(I_f, T_q) )                           modality decoupling
    L_MKR = MSE( j_u(I_r, T_r),  j_o(I_r, T_r) )                             multimodal knowledge retention
    L_UKR = MSE( v_u(I_r), v_o(I_r) ) + MSE( t_u(T_r), t_o(T_r) )            unimodal knowledge retention
    L = L_MD + L_MKR + L_UKR                                                 o original, u unlearned

S is the matrix of cosines within a batch, once a direction (images by texts, and its transpose), T_q unrelated texts,
and j the joint representation of a pair, which a fusion encoder gives in the paper; the port takes j = unit(v + t).
The port draws T_q from the forget batch. Where all its texts are the same prompt that changes nothing, so T_q is drawn
from the retain batch here.

`form="product"` is a reading of our own: j = sqrt(D) v * t, elementwise, whose sum is the cosine, all that CLIP says of
a pair, and L_MD = MSE( j_u(I_f, T_f), j_o(I_p, T_q) ) with unrelated pairs of D_r, T_q != T_p.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.common.module import Pairs
from methods.common.base import UnlearningMethod
from methods.common.card import MethodCard, hyper
from methods.common.clip import Clip

CARD = MethodCard(
    name="multidelete",
    title="forget pairs as if unrelated, retain embeddings as they were",
    paper="Cheng & Amiri, ECCV 2024, arXiv 2311.12047",
    regime="forget+retain",
    edits=("visual", "text"),
    deviations=(
        "Unrelated texts are drawn from the retain batch: those of a forget batch of one class are all the same.",
        "Weight decay reaches all tensors, and the rate is constant; the port spares vectors and follows a cosine.",
        "The `form=product` is ours: another joint representation and other unrelated pairs.",
    ),
)


@dataclass(frozen=True)
class Hyperparameters:
    """Of the port to CLIP that SALMUBench (CVPR 2026) ran, where known."""

    learning_rate: float = hyper(
        1e-7,
        low=0.0,
        source="port to CLIP ViT-B/16 of SALMUBench: its configuration",
        rate="adam",
    )
    weight_decay: float = hyper(0.001, low=0.0, source="port to CLIP ViT-B/16 of SALMUBench: its configuration")
    batch_size: int = hyper(
        16,
        low=2,
        source="port to CLIP ViT-B/16 of SALMUBench: its configuration",
        small=24,
        small_source="our choice, for 2 cores",
    )
    epochs: int = hyper(10, low=1, source="port to CLIP ViT-B/16 of SALMUBench: its configuration")
    max_steps: int | None = hyper(
        None, low=1, source="none: epochs decide", small=40, small_source="our choice, for 2 cores"
    )
    checkpoints: int = hyper(
        0,
        low=0,
        source="the source keeps the last state (0); n: the best of n on held-out pairs, tuned on or off",
    )
    form: Literal["port", "product"] = hyper(
        "port", source="port to CLIP ViT-B/16 of SALMUBench; product: our reading of the paper"
    )
    decoupling_weight: float = hyper(1.0, low=0.0, source="official code: the plain sum")
    multimodal_weight: float = hyper(1.0, low=0.0, source="official code: the plain sum")
    unimodal_weight: float = hyper(1.0, low=0.0, source="official code: the plain sum")


class Embedded(NamedTuple):
    """Unit embeddings of a batch of pairs, shape (B, D) each."""

    image: Tensor
    text: Tensor


class MultiDelete(UnlearningMethod[Hyperparameters]):
    """Minimises the weighted sum of the three losses."""

    card = CARD

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(
            self.editable_parameters(), lr=self.h.learning_rate, weight_decay=self.h.weight_decay, fused=True
        )

    def on_fit_start(self) -> None:
        """Keep the original before the first step."""
        self.original  # noqa: B018

    def training_step(self, batch: dict[Literal["forget", "retain"], Pairs], index: int) -> Tensor:
        """The loss of one paired batch."""
        forget, retain = embed(self.clip, batch["forget"]), embed(self.clip, batch["retain"])
        with torch.no_grad():
            original = embed(self.original, batch["retain"])
        if self.h.form == "product":
            decoupling = F.mse_loss(product(forget), unrelated(original, batch["retain"]["texts"], len(forget.image)))
            multimodal = F.mse_loss(product(retain), product(original))
        else:
            decoupling = self._decoupling(batch["forget"], forget, original.text)
            multimodal = F.mse_loss(mean_direction(retain), mean_direction(original))
        unimodal = F.mse_loss(retain.image, original.image) + F.mse_loss(retain.text, original.text)
        h = self.h
        return h.decoupling_weight * decoupling + h.multimodal_weight * multimodal + h.unimodal_weight * unimodal

    def _decoupling(self, pairs: Pairs, forget: Embedded, texts: Tensor) -> Tensor:
        """L_MD of the port, with unrelated texts of shape (B_r, D), of which every forget text gets one."""
        with torch.no_grad():
            image = F.normalize(self.original.encode_image(pairs["images"]).float(), dim=-1)
            order = torch.cat([torch.randperm(len(texts)) for _ in range(math.ceil(len(image) / len(texts)))])
            target = image @ texts[order[: len(image)].to(texts.device)].T
        return 2 * F.mse_loss(forget.image @ forget.text.T, target)


def embed(clip: Clip, pairs: Pairs) -> Embedded:
    """Unit embeddings of pairs."""
    image, text = clip.encode_image(pairs["images"]), clip.encode_text(pairs["texts"])
    return Embedded(F.normalize(image.float(), dim=-1), F.normalize(text.float(), dim=-1))


def mean_direction(pairs: Embedded) -> Tensor:
    """unit(v + t) of each pair. Shape (B, D)."""
    return F.normalize((pairs.image + pairs.text) / 2, dim=-1)


def product(pairs: Embedded) -> Tensor:
    """j of each pair: its entries sum to sqrt(D) times the cosine. Shape (B, D)."""
    return math.sqrt(pairs.image.shape[1]) * pairs.image * pairs.text


def unrelated(pairs: Embedded, texts: Sequence[str], count: int) -> Tensor:
    """j of pairs drawn at random whose text is another one than the image's, shape (count, D).

    In a batch whose texts are all equal there is none: the texts are then drawn from all.
    """
    same = torch.tensor([[text == other_text for other_text in texts] for text in texts])
    same = same & ~same.all(dim=1, keepdim=True)
    images = torch.randint(len(texts), (count,))
    chosen = torch.multinomial((~same[images]).float(), 1).flatten()
    return product(Embedded(pairs.image[images], pairs.text[chosen]))
