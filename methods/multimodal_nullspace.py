"""Multimodal nullspace: project out what text and synthesised images say of a name (Mishra et al. 2025, 2512.14113).

The paper follows the image projection by a closed form whose forget subspace is spanned by text prompts and by visual
prototypes that are synthesised from CLIP; how they are made and weighed is not known here. With CCUP's closed form
(methods/ccup.py), of the same authors, in which T_f becomes

    S = [ t_1 ... t_m,  u_1 ... u_m ],    u_f = unit( mean_x v(x) - c )                columns of unit norm
    W* = (I + mu T_r T_r^T) (I + lambda S S^T + mu T_r T_r^T)^-1

v(x) are unit embeddings of images of name f made by gradient ascent (datamodules/common/synthetic.py), t text
embeddings. A mean of image embeddings is mostly what all images have in common, and taking that out hurts every image:
c is the mean embedding of synthetic images of names to keep. No real image is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.common.synthetic import ImageModel, SyntheticRecipe
from methods.ccup import consistent_projection
from methods.common.base import ClosedFormMethod
from methods.common.card import MethodCard, hyper
from methods.common.projections import visual_projection
from methods.common.synthetic_images import encoder_key

CARD = MethodCard(
    name="multimodal_nullspace",
    title="closed-form projection of the last layer against a name's text and its synthetic images",
    paper="Mishra et al. 2025, arXiv 2512.14113",
    regime="names",
    edits=("visual projection",),
    deviations=(
        "How the paper makes and weighs its visual prototypes is not known: they are means of images made by gradient "
        "ascent, from which the mean image of other names is subtracted.",
        "The closed form and its weights are those of CCUP here, of the same authors; the paper's are not known.",
        "Names are forgotten in all domains; the paper can also forget them in chosen ones.",
    ),
)


@dataclass(frozen=True)
class Hyperparameters:
    """Of the objective and of the images; the paper publishes none that is known here."""

    forget_weight: float = hyper(
        100.0,
        low=0.0,
        source="lambda; our choice, as CCUP",
        small=1000.0,
        small_source="our choice, as CCUP: other names have negative cosines there, so more must go",
    )
    retain_weight: float = hyper(10.0, low=0.0, source="mu; our choice, as CCUP")
    images: int = hyper(
        64, low=1, source="our choice: of each name, as Lip", small=16, small_source="our choice, for 2 cores"
    )
    centre_names: int = hyper(8, low=1, source="our choice: names to keep whose images make c, spread over all of them")
    iterations: int = hyper(
        3000, low=1, source="our choice, as Lip", small=300, small_source="our choice: most are accepted within 60"
    )
    tries: int = hyper(2, low=1, source="our choice: images that are not accepted by then are left out")
    threshold: float = hyper(
        0.45,
        low=0.0,
        high=1.0,
        source="our choice: where Lip's falls to",
        small=0.2,
        small_source="our choice: no image of some names of the drawn world's vocabulary reaches 0.45",
    )
    ascent_input: Literal["raw", "accepted"] = hyper(
        "raw", source="our choice, as Lip", small="accepted", small_source="our choice, as Lip"
    )


class MultimodalNullspace(ClosedFormMethod[Hyperparameters]):
    """Follows the visual projection by W*."""

    card = CARD

    def edit(self) -> None:
        """Make the prototypes, solve for W* in float64 and compose."""
        rows, count = self.classifier(), len(self.spec.forget_names)
        kept = spread(len(self.spec.retain_names), self.h.centre_names)
        forget = self._mean_embeddings(rows, list(range(count)))
        centre = self._mean_embeddings(rows, [count + place for place in kept]).mean(dim=0)
        prototypes = F.normalize(forget - centre, dim=-1)
        directions = torch.cat([rows[:count].to(prototypes), prototypes])
        solution = consistent_projection(
            directions.T, rows[count:].T, forget_weight=self.h.forget_weight, retain_weight=self.h.retain_weight
        )
        cosines = (prototypes * rows[:count]).sum(dim=1)
        self.report.update(prototype_cosines=[float(cosine) for cosine in cosines])
        visual_projection(self.clip).compose(solution)

    def _mean_embeddings(self, rows: Tensor, targets: list[int]) -> Tensor:
        """The mean unit embedding of synthetic images of each of some names, shape (len(targets), D)."""
        clip, h = self.clip, self.h
        recipe = SyntheticRecipe(
            count=h.images,
            iterations=h.iterations,
            tries=h.tries,
            threshold=h.threshold,
            ascent_input=h.ascent_input,
            seed=torch.initial_seed(),
        ).for_side(clip.preprocessing.image_size)
        scale = float(clip.logit_scale)
        model = ImageModel(clip.encode_image, rows, scale, clip.preprocessing, encoder_key(clip))
        made = self.data.synthetic_forget_set(model, targets, recipe)
        units = F.normalize(clip.encode_image(made.images).float(), dim=-1)
        return torch.stack([units[made.labels == target].mean(dim=0) for target in targets])


def spread(count: int, wanted: int) -> list[int]:
    """At most so many places among `count`, evenly spread over them."""
    wanted = min(count, wanted)
    return [place * count // wanted for place in range(wanted)]
